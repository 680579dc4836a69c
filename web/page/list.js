// The list of conversations, or of rooms.

import { ask, openMenu } from './dialog.js'
import { $, arrange, el, hidden, icon, roving, toast } from './dom.js'
import { avatar, namesIn, partner, preview, titleOf } from './people.js'
import { explain, onLanguage, shortTime, t } from './strings.js'

/** open(conversation) is called when one is chosen. */
export class ListView {
  constructor(store, open) {
    Object.assign(this, { store, open, rows: new Map(), tab: 'chats' })
    this.list = $('#list')
    this._draw = () => this.draw()
    for (const event of ['list', 'presence']) store.on(event, this._draw)
    onLanguage(this._draw)
    roving(this.list, '.chat')
    for (const tab of ['chats', 'rooms']) $(`#tab-${tab}`).addEventListener('click', () => this.show(tab))
    $('#tabs').addEventListener('keydown', (event) => {
      if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
      this.show(this.tab === 'chats' ? 'rooms' : 'chats')
      $(`#tab-${this.tab}`).focus()
    })
    $('#new').addEventListener('click', () => this._new())
    $('#list-more').addEventListener('click', () => this._load(true))
  }

  show(tab) {
    if (this.tab === tab && tab === 'chats') return
    this.tab = tab
    for (const name of ['chats', 'rooms']) {
      const node = $(`#tab-${name}`)
      node.setAttribute('aria-selected', String(name === tab))
      node.tabIndex = name === tab ? 0 : -1
    }
    $('#list-panel').setAttribute('aria-labelledby', `tab-${tab}`)
    if (tab === 'rooms') this._load()
    this.draw()
  }
  _load(more) {
    const loading = this.tab === 'rooms' ? this.store.loadRooms(more) : this.store.load()
    loading.catch((err) => { toast(explain(err), true); this.draw() })
  }
  /** Marks the one that is open; read: what comes is seen at once, so that nothing is unread. */
  mark(conversation, read) {
    this.current = conversation
    this.read = read
    this.draw()
  }

  draw() {
    const { store } = this
    const rooms = this.tab === 'rooms'
    const all = store.sorted(rooms ? store.rooms : store.conversations)
    arrange(this.list, all.map((c) => this._row(c)))
    const shown = new Set(all.map((c) => c.id))
    for (const id of this.rows.keys()) if (!shown.has(id)) this.rows.delete(id)
    const buttons = [...this.list.querySelectorAll('.chat')]
    if (buttons.length && !buttons.some((b) => b.tabIndex === 0)) buttons[0].tabIndex = 0
    const empty = $('#list-empty')
    empty.hidden = all.length > 0
    empty.textContent = t(rooms ? 'noRooms' : 'noChats')
    $('#list-more').hidden = !store.more[this.tab]
    const unread = store.unread()
    document.title = unread ? `(${unread}) Parley` : 'Parley'
  }
  _row(conversation) {
    const { id } = conversation
    let row = this.rows.get(id)
    if (!row) {
      const button = el('button', { type: 'button', class: 'chat', testid: 'chat', 'data-id': id, tabindex: '-1', onclick: () => this.open(this.rows.get(id).conversation) })
      row = { node: el('li', {}, button), button }
      this.rows.set(id, row)
    }
    row.conversation = conversation
    const parts = this._parts(conversation)
    const now = JSON.stringify(parts)
    if (row.drawn !== now) this._fill(row.button, conversation, parts)
    row.drawn = now
    return row.node
  }
  // All that a row shows.
  _parts(conversation) {
    const current = this.current === conversation
    const other = partner(conversation)
    const unread = current && this.read ? 0 : conversation.unreadMessagesCount
    return {
      title: titleOf(conversation), other, online: other === undefined ? undefined : this.store.online.has(other), current,
      text: preview(conversation), at: conversation.lastMessageAt && shortTime(conversation.lastMessageAt),
      unread, mentioned: unread > 0 && conversation.unreadMessagesMentioned, muted: conversation.muted,
      words: [t('muted'), t('temporary'), t('online')], // another language is another look
    }
  }
  _fill(button, { transient, temporary, system }, { title, other, online, current, text, at, unread, mentioned, muted }) {
    button.setAttribute('aria-current', String(current))
    button.classList.toggle('has-unread', unread > 0)
    button.replaceChildren(
      avatar(other ?? title, { online, room: transient }),
      el('span', { class: 'chat-text' },
        el('span', { class: 'chat-top' },
          el('bdi', { class: 'chat-title' }, title),
          (temporary || system) && el('small', { class: 'tag' }, t(temporary ? 'temporary' : 'service')),
          muted && el('span', { class: 'muted', testid: 'muted' }, icon('bell'), hidden(t('muted'))),
          at && el('time', { class: 'small quiet' }, at)),
        el('span', { class: 'chat-bottom' },
          el('span', { class: 'preview quiet', dir: 'auto', testid: 'preview' }, text),
          mentioned && el('span', { class: 'badge at', testid: 'mentioned' }, el('span', { 'aria-hidden': 'true' }, '@'), hidden(t('mentionedYou'))),
          unread > 0 && el('span', { class: muted ? 'badge calm' : 'badge', testid: 'unread', 'data-count': unread },
            el('span', { 'aria-hidden': 'true' }, unread > 99 ? '99+' : unread), hidden(t('unread', { n: unread }))))))
  }

  // -- starting and joining --

  _new() {
    openMenu($('#new'), [
      { label: t('newChat'), testid: 'new-chat', run: () => this._start() },
      { label: t('newGroup'), testid: 'new-group', run: () => this._group() },
      { label: t('newRoom'), testid: 'new-room', run: () => this._room() },
      { label: t('joinById'), testid: 'join-by-id', run: () => this._join() },
    ])
  }
  async _then(asked) {
    const conversation = await asked
    if (!conversation) return
    this.show(conversation.transient ? 'rooms' : 'chats')
    this.open(conversation)
  }
  _start() {
    return this._then(ask({
      title: t('newChat'), action: t('start'), fields: [{ name: 'name', label: t('withWhom'), required: true, maxlength: 64 }],
      submit: ({ name }) => this.store.startWith(name),
    }))
  }
  _group() {
    return this._then(ask({
      title: t('newGroup'), action: t('create'),
      fields: [{ name: 'name', label: t('groupName'), maxlength: 255 }, { name: 'members', label: t('members'), hint: t('membersHint'), multiline: true, required: true }],
      submit: ({ name, members }) => this.store.createGroup(name, namesIn(members)),
    }))
  }
  _room() {
    return this._then(ask({
      title: t('newRoom'), action: t('create'), fields: [{ name: 'name', label: t('roomName'), required: true, maxlength: 255 }],
      submit: ({ name }) => this.store.createRoom(name),
    }))
  }
  _join() {
    return this._then(ask({
      title: t('joinById'), action: t('join'), fields: [{ name: 'id', label: t('conversationId'), required: true, maxlength: 64 }],
      submit: ({ id }) => this.store.joinById(id),
    }))
  }
}
