// The messages of one conversation that are known here, in order, and what is still on its way out.
// It is data alone; messages.js shows a window of it.

import { EventEmitter, RecalledMessage } from '/parley.js'

const FIRST_PAGE = 50
const PAGE = 200

let keys = 0
const newer = (a, b) => !b || a instanceof RecalledMessage || (!(b instanceof RecalledMessage) && (a.updatedAt ?? 0) >= (b.updatedAt ?? 0))

/**
 * An entry is {key, message}, for what is on its way out also {options, progress, error, preview}, or
 * {key, notice: {text()}, at}. Emits `change`, `sent` when one of its own has arrived, and `older` (n) when n entries came before all others.
 */
export class Timeline extends EventEmitter {
  constructor(conversation) {
    super()
    this.conversation = conversation
    this.pending = []
    this._changes = new Map() // edits and recalls by id: a page that was asked for before may not have them
    this._clear()
  }
  _clear() {
    this.items = []
    this._byId = new Map()
    this.complete = false // nothing is older than the first
    this.loaded = false
  }
  get length() { return this.items.length + this.pending.length }
  at(i) { return this.items[i] ?? this.pending[i - this.items.length] }
  find(id) { return this._byId.get(id) }

  /** Loads the newest page, unless it is there. Calls while one is under way share it. */
  open() { return this.loaded ? Promise.resolve() : this._load(FIRST_PAGE) }
  /** Loads what is older than all that is here. */
  older() { return this.complete ? Promise.resolve() : this._load(PAGE) }
  /** Forgets what the server knows and loads it anew. */
  async renew() {
    await this._loading?.catch(() => {})
    this._clear()
    this.emit('change')
    return this.open()
  }
  _load(limit) {
    return this._loading ??= this._page(limit).finally(() => { this._loading = undefined })
  }
  async _page(limit) {
    const first = this.items.find((e) => e.message?.seq !== undefined)?.message // not a note, nor transient
    const oldest = this.loaded ? first : undefined
    const page = await this.conversation.queryMessages({ limit, startMessageId: oldest?.id })
    const before = this.items.length
    const fresh = page.filter((m) => !this._byId.has(m.id)).map((m) => this._entry(m))
    const older = oldest ? fresh : fresh.filter((e) => e.message.seq < (first?.seq ?? Infinity))
    this.items.unshift(...older)
    for (const entry of fresh) if (!older.includes(entry)) this._insert(entry)
    this.complete = page.length < limit
    this.loaded = true
    if (before) this.emit('older', older.length)
    this.emit('change')
  }
  _entry(message) {
    // One that failed here may have arrived all the same.
    const key = message.from === this.conversation.client.id && message.idempotencyKey
    if (key) this.pending = this.pending.filter((e) => e.message.idempotencyKey !== key)
    const change = this._changes.get(message.id)
    const entry = { key: ++keys, message: change && newer(change, message) ? change : message }
    this._byId.set(message.id, entry)
    return entry
  }
  _insert(entry) {
    let i = this.items.length
    while (i > 0 && (this.items[i - 1].message?.seq ?? -Infinity) > entry.message.seq) i--
    this.items.splice(i, 0, entry)
  }

  /** A message that arrived. */
  add(message) {
    if (message.id && this._byId.has(message.id)) return
    this._insert(this._entry(message))
    this.emit('change')
  }
  /** A message as it is now, after an edit or a recall. */
  change(message) {
    this._changes.set(message.id, message)
    const entry = this._byId.get(message.id)
    if (!entry || !newer(message, entry.message)) return
    entry.message = message
    this.emit('change')
  }
  /** Something that happened, which is no message. */
  note(text) {
    if (!this.loaded) return
    this.items.push({ key: ++keys, notice: { text }, at: new Date() })
    this.emit('change')
  }

  /** Sends. The entry shows how it goes; it stays the same when it has arrived. */
  send(message, options = {}, preview) {
    const entry = { key: ++keys, message, options, preview, at: new Date() }
    this.pending.push(entry)
    this._transmit(entry)
    return entry
  }
  /** Sends once more what failed: the same message, so that it arrives once. */
  retry(entry) { if (entry.error) this._transmit(entry) }
  /** Sends once more what failed because the server was away. */
  retryAll() { for (const entry of this.pending) if (entry.error?.type === 'network') this._transmit(entry) }
  discard(entry) {
    this.pending = this.pending.filter((e) => e !== entry)
    this.emit('change')
  }
  async _transmit(entry) {
    entry.error = undefined
    const onprogress = ({ percent }) => { entry.progress = percent; this.emit('change') }
    const sent = this.conversation.send(entry.message, { ...entry.options, onprogress })
    this.emit('change')
    try {
      await sent
      this._arrived(entry)
      this.emit('sent')
    } catch (err) {
      entry.error = err
    }
    entry.progress = undefined
    this.emit('change')
  }
  _arrived(entry) {
    this.pending = this.pending.filter((e) => e !== entry)
    // Had the stream brought it before the answer came, this entry takes its place.
    const twin = this._byId.get(entry.message.id)
    if (twin) this.items = this.items.filter((e) => e !== twin)
    this._byId.set(entry.message.id, entry)
    this._insert(entry)
  }
}
