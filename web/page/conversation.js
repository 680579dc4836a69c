// The open conversation: its head, its messages, where one writes.

import { RecalledMessage, TextMessage } from '/parley.js'
import { Composer } from './composer.js'
import { openDetails, showReceipts } from './details.js'
import { ask, openMenu } from './dialog.js'
import { $, announce, soon, toast } from './dom.js'
import { MessagesView } from './messages.js'
import { avatar, brief, others, partner, textOf, titleOf } from './people.js'
import { explain, onLanguage, t } from './strings.js'

const COUNT_EVERY = 10_000
const RETRY_AFTER = 3000

export class ConversationView {
  /** list is told what is open; left() is called when it is left for good. */
  constructor(store, list, left) {
    Object.assign(this, { store, list, left })
    this.messages = new MessagesView({
      scroller: $('#scroller'), list: $('#messages'), toBottom: $('#to-bottom'),
      actions: {
        menu: (entry, at) => this._menu(entry, at),
        retry: (entry) => this.timeline.retry(entry),
        discard: (entry) => this.timeline.discard(entry),
        bottom: () => this._seen(),
      },
    })
    this.composer = new Composer($('#composer-place'), {
      sent: () => this.messages.jump(),
      edit: (message, changed) => {
        const done = this._edit(message, changed)
        this._try(done)
        return done
      },
      editLast: () => this._editLast(),
    })
    this.composer.dropOn($('#open'))
    this._head = soon(() => this.head())
    this._read = soon(() => this._markRead(), 300)
    for (const event of ['list', 'presence']) store.on(event, this._head)
    store.on('typing', () => this._typing())
    store.on('reset', () => this.timeline && !this.timeline.loaded && this._load(this.conversation, this.timeline).catch(() => {}))
    store.on('arrived', (message, conversation) => this._arrived(message, conversation))
    store.on('list', () => this._seen())
    document.addEventListener('visibilitychange', () => this._seen())
    $('#open-details').addEventListener('click', () => this._details())
    onLanguage(() => { this.head(); this.messages.redraw(); this._typing() })
    setInterval(() => this._count(), COUNT_EVERY)
  }

  async open(conversation) {
    if (this.conversation === conversation) return
    const { store } = this
    const timeline = store.timeline(conversation)
    Object.assign(this, { conversation, timeline, present: undefined, context: { conversation, me: store.me } })
    $('#nothing').hidden = true
    $('#open').hidden = false
    store.watch(others(conversation).slice(0, 500))
    this.composer.open(conversation, timeline)
    this.messages.show(timeline, this.context)
    this.head()
    this._typing()
    try {
      await this._load(conversation, timeline, conversation.unreadMessagesCount)
    } catch (err) {
      if (this.conversation === conversation) toast(explain(err), true)
    }
  }
  async _load(conversation, timeline, unread) {
    try {
      if (conversation.transient) await this.store.enter(conversation)
      await timeline.open()
    } catch (err) {
      // What the server did not refuse is asked for again, for as long as one waits for it.
      const again = () => this.timeline === timeline && !timeline.loaded && this._load(conversation, timeline, unread).catch(() => {})
      if (!(err.status < 500) || err.status === 429) setTimeout(again, RETRY_AFTER)
      throw err
    }
    if (this.timeline !== timeline) return
    if (unread) this._markUnread(unread)
    this.messages.sync()
    this._count()
  }
  close() {
    this.composer.close()
    this.messages.hide()
    this.conversation = this.timeline = undefined
    this.store.watch([])
    this.list.mark(undefined)
    $('#nothing').hidden = false
    $('#open').hidden = true
  }
  focus() {
    if (matchMedia('(hover: hover)').matches) this.composer.focus()
    else $('#title').focus({ preventScroll: true })
  }

