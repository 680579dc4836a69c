// What a signed-in client knows, kept true by the stream: its conversations, the rooms, timelines, who is online.
// Emits `list`, `presence`, `typing` (conversation), `arrived` (message, conversation), `gone` (conversation, why, by), `invited` (conversation, by), `reset`.

import { EventEmitter, ParleyError, TypedMessage, messageType } from '/parley.js'
import { soon } from './dom.js'
import { partner } from './people.js'
import { t } from './strings.js'
import { Timeline } from './timeline.js'

const PAGE = 50
const TIMELINES = 20 // kept; the one that was not open for longest goes first
const TYPING_LASTS = 6000

/** Says that its sender writes. It is transient: whoever is away never hears of it. */
export class TypingMessage extends TypedMessage {}
messageType(20001)(TypingMessage)

export class Store extends EventEmitter {
  constructor(client) {
    super()
    this.client = client
    this.me = client.id
    this.conversations = new Map()
    this.rooms = new Map()
    this.online = new Set()
    this.more = { chats: false, rooms: false } // whether there may be older ones than those here
    this._skip = { chats: 0, rooms: 0 }
    this.room = undefined // where this session has a seat
    this._timelines = new Map()
    this._typing = new Map()
    this._changed = soon(() => this.emit('list'))
    this._watchSoon = soon(() => this._watch(), 300)
    this._listen()
  }

  // -- the list --

  /** The client's own conversations, newest activity first; more pages are added. */
  load() { return this._page('chats', this.client.getQuery(), this.conversations) }
  /** The rooms that everybody may enter, likewise. */
  loadRooms(more) {
    if (!more) this._skip.rooms = 0
    return this._page('rooms', this.client.getChatRoomQuery().addDescending('lm'), this.rooms)
  }
  async _page(list, query, known) {
    const skip = this._skip[list]
    this.more[list] = true // also when it fails: one can try again
    const page = await query.limit(PAGE).skip(skip).find()
    this._skip[list] = skip + page.length
    this.more[list] = page.length === PAGE
    for (const conversation of page) known.set(conversation.id, conversation)
    this._listChanged()
  }
  /** Newest activity first. */
  sorted(which = this.conversations) {
    const at = (c) => c.lastMessageAt ?? c.createdAt ?? 0
    return [...which.values()].sort((a, b) => at(b) - at(a))
  }
  unread() {
    let n = 0
    for (const c of this.conversations.values()) n += c.unreadMessagesCount
    return n
  }
  /** Takes a conversation into the list. */
  add(conversation) {
    if (conversation.transient) this.rooms.set(conversation.id, conversation)
    else this.conversations.set(conversation.id, conversation)
    this._listChanged()
    return conversation
  }
  remove(conversation) {
    if (this.conversations.delete(conversation.id)) this._skip.chats = Math.max(0, this._skip.chats - 1)
    this._forgetTimeline(conversation.id)
    this._listChanged()
  }
  _listChanged() {
    this._changed()
    this._watchSoon()
  }

  /** A conversation that is not in the list, taken into it. */
  async find(id) {
    const conversation = await this.client.getConversation(id, true)
    if (conversation.kind === 'ordinary' && !conversation.members.includes(this.me)) throw new ParleyError('not_a_member')
    return this.add(conversation)
  }
  async startWith(name) { return this.add(await this.client.createConversation({ members: [name], unique: true })) }
  async createGroup(name, members) { return this.add(await this.client.createConversation({ name: name || undefined, members })) }
  async createRoom(name) { return this.add(await this.client.createChatRoom({ name })) }
  async joinById(id) {
    const conversation = await this.client.getConversation(id, true)
    if (conversation.kind === 'ordinary' || conversation.kind === 'service') await conversation.join()
    return this.add(conversation.kind === 'ordinary' ? await conversation.fetch() : conversation)
  }
  async leave(conversation) {
    await conversation.quit()
    if (conversation.transient) this._unseat()
    this.remove(conversation)
  }

  // -- rooms --

  /** Takes a seat: from now on what is said in the room is heard. */
  async enter(room) {
    if (this.room === room) return
    await room.join()
    this._unseat()
    this.room = room
  }
  _unseat() {
    if (this.room) this._forgetTimeline(this.room.id) // it hears no more of it
    this.room = undefined
  }

  // -- timelines --

  timeline(conversation) {
    const { id } = conversation
    const timeline = this._timelines.get(id) ?? new Timeline(conversation).on('sent', () => this.add(conversation))
    this._timelines.delete(id)
    this._timelines.set(id, timeline)
    for (const [old, { pending }] of this._timelines) {
      if (this._timelines.size <= TIMELINES) break
      if (!pending.length) this._timelines.delete(old)
    }
    return timeline
  }
  _forgetTimeline(id) { this._timelines.delete(id) }

