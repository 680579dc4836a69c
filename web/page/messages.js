// The window of a timeline that is on the page: at most some hundred rows, whatever the length of the
// conversation. Scrolling moves the window; what is read stays where it is.

import { arrange, el, soon } from './dom.js'
import { draw, signature } from './bubble.js'
import { t } from './strings.js'

const MOST = 160 // rows on the page
const STEP = 32
const NEAR = 1200 // pixels from an edge at which more rows are put there
const BOTTOM = 48

/** actions: as draw() wants them, and bottom(), called whenever the newest message comes into view. */
export class MessagesView {
  constructor({ scroller, list, toBottom, actions }) {
    Object.assign(this, { scroller, list, toBottom, actions })
    this.rows = new Map() // by key of the entry
    this._sync = soon(() => this.sync())
    this._older = (n) => { this.start += n; this.end += n; this.known += n }
    scroller.addEventListener('scroll', () => this._scrolled(), { passive: true })
    new ResizeObserver(() => this.stick && this._toEnd()).observe(scroller)
    new ResizeObserver(() => this.stick && this._toEnd()).observe(list)
    toBottom.addEventListener('click', () => this.jump())
    list.addEventListener('keydown', (event) => this._key(event))
  }

  /** Shows another timeline, at its end. */
  show(timeline, context) {
    this.hide()
    Object.assign(this, { timeline, context, start: 0, end: 0, known: 0, stick: true, missed: 0, failed: false })
    timeline.on('change', this._sync)
    timeline.on('older', this._older)
    this.sync()
  }
  hide() {
    this.timeline?.off('change', this._sync).off('older', this._older)
    this.timeline = undefined
    this.rows.clear()
    this.list.replaceChildren()
    this.toBottom.hidden = true
  }
  // How a row looks depends on the one before it: while that is not here the first one waits.
  get _first() { return this.timeline.loaded && !this.timeline.complete ? 1 : 0 }
  get atBottom() { return !!this.timeline && this.stick }

  /** To the newest message. */
  jump() {
    this.stick = true
    this.sync()
  }

  /** Makes the page agree with the timeline. */
  sync() {
    const { timeline } = this
    if (!timeline) return
    const n = timeline.length
    const fresh = Math.max(0, n - this.known)
    if (this.stick) {
      this.end = n
      this.start = Math.min(n, Math.max(this._first, n - MOST))
      this.missed = 0
    } else {
      this.missed += fresh
      if (this.end >= this.known && n - this.start <= MOST + STEP) this.end = n
      this.end = Math.min(this.end, n)
      this.start = Math.max(Math.min(this.start, this.end), Math.min(this._first, this.end))
    }
    this.known = n
    this._draw()
    if (this.stick) this.actions.bottom()
    if (this.scroller.scrollTop < NEAR) this._up()
  }

  _draw() {
    const anchor = this.stick ? undefined : this._anchor()
    const nodes = []
    const rows = new Map()
    for (let i = this.start; i < this.end; i++) {
      const entry = this.timeline.at(i)
      const previous = i > 0 ? this.timeline.at(i - 1) : undefined
      const row = this.rows.get(entry.key) ?? { node: el('li', { class: 'row', testid: 'row', tabindex: '-1' }) }
      const now = signature(entry, previous, this.context)
      if (row.signature !== now) {
        const focused = row.node.contains(document.activeElement)
        draw(row.node, entry, previous, this.context, this.actions)
        if (focused) row.node.focus({ preventScroll: true })
      }
      row.signature = now
      row.entry = row.node.entry = entry
      rows.set(entry.key, row)
      nodes.push(row.node)
    }
    this.rows = rows
    arrange(this.list, nodes)
    this.list.classList.toggle('whole', this.timeline.complete && this.start === 0)
    this.list.classList.toggle('empty', this.timeline.loaded && !nodes.length)
    if (this.stick) this._toEnd()
    else if (anchor?.row.isConnected) this.scroller.scrollTop += anchor.row.getBoundingClientRect().top - anchor.top
    this.toBottom.hidden = this.stick
    this.toBottom.textContent = this.missed ? t('nNew', { n: this.missed }) : '↓'
    this.toBottom.setAttribute('aria-label', t('toBottom'))
  }
  // The first row in sight, and where it is.
  _anchor() {
    const { top } = this.scroller.getBoundingClientRect()
    for (const row of this.list.children) {
      const rect = row.getBoundingClientRect()
      if (rect.bottom > top) return { row, top: rect.top }
    }
  }
  _toEnd() { this.scroller.scrollTop = this.scroller.scrollHeight }

  _scrolled() {
    const { timeline, scroller } = this
    if (!timeline) return
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
    const stuck = this.stick
    // What has come since the last sync() is not on the page yet: that is no reason to let go of the end.
    this.stick = below < BOTTOM && this.end >= this.known
    if (this.stick !== stuck) this.sync()
    if (scroller.scrollTop < NEAR) this._up()
    else if (below < NEAR && this.end < timeline.length) {
      this.end = Math.min(timeline.length, this.end + STEP)
      this.start = Math.max(this.start, this.end - MOST)
      this._draw()
    }
  }
  _up() {
    if (this.start > this._first) {
      if (this.stick) return // all of it is on the page, or little is
      this.start = Math.max(this._first, this.start - STEP)
      this.end = Math.min(this.end, this.start + MOST)
      this._draw()
    } else if (this.timeline.loaded && !this.timeline.complete && !this.failed) {
      const { timeline } = this
      timeline.older().then(() => { if (timeline === this.timeline) { this.sync(); this._scrolled() } }, () => {
        this.failed = true // once more in a while, or when one scrolls
        setTimeout(() => { this.failed = false }, 2000)
      })
    }
  }

  // The list is one stop for the tab key; arrows go from message to message, Enter opens the actions.
  _key(event) {
    const row = event.target.closest('.row')
    const to = { ArrowUp: row ? row.previousElementSibling : this.list.lastElementChild, ArrowDown: row?.nextElementSibling, Home: this.list.firstElementChild, End: this.list.lastElementChild }[event.key]
    if (to) {
      event.preventDefault()
      to.focus({ preventScroll: true })
      to.scrollIntoView({ block: 'nearest' })
    } else if (event.key === 'Enter' && event.target === row && row.entry.message?.id) {
      event.preventDefault()
      this.actions.menu(row.entry, row)
    }
  }

  /** Draws everything anew, in another language for one. */
  redraw() {
    if (this.timeline) this._draw()
  }
}