  head() {
    const { conversation, store } = this
    if (!conversation) return
    const other = partner(conversation)
    const online = other === undefined ? undefined : store.online.has(other)
    $('#head-avatar').replaceChildren(avatar(other ?? titleOf(conversation), { online, room: conversation.transient }))
    $('#title').textContent = titleOf(conversation)
    $('#subtitle').textContent = this._subtitle(other, online)
    this.composer.translate()
    this.messages.redraw()
  }
  _subtitle(other, online) {
    const { conversation } = this
    if (conversation.transient) return this.present === undefined ? t('room') : t('nOnline', { n: this.present })
    if (other !== undefined) return t(online ? 'online' : 'offlineNow')
    const members = t('nMembers', { n: conversation.memberCount })
    return conversation.temporary ? `${t('temporary')} · ${members}` : conversation.system ? t('service') : members
  }
  // How many are in the room; nobody tells, so it is asked now and then.
  async _count() {
    const { conversation } = this
    if (!conversation?.transient || document.hidden) return
    const n = await conversation.count().catch(() => undefined)
    if (this.conversation !== conversation || n === undefined) return
    this.present = n
    this._head()
  }
  _typing() {
    const names = this.conversation ? this.store.typing(this.conversation) : []
    const [a, b] = names
    $('#typing').textContent = names.length === 0 ? '' : names.length === 1 ? t('typing1', { a }) : names.length === 2 ? t('typing2', { a, b }) : t('typingMany')
  }

  // -- reading --

  _seen() {
    const { conversation } = this
    if (!conversation) return
    const reads = this.messages.atBottom && !document.hidden
    if (this.list.current !== conversation || this.list.read !== reads) this.list.mark(conversation, reads)
    if (reads && conversation.unreadMessagesCount) this._read()
  }
  async _markRead() {
    const { conversation } = this
    if (!conversation?.unreadMessagesCount || conversation.transient || !this.messages.atBottom || document.hidden) return
    await conversation.read().catch(() => {}) // tried again when the next message comes, or one looks
  }
  // The line above the first of so many unread messages.
  _markUnread(count) {
    const { items } = this.timeline
    let entry
    for (let i = items.length - 1; i >= 0 && count > 0; i--) {
      const { message } = items[i]
      if (!message || message.from === this.store.me || message instanceof RecalledMessage) continue
      entry = items[i]
      count--
    }
    if (!count || this.timeline.complete) this.context.firstUnread = entry?.key // else it is further up
  }
  _arrived(message, conversation) {
    if (message.from === this.store.me) return
    const words = `${message.from}: ${brief(message, this.store.me)}`
    if (conversation === this.conversation) announce(words)
    else if (!conversation.muted && !conversation.transient) announce(`${titleOf(conversation)}. ${words}`)
  }

  // -- what can be done with a message --

  _menu(entry, at) {
    const { message } = entry
    const { conversation, store } = this
    if (!message?.id || message instanceof RecalledMessage) return
    const own = message.from === store.me
    const text = textOf(message)
    const items = [
      own && message instanceof TextMessage && { label: t('edit'), testid: 'edit', run: () => this.composer.edit(message) },
      own && { label: t('recall'), testid: 'recall', run: () => this._try(this._recall(message)) },
      own && conversation.kind === 'ordinary' && { label: t('whoRead'), testid: 'who-read', run: () => this._try(showReceipts(conversation, message)) },
      text && navigator.clipboard && { label: t('copyText'), testid: 'copy', run: () => this._try(navigator.clipboard.writeText(text)) },
    ].filter(Boolean)
    if (items.length) openMenu(at, items)
  }
  async _try(promise) {
    try { await promise } catch (err) { toast(explain(err), true) }
  }
  async _edit(message, changed) {
    const { conversation, timeline } = this
    timeline.change(await conversation.update(message, changed))
    this.store.add(conversation)
  }
  _editLast() {
    const { items, pending } = this.timeline
    if (pending.some((e) => !e.error)) return // that one is the last, and cannot be edited before it has arrived
    for (let i = items.length - 1; i >= Math.max(0, items.length - 50); i--) {
      const { message } = items[i]
      if (message?.from === this.store.me && message instanceof TextMessage) {
        this.composer.edit(message)
        return true
      }
    }
  }
  async _recall(message) {
    const { conversation, timeline } = this
    timeline.change(await conversation.recall(message))
    this.composer.focus()
    this.store.add(conversation)
  }
  // -- details --

  _details() {
    const { conversation, store } = this
    openDetails(store, conversation, {
      changed: () => { store.add(conversation); this.head() },
      leave: () => ask({
        title: t(conversation.transient ? 'leaveRoom' : 'leave'), text: conversation.transient ? undefined : t('leaveText'), action: t('leave'), danger: true,
        submit: async () => { await store.leave(conversation); return true },
      }).then((done) => done && this.left(conversation)),
    })
  }
}