  // -- who is online --

  /** Whose presence is wanted besides that of the partners in the list. */
  watch(ids) {
    this._alsoWatched = ids
    this._watchSoon()
  }
  async _watch() {
    const partners = this.sorted().map(partner).filter((id) => id !== undefined)
    const ids = [...new Set([...this._alsoWatched ?? [], ...partners])].slice(0, 1000).sort()
    if (String(ids) === this._watched) return
    this._watched = String(ids)
    try {
      this.online = new Set(await this.client.subscribePresence(ids))
      this.emit('presence')
    } catch {
      this._watched = undefined // asked again at the next change, or when the connection is back
    }
  }

  // -- who is typing --

  typing(conversation) { return [...this._typing.get(conversation.id)?.keys() ?? []] }
  _types(conversation, who, does) {
    const all = this._typing.get(conversation.id) ?? new Map()
    this._typing.set(conversation.id, all)
    clearTimeout(all.get(who))
    if (does) all.set(who, setTimeout(() => this._types(conversation, who, false), TYPING_LASTS))
    else if (!all.delete(who)) return
    this.emit('typing', conversation)
  }

  // -- the stream --

  _listen() {
    const on = (name, f) => this.client.on(name, (...args) => f.call(this, ...args))
    on('message', this._message)
    for (const name of ['messageupdate', 'messagerecall']) on(name, (message, c) => { this._timelines.get(c.id)?.change(message); this._changed() })
    for (const name of ['lastdeliveredatupdate', 'lastreadatupdate']) on(name, (_, c) => this._timelines.get(c.id)?.emit('change'))
    // Of what one has just left there is nothing unread any more: that is no reason to list it again.
    on('unreadmessagescountupdate', (changed) => { for (const c of changed) if (c.unreadMessagesCount || this.conversations.has(c.id)) this.add(c) })
    on('conversationinfoupdated', ({ changes, updatedBy }, c) => {
      const by = updatedBy ?? t('system')
      if ('name' in changes) this._note(c, () => (changes.name ? t('renamed', { by, name: changes.name }) : t('unnamed', { by })))
    })
    on('invited', ({ invitedBy }, c) => { this.add(c); this.emit('invited', c, invitedBy) })
    on('membersjoined', ({ members, invitedBy }, c) => {
      const self = members.length === 1 && members[0] === invitedBy
      this._note(c, () => t(self ? 'joined' : 'invitedBy', { by: invitedBy ?? t('system'), names: members.join(', ') }))
      if (members.includes(this.me)) this.add(c)
    })
    on('membersleft', ({ members, kickedBy }, c) => {
      const self = members.length === 1 && members[0] === kickedBy
      this._note(c, () => t(self ? 'left' : 'kickedBy', { by: kickedBy ?? t('system'), names: members.join(', ') }))
      if (members.includes(this.me)) this._lose(c, 'leftIt')
    })
    on('kicked', ({ kickedBy }, c) => this._lose(c, 'youWereKicked', kickedBy))
    on('conversationdeleted', (_, c) => this._lose(c, 'wasDeleted'))
    on('presence', ({ clientId, online }) => {
      if (online) this.online.add(clientId)
      else this.online.delete(clientId)
      this.emit('presence')
    })
    on('reset', this._reset)
    on('reconnect', this._back)
  }
  _message(message, conversation) {
    if (message instanceof TypingMessage) {
      if (message.from !== this.me) this._types(conversation, message.from, true)
      return
    }
    this._types(conversation, message.from, false)
    this._timelines.get(conversation.id)?.add(message)
    if (!conversation.transient || this.rooms.has(conversation.id)) this.add(conversation)
    this.emit('arrived', message, conversation)
  }
  _note(conversation, text) {
    this._timelines.get(conversation.id)?.note(text)
    this._listChanged()
  }
  _lose(conversation, why, by) {
    const had = this.conversations.has(conversation.id)
    this.remove(conversation)
    if (had) this.emit('gone', conversation, why, by)
  }
  // What the log no longer has can only be loaded anew.
  async _reset() {
    this._skip.chats = 0
    this.conversations.clear()
    this._watched = undefined
    const renewed = [...this._timelines.values()].filter((timeline) => timeline.loaded).map((timeline) => timeline.renew())
    await Promise.allSettled([this.load(), ...renewed])
    this._listChanged()
    this.emit('reset')
  }
  _back() {
    for (const timeline of this._timelines.values()) timeline.retryAll()
    if (this._watched === undefined) this._watchSoon()
    // A room keeps but the newest for those who were away; the history has them all.
    const { room } = this
    if (room) room.join().then(() => this._timelines.get(room.id)?.renew()).catch(() => {})
  }
}
