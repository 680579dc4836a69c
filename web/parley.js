// The client of Parley, for browsers and Node.js: the surface of LeanCloud's realtime SDK over
// REST and one stream of Server-Sent Events. docs/CLIENT.md says how to use it.

// ---- Names ----

// What comes on the stream; EventSource has to be told to listen for each.
const FRAMES = ('ready reset ping message message_update message_recall invited members_joined kicked members_left conversation_info_updated ' +
  'conversation_deleted last_delivered_at_update last_read_at_update unread_messages_count_update conflict session_closed presence ' +
  'member_info_updated muted unmuted members_muted members_unmuted blocked unblocked members_blocked members_unblocked').split(' ')

/** The names of events: `MESSAGE` is 'message', `MEMBERS_JOINED` is 'membersjoined'. */
export const Event = Object.freeze(Object.fromEntries([...FRAMES, 'disconnect', 'offline', 'online', 'schedule', 'retry', 'reconnect', 'reconnect_error', 'info_updated', 'close']
  .map((name) => [name.toUpperCase(), name.replaceAll('_', '')])))
export const MessagePriority = Object.freeze({ HIGH: 1, NORMAL: 2, LOW: 3 })
export const MessageQueryDirection = Object.freeze({ NEW_TO_OLD: 0, OLD_TO_NEW: 1 })
export const MessageStatus = Object.freeze(Object.fromEntries('NONE SENDING SENT DELIVERED FAILED'.split(' ').map((name) => [name, Symbol(name)])))

const TYPES = { text: -1, image: -2, audio: -3, video: -4, location: -5, file: -6, recalled: -127 }
const typeName = (number) => Object.keys(TYPES).find((name) => TYPES[name] === number)

// ---- Small things ----

const date = (text) => (text ? new Date(text) : undefined)
// The old code asks which messages are earlier than a receipt: the one it stands on has to be.
const after = (text) => (text ? new Date(Date.parse(text) + 1) : undefined)
const list = (one) => (Array.isArray(one) ? one : [one])
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const path = (...parts) => '/v1/' + parts.map(encodeURIComponent).join('/')
const isPlain = (v) => v && typeof v === 'object' && !Array.isArray(v) && !(v instanceof Date)
const pick = (o, keys) => compact(Object.fromEntries(keys.split(' ').map((k) => [k, o[k]])))
const compact = (o) => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined && v !== null))
const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')
const report = (err) => (globalThis.reportError ? reportError(err) : queueMicrotask(() => { throw err }))
const toBase64 = (bytes) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''))
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)
/** A queue: what it is given runs one after the other. */
const inTurn = (last = Promise.resolve()) => (run) => {
  const done = last.then(run)
  last = done.catch(() => {})
  return done
}

// Dates in attributes, as the server knows them.
const walk = (v, change) => change(v) ?? (Array.isArray(v) ? v.map((x) => walk(x, change)) :
  isPlain(v) ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, walk(x, change)])) : v)
const toWire = (v) => walk(v, (x) => (x instanceof Date ? { __type: 'Date', iso: x.toISOString() } : undefined))
const fromWire = (v) => walk(v, (x) => (x?.__type === 'Date' ? new Date(x.iso) : undefined))

// Both go by way of lists: assigning to __proto__ would not make an attribute of that name.

/** The merge of RFC 7396. */
function merge(target, patch) {
  if (!isPlain(patch)) return patch
  const out = new Map(Object.entries(isPlain(target) ? target : {}))
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) out.delete(k)
    else out.set(k, merge(out.get(k), v))
  }
  return Object.fromEntries(out)
}

/** The merge patch that makes b of a. */
function difference(a, b) {
  const [before, after] = [a, b].map((o) => new Map(Object.entries(o)))
  const out = []
  for (const k of Object.keys({ ...a, ...b })) {
    const [x, y] = [before.get(k), after.get(k)]
    if (!same(x, y)) out.push([k, isPlain(x) && isPlain(y) ? difference(x, y) : y ?? null])
  }
  return Object.fromEntries(out)
}

export class EventEmitter {
  on(event, listener) {
    this._listeners ??= new Map()
    this._listeners.set(event, [...(this._listeners.get(event) ?? []), listener])
    return this
  }
  once(event, listener) {
    const wrapped = (...args) => { this.off(event, wrapped); listener.apply(this, args) }
    wrapped.listener = listener
    return this.on(event, wrapped)
  }
  off(event, listener) {
    if (!listener) this._listeners?.delete(event)
    else this._listeners?.set(event, (this._listeners.get(event) ?? []).filter((l) => l !== listener && l.listener !== listener))
    return this
  }
  /** A listener that throws does not keep the others from hearing; the error is reported as an uncaught one. */
  emit(event, ...args) {
    const listeners = this._listeners?.get(event) ?? []
    for (const listener of listeners) {
      try { listener.apply(this, args) } catch (err) { report(err) }
    }
    return listeners.length > 0
  }
}
EventEmitter.prototype.addListener = EventEmitter.prototype.on
EventEmitter.prototype.removeListener = EventEmitter.prototype.off

/** What the server refused, or could not be asked. `code` is LeanCloud's number where there is one, else that of `type`. */
export class ParleyError extends Error {
  constructor(type, message, problem = {}) {
    super(message ?? problem.detail ?? type)
    Object.assign(this, problem, { name: 'ParleyError', type, code: problem.appCode ?? problem.legacyCode ?? type })
  }
}

// ---- Messages ----
// They are functions rather than classes so that the old ways of inheriting, which call the
// constructor of the base without new, work as well as `class extends`.

function inherit(base, init, statics) {
  function Class(...args) { if (new.target || this instanceof Class) init.apply(this, args) }
  Class.prototype = Object.create(base.prototype, { constructor: { value: Class, writable: true, configurable: true } })
  return Object.assign(Class, { parse: base.parse, validate: base.validate }, statics)
}

/** A message of any content: a string goes as it is, an object as JSON. */
export function Message(content) {
  this.content = content
  this._mentionList = []
  this.mentionedAll = this.mentioned = false
  this.status = MessageStatus.NONE
}
Message.prototype = {
  constructor: Message,
  getPayload() { return this.content },
  setMentionList(clients) { this._mentionList = [...new Set(list(clients))]; return this },
  getMentionList() { return this._mentionList },
  get mentionList() { return this._mentionList },
  mentionAll() { this.mentionedAll = true; return this },
  toJSON() {
    const { id, cid, from, seq, timestamp, updatedAt, deliveredAt, mentionList, mentionedAll, mentioned } = this
    return compact({ id, cid, from, seq, timestamp, updatedAt, deliveredAt, mentionList, mentionedAll, mentioned, data: this.getPayload() })
  },
}
Message.validate = () => true
Message.parse = function (content, message = new this()) { message.content = content; return message }

/** Bytes. */
export const BinaryMessage = inherit(Message, function (bytes) {
  Message.call(this, bytes)
  if (bytes) this.buffer = bytes
}, {
  validate: (content) => content instanceof Uint8Array,
  parse(content, message = new this()) { message.buffer = content; return Message.parse(content, message) },
})
BinaryMessage.prototype.getPayload = function () { return this.buffer }

/** What has a type: the base of all below, and of an application's own. */
export const TypedMessage = inherit(Message, function () { Message.call(this) }, {
  validate(content) { return content?._lctype !== undefined && (this.TYPE === undefined || content._lctype === this.TYPE) },
  parse(content, message = new this()) {
    message.content = content
    message._text = content._lctext
    message.attributes = content._lcattrs ?? {}
    for (const field of this._customFields ?? []) message[field] = content[field] ?? message.attributes[field]
    return message
  },
})
Object.defineProperties(TypedMessage.prototype, {
  type: { get() { return this.constructor.TYPE ?? this.content?._lctype }, configurable: true },
  text: { get() { return this.getText() }, set(text) { this._text = text }, configurable: true },
})
Object.assign(TypedMessage.prototype, {
  setText(text) { this._text = text; return this },
  getText() { return this._text },
  setAttributes(attributes) { this.attributes = attributes; return this },
  getAttributes() { return this.attributes ?? {} },
  getPayload() {
    const fields = Object.fromEntries((this.constructor._customFields ?? []).map((f) => [f, this[f]]))
    return compact({ _lctype: this.type, _lctext: this.getText(), _lcattrs: this.attributes, ...fields })
  },
  toJSON() { return compact({ ...Message.prototype.toJSON.call(this), data: null, type: this.type, text: this.text, attributes: this.attributes }) },
})

/** Gives a class of messages its number: positive, the negative ones are ours. Also a decorator. */
export const messageType = (number) => (target) => {
  if (!Number.isInteger(number)) throw new TypeError('type must be an integer')
  target.TYPE = number
}
/** Names the properties that a class of messages sends. Also a decorator. */
export const messageField = (fields) => (target) => {
  target._customFields = [...(target._customFields ?? []), ...list(fields)]
}

export const TextMessage = inherit(TypedMessage, function (text) { TypedMessage.call(this); this._text = text }, { TYPE: -1 })
export const RecalledMessage = inherit(TypedMessage, function () { TypedMessage.call(this) }, { TYPE: -127 })

export const FileMessage = inherit(TypedMessage, function (file) {
  TypedMessage.call(this)
  if (file) this._file = file
}, {
  TYPE: -6,
  parse(content, message = new this()) {
    if (content._lcfile) message._file = File._of(content._lcfile)
    return TypedMessage.parse.call(this, content, message)
  },
})
FileMessage.prototype.getFile = function () { return this._file }
FileMessage.prototype.getPayload = function () {
  return { ...TypedMessage.prototype.getPayload.call(this), ...(this._file && { _lcfile: this._file._wire() }) }
}
const fileMessage = (type) => inherit(FileMessage, function (file) { FileMessage.call(this, file) }, { TYPE: type })
export const ImageMessage = fileMessage(-2)
export const AudioMessage = fileMessage(-3)
export const VideoMessage = fileMessage(-4)

export const LocationMessage = inherit(TypedMessage, function (point) {
  TypedMessage.call(this)
  if (point) this._location = point
}, {
  TYPE: -5,
  parse(content, message = new this()) {
    if (content._lcloc) message._location = new GeoPoint(content._lcloc)
    return TypedMessage.parse.call(this, content, message)
  },
})
LocationMessage.prototype.getLocation = function () { return this._location }
LocationMessage.prototype.getPayload = function () {
  return { ...TypedMessage.prototype.getPayload.call(this), _lcloc: new GeoPoint(this._location) }
}

export const TypedMessagesPlugin = {
  messageClasses: [FileMessage, ImageMessage, AudioMessage, VideoMessage, LocationMessage],
}

export class GeoPoint {
  constructor(latitude, longitude) {
    if (Array.isArray(latitude)) [latitude, longitude] = latitude
    else if (isPlain(latitude)) ({ latitude, longitude } = latitude)
    this.latitude = latitude
    this.longitude = longitude
  }
}

/** Something to upload, or a link to what lies elsewhere. */
export class File {
  constructor(name, data) {
    this._name = name
    this._data = data
    this._meta = {}
  }
  static _of({ objId, url, name, metaData }) {
    return Object.assign(File.withURL(name ?? metaData?.name, url, metaData), { id: objId })
  }
  name() { return this._name }
  url() { return this._url }
  size() { return this._meta.size }
  metaData(key, value) {
    if (key === undefined) return this._meta
    if (value !== undefined) this._meta[key] = value
    return this._meta[key]
  }
  /** Uploads, as the client given or else the one that logged in last. `onprogress({loaded, total, percent})` needs a browser. */
  async save({ client = latest, onprogress, signal } = {}) {
    if (this._data === undefined || (this.id && this._client === client)) return this
    if (!client) throw new ParleyError('not_connected', 'log in first')
    const f = await client.upload(this._data, { name: this._name, onprogress, signal })
    this.id = f.id
    this._client = client
    this._url = f.url
    this._meta = { ...pick(f, FILE_FIELDS), ...this._meta }
    return this
  }
  async destroy({ client = this._client } = {}) { await client._call('DELETE', path('files', this.id)) }
  toJSON() { return compact({ id: this.id, name: this._name, url: this._url, metaData: this._meta }) }
  _wire() { return compact({ objId: this.id, url: this._url, metaData: compact({ name: this._name, ...this._meta }) }) }
}
// A function, because the documents call it with new.
File.withURL = function (name, url, metaData) { return Object.assign(new File(name), { _url: url, _meta: { ...metaData } }) }

const FILE_FIELDS = 'name mimeType size width height duration format'

/** The body of a message's content for the server. */
function encode(message) {
  const payload = message.getPayload()
  if (typeof payload === 'string') return { type: 'raw', text: payload }
  if (payload instanceof ArrayBuffer || ArrayBuffer.isView(payload)) {
    const bytes = ArrayBuffer.isView(payload) ? new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength) : new Uint8Array(payload)
    return { type: 'binary', data: toBase64(bytes) }
  }
  if (isPlain(payload) && payload._lctype === undefined) return { type: 'raw', text: JSON.stringify(payload) }
  const { _lctype: type, _lctext: text, _lcattrs: attributes, _lcfile: f, _lcloc: location, ...rest } = payload ?? {}
  const own = Object.keys(rest).length ? rest : undefined
  const body = { type: type > 0 ? 'custom' : typeName(type), text, attributes, location }
  if (!body.type) throw new TypeError('no such type: ' + type)
  if (f) body.file = f.objId ? { id: f.objId } : { url: f.url, ...pick(f.metaData ?? {}, FILE_FIELDS) }
  if (type > 0) Object.assign(body, { customType: type, data: own })
  // A built-in type has no other place for what a class that keeps it has added.
  else if (own) body.attributes = { ...own, ...attributes }
  return compact(body)
}

function fromRaw(text) {
  try {
    const content = JSON.parse(text)
    return isPlain(content) ? content : text
  } catch { return text }
}
/** The content of a message of the server, as LeanCloud's clients know it. */
function decode(m, absolute) {
  if (m.type === 'raw') return fromRaw(m.text ?? '')
  if (m.type === 'binary') return fromBase64(m.data ?? '')
  const out = { ...(isPlain(m.data) ? m.data : m.data === undefined ? {} : { data: m.data }), _lctype: TYPES[m.type] ?? m.customType }
  if (m.text !== undefined) out._lctext = m.text
  if (m.attributes) out._lcattrs = m.attributes
  if (m.location) out._lcloc = m.location
  if (m.file) out._lcfile = compact({ objId: m.file.id, url: absolute(m.file.url), name: m.file.name, metaData: pick(m.file, FILE_FIELDS) })
  return out
}

// ---- Conversations ----

export class ConversationBase extends EventEmitter {
  constructor(data, client) {
    super()
    Object.assign(this, {
      id: data.id, kind: data.kind, client, name: null, attributes: {}, members: [], memberCount: 0, muted: false, unreadMessagesCount: 0, unreadMessagesMentioned: false,
    })
    this._saved = { name: null, attributes: {} }
    this._countedTo = 0 // the seq up to which messages are in the unread count
    this._receipts = []
    this._sends = inTurn()
    this._settings = inTurn() // the answer to an older one must not undo a newer one
  }
  get transient() { return this.kind === 'chatroom' }
  get system() { return this.kind === 'service' }
  get temporary() { return this.kind === 'temporary' }
  get mutedMembers() { return this.muted ? [this.client.id] : [] }

  /** A field or an attribute: `name`, `attr.pinned`, `pinned`, `attr.a.b`. */
  get(key) {
    if (key === 'attr') return this.attributes
    if (`${FIELDS} lastMessage visibility attributes`.split(' ').includes(key) && this[key] !== undefined) return this[key]
    return key.replace(/^attr(ibutes)?\./, '').split('.').reduce((o, k) => o?.[k], this.attributes)
  }
  /** Changes the name or an attribute here; save() tells the server. null removes. */
  set(key, value) {
    if (key === 'name') this.name = value
    else if (key === 'attr' || key === 'attributes') this.attributes = value
    else {
      const patch = key.replace(/^attr(ibutes)?\./, '').split('.').reduceRight((v, k) => ({ [k]: v }), value)
      this.attributes = merge(this.attributes, patch)
    }
    return this
  }
  async save() {
    await this._settings(() => this.client._load(async () => {
      const changes = this._changes()
      if (!Object.keys(changes).length) return
      const d = await this.client._call('PATCH', this._path(), { body: changes })
      this.client._adopt(d)
      this.client._echo('conversation_info_updated', { conversationId: this.id, changes, updatedBy: this.client.id, at: d.updatedAt })
    }))
    return this
  }
  _changes() { return difference(this._saved, { name: this.name ?? null, attributes: toWire(this.attributes) }) }
  /** Loads it anew. */
  async fetch() { return this.client.getConversation(this.id, true) }
  toJSON() {
    return pick(this, FIELDS + ' unreadMessagesCount attributes')
  }

  async join() { return this._add([this.client.id]) }
  async quit() { return this._remove([this.client.id]) }
  /** How many members; in a chatroom, how many are there now. */
  async count() { return (await this.client._call('GET', this._path('members', 'count'))).count }
  async mute() { return this._mute('PUT', true) }
  async unmute() { return this._mute('DELETE', false) }
  async _mute(method, muted) {
    await this._settings(async () => {
      await this.client._call(method, this._path('mute'))
      this.client._change(this, (c) => { c.muted = muted })
    })
    return this
  }
  async _add(clients) {
    const signed = await this.client._grant(this.id, clients, 'add')
    return this._membersChanged(await this.client._call('POST', this._path('members'), { body: { clientIds: clients }, grant: signed }), true)
  }
  async _remove(clients) {
    const self = clients.length === 1 && clients[0] === this.client.id
    const signed = self ? undefined : await this.client._grant(this.id, clients, 'remove')
    const query = clients.map((id) => ['clientId', id])
    return this._membersChanged(await this.client._call('DELETE', this._path('members'), { query, grant: signed }), false)
  }
  // Who could not be added or removed is in `failures`; when that is everybody, it is an error.
  async _membersChanged({ succeeded, failed, memberCount }, joined) {
    this.failures = failed
    if (failed.length && !succeeded.length) {
      throw Object.assign(new ParleyError(failed[0].code, failed[0].detail, failed[0]), { failures: failed })
    }
    if (!this.transient && !this.system) {
      this._setMembers(succeeded, joined)
      // Whoever joins has not seen the others so far.
      if (joined && this.members.length < memberCount) await this.fetch().catch(() => {})
    }
    return this
  }
  _setMembers(clients, joined) {
    const before = this.members
    this.members = joined ? [...new Set([...before, ...clients])] : before.filter((id) => !clients.includes(id))
    this.memberCount = Math.max(this.members.length, this.memberCount + this.members.length - before.length)
  }

  /** Sends in the order of the calls. A message that failed can be sent again: it arrives once. */
  send(message, options = {}) {
    if (!(message instanceof Message)) return Promise.reject(new TypeError('not a Message'))
    message.status = MessageStatus.SENDING
    return this._sends(() => this._send(message, options)).catch((err) => { message.status = MessageStatus.FAILED; throw err })
  }
  async _send(message, options) {
    const client = this.client
    if (message._file?._data !== undefined) await message._file.save({ client, onprogress: options.onprogress })
    const { transient, will, receipt, priority, pushData, noSync } = options
    const body = { ...encode(message), ...mentions(message), ...compact({
      transient, will, receipt, pushData, noSync,
      priority: typeof priority === 'number' ? ['high', 'normal', 'low'][priority - 1] : priority,
    }) }
    const headers = {}
    // A key belongs to a message that has not arrived yet: should an answer be lost, the next attempt gets it.
    if (!transient && !will) headers['Idempotency-Key'] = message.idempotencyKey = message._key ??= randomId()
    const { _key: key } = message
    // After a while offline the stream brings one's own messages too: that is as good as an answer.
    const heard = new Promise((resolve) => key && client._unanswered.set(key, resolve))
    const sent = await Promise.race([heard, client._call('POST', this._path('messages'), { body, headers, retry: !!key })])
      .finally(() => client._unanswered.delete(key))
    delete message._key
    if (will) { message.status = MessageStatus.SENT; return message }
    client._fill(message, sent)
    client._isNew(message.id)
    if (!transient) {
      this._saw(message)
      if (receipt) this._receipts = [...this._receipts, message].slice(-200)
      this._settleReceipts() // he may have been faster than the answer to us
    }
    if (!noSync) client._echo('message', { conversationId: this.id, message: sent })
    return message
  }
  /** Replaces the content of one's own message. */
  async update(message, newMessage) {
    const body = { ...encode(newMessage), ...mentions(newMessage) }
    const data = await this.client._call('PATCH', this._path('messages', message.id ?? message), { body })
    this.client._fill(newMessage, data)
    this._replace(newMessage)
    this.client._echo('message_update', { conversationId: this.id, message: data })
    return newMessage
  }
  async recall(message) {
    const data = await this.client._call('POST', this._path('messages', message.id ?? message, 'recall'))
    const recalled = await this.client._parse(data)
    this._replace(recalled)
    this.client._echo('message_recall', { conversationId: this.id, message: data })
    return recalled
  }
  _replace(message) { if (this.lastMessage?.id === message.id) this.lastMessage = message }

  /** One page of the history, oldest message first. */
  async queryMessages(options = {}) { return (await this._history(options)).messages }
  async _history(o, cursor) {
    const time = (t) => (t === undefined || t === null ? t : new Date(t).toISOString())
    // An interval from the earlier to the later needs no direction.
    const oldToNew = Number(o.direction ?? o.startTime < o.endTime) === MessageQueryDirection.OLD_TO_NEW
    const query = cursor ? { cursor, limit: o.limit } : {
      limit: o.limit, direction: oldToNew ? 'old_to_new' : undefined,
      startMessageId: o.startMessageId ?? o.beforeMessageId, startTime: time(o.startTime ?? o.beforeTime), startClosed: o.startClosed || undefined,
      endMessageId: o.endMessageId ?? o.afterMessageId, endTime: time(o.endTime ?? o.afterTime), endClosed: o.endClosed || undefined,
      type: o.type > 0 ? 'custom' : typeName(o.type), customType: o.type > 0 ? o.type : undefined,
    }
    const ask = (grant) => this.client._call('GET', this._path('messages'), { query, grant })
    const page = await ask().catch(async (err) => {
      if (err.type !== 'grant_required' || !this.client._options.conversationSignatureFactory) throw err
      return ask(await this.client._grant(this.id, [], 'history'))
    })
    const messages = await Promise.all(page.items.map((m) => this.client._parse(m)))
    return { messages: oldToNew ? messages : messages.reverse(), next: page.next }
  }
  /** Pages through the history; the last page says `done` together with its messages. */
  createMessagesIterator(options = {}) {
    let cursor, over = false
    const turn = inTurn()
    const page = async () => {
      if (over) return { value: undefined, done: true }
      const { messages, next } = await this._history(options, cursor)
      cursor = next
      over = next === null
      return { value: messages, done: over }
    }
    return { next: () => turn(page) }
  }

  /** Read up to the last message known here. */
  async read() {
    const messageId = this.lastMessage?.seq === undefined ? undefined : this.lastMessage.id
    const ask = (body) => this.client._call('POST', this._path('read'), { body, retry: true })
    const seq = this.lastMessage?.seq ?? 0
    const r = await ask(compact({ messageId })).catch((err) => {
      if (err.type === 'message_not_found') return ask({}) // the server has removed it
      throw err
    })
    this._countedTo = Math.max(this._countedTo, seq)
    this._setUnread(r.unreadMessagesCount, r.unreadMessagesCount > 0 && this.unreadMessagesMentioned)
    // Whether the answer knew of what came meanwhile cannot be seen.
    if (this.lastMessage?.seq > seq) this.client._recount(this)
    this.client._echo('unread_messages_count_update', { conversations: [{ ...r, conversationId: this.id, unreadMessagesMentioned: this.unreadMessagesMentioned, lastMessage: null }] })
    return this
  }
  /** Who has got and who has read one's own message: `[{clientId, delivered, read}]`. */
  async getReceipts(message) { return this.client._all(this._path('messages', message.id ?? message, 'receipts')) }
  /** `[{clientId, role, joinedAt, muted}]`, with `online` if asked for. */
  async getMembers({ online } = {}) { return this.client._all(this._path('members'), { online: online || undefined }) }

  _path(...more) { return path('conversations', this.id, ...more) }

  // What the server says of the whole. Fields that the answer leaves out stay.
  _apply(d) {
    if (!(date(d.updatedAt) < this.updatedAt)) { // else it was overtaken
      const dirty = this._changes()
      this._saved = { name: d.name, attributes: d.attributes }
      this.name = 'name' in dirty ? this.name : d.name
      this.attributes = fromWire(merge(d.attributes, dirty.attributes ?? {}))
      this.updatedAt = date(d.updatedAt) ?? this.updatedAt
    }
    this.kind = d.kind
    this.creator = d.creator ?? undefined
    if (d.members.length || !d.memberCount || this.transient || this.system) this.members = d.members
    for (const k of ['memberCount', 'visibility', 'unique', 'muted', 'role']) if (d[k] !== undefined) this[k] = d[k]
    for (const k of ['createdAt', 'lastMessageAt', 'expiresAt']) if (d[k]) this[k] = date(d[k])
    for (const k of ['lastDeliveredAt', 'lastReadAt']) if (d[k]) this[k] = after(d[k])
  }
  // A stored message that is known now, in whatever way.
  _saw(message) {
    if (message.seq === undefined || message.seq <= (this.lastMessage?.seq ?? -Infinity)) return
    this.lastMessage = message
    this.lastMessageAt = message.timestamp
  }
  _arrived(message) {
    this._saw(message)
    if (this.transient || message.seq === undefined || message.from === this.client.id || message.seq <= this._countedTo) return
    this._countedTo = message.seq
    this._setUnread(this.unreadMessagesCount + 1, this.unreadMessagesMentioned || message.mentioned)
  }
  _setUnread(count, mentioned) {
    if (count === this.unreadMessagesCount && mentioned === this.unreadMessagesMentioned) return
    this.unreadMessagesCount = count
    this.unreadMessagesMentioned = mentioned
    this.client._unreadChanged(this)
  }
  _receipt(key, at) {
    if (!(at > (this[key] ?? 0))) return
    this[key] = at
    if (key === 'lastReadAt') this._receipt('lastDeliveredAt', at)
    this._settleReceipts()
    tell(this, key.toLowerCase() + 'update')
  }
  _settleReceipts() {
    const at = this.lastDeliveredAt
    this._receipts = this._receipts.filter((m) => {
      if (!(m.timestamp < at)) return true
      m.status = MessageStatus.DELIVERED
      m.deliveredAt = at
      return false
    })
  }
}
const FIELDS = 'id name kind creator members memberCount createdAt updatedAt lastMessageAt unique muted'

const mentions = (m) => ({ ...(m.mentionedAll && { mentionAll: true }), ...(m._mentionList.length && { mentionList: m._mentionList }) })

export class Conversation extends ConversationBase {
  async add(clients) { return this._add(list(clients)) }
  async remove(clients) { return this._remove(list(clients)) }
}
export class ChatRoom extends Conversation {}
export class ServiceConversation extends ConversationBase {
  async subscribe() { return this.join() }
  async unsubscribe() { return this.quit() }
}
export class TemporaryConversation extends ConversationBase {
  get expiredAt() { return this.expiresAt }
  get expired() { return this.expiresAt < new Date() }
}
const CLASSES = { ordinary: Conversation, chatroom: ChatRoom, service: ServiceConversation, temporary: TemporaryConversation }

// ---- Queries ----

const QUERY_FIELDS = new Set(`${FIELDS} objectId c m lm tr sys attributes attr`.split(' '))
const combine = (operator, queries) => new ConversationQuery(queries[0]._client, [{ [operator]: queries.map((q) => q._condition()) }])
const column = (key) => (QUERY_FIELDS.has(key.split('.')[0]) ? key : 'attributes.' + key)

export class ConversationQuery {
  constructor(client, where = []) {
    this._client = client
    this._where = where
    this._order = []
    this._options = {}
  }
  static and(...queries) { return combine('$and', queries) }
  static or(...queries) { return combine('$or', queries) }
  _is(key, operator, value, more) {
    const name = column(key)
    this._where.push({ [name]: { [operator]: name.startsWith('attr') ? toWire(value) : value, ...more } })
    return this
  }
  _condition() { return this._where.length > 1 ? { $and: this._where } : this._where[0] ?? {} }

  sizeEqualTo(key, size) { return column(key) === 'm' || key === 'members' ? this._is('memberCount', '$eq', size) : this._is(key, '$size', size) }
  exists(key) { return this._is(key, '$exists', true) }
  doesNotExist(key) { return this._is(key, '$exists', false) }
  matches(key, pattern, flags) {
    const options = flags ?? (pattern.flags ?? '').replace(/[^ims]/g, '')
    return this._is(key, '$regex', pattern.source ?? pattern, options ? { $options: options } : {})
  }
  /** All of these are members, others perhaps too. */
  containsMembers(clients) { return this.containsAll('m', clients) }
  /** Just these are members, and with `includeSelf` oneself. Without oneself nobody could see that: then all of these, others too. */
  withMembers(clients, includeSelf) {
    const all = [...new Set([...clients, ...(includeSelf ? [this._client.id] : [])])]
    if (all.includes(this._client.id)) this.sizeEqualTo('m', all.length)
    return this.containsMembers(all)
  }
  ascending(key) { this._order = []; return this.addAscending(key) }
  descending(key) { this._order = []; return this.addDescending(key) }
  addAscending(key) { this._order.push(column(key)); return this }
  addDescending(key) { this._order.push('-' + column(key)); return this }
  limit(n) { this._options.limit = n; return this }
  skip(n) { this._options.skip = n; return this }
  compact(enabled = true) { this._options.compact = enabled || undefined; return this }
  /** Kept for the old code: results always have their last message. */
  withLastMessagesRefreshed() { return this }

  async find() {
    return this._client._load(async () => {
      const body = { ...compact(this._options), where: this._condition(), include: ['lastMessage'] }
      if (this._order.length) body.order = this._order
      const { items } = await this._client._call('POST', '/v1/queries', { retry: true, body })
      return Promise.all(items.map((d) => this._client._adoptParsed(d)))
    })
  }
  async first() { return (await this.limit(1).find())[0] }
  async count() { return (await this._client._call('POST', '/v1/queries/count', { body: { where: this._condition() }, retry: true })).count }
}
for (const [name, operator] of Object.entries({
  equalTo: '$eq', notEqualTo: '$ne', lessThan: '$lt', lessThanOrEqualTo: '$lte', greaterThan: '$gt', greaterThanOrEqualTo: '$gte',
  containedIn: '$in', notContainedIn: '$nin', containsAll: '$all', contains: '$contains', startsWith: '$startsWith', endsWith: '$endsWith',
})) ConversationQuery.prototype[name] = function (key, value) { return this._is(key, operator, value) }

// ---- The stream ----

/** One connection: over EventSource where there is one, else over fetch. Calls on.frame and, once, on.end. */
function openStream(url, token, on, options) {
  let over = false, stop
  const end = (err) => { if (!over) { over = true; stop(); on.end(err) } }
  const frame = (...args) => over || on.frame(...args)
  const ended = (err) => end(err instanceof ParleyError ? err : new ParleyError('stream_ended', err?.message))
  const overFetch = () => {
    const abort = new AbortController()
    stop = () => abort.abort()
    readStream(url.replace(/&ticket=[^&]*/, ''), token, abort.signal, frame, on, options).then(ended, ended)
  }
  const Source = options.EventSource ?? globalThis.EventSource
  if (Source && !options.fetch) {
    const source = new Source(url)
    const listener = (e) => { if (e.data !== undefined) frame(e.type, JSON.parse(e.data), e.lastEventId) }
    for (const name of FRAMES) source.addEventListener(name, listener)
    stop = () => source.close()
    // Its own reconnecting knows no back-off and tells nobody. Nor does it say why it was refused, as fetch does.
    source.addEventListener('error', () => { if (source.readyState !== 2) ended(); else if (!over) overFetch() })
  } else overFetch()
  return { end }
}

async function readStream(url, token, signal, frame, on, options) {
  const resp = await (options.fetch ?? fetch)(url, { headers: { Authorization: 'Bearer ' + token, Accept: 'text/event-stream' }, signal, cache: 'no-store' })
  if (resp.status !== 200) throw await refusal(resp)
  let rest = '', type = '', data = '', id
  for await (const chunk of chunks(resp.body.pipeThrough(new TextDecoderStream()))) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*?)\r?$/.exec(line)
      if (field === 'event') type = value
      else if (field === 'data') data = value
      else if (field === 'id') id = value
      else if (field === 'retry') on.retry(Number(value))
      else if (field === '' && value === '' && type) {
        frame(type, JSON.parse(data), id)
        type = ''
        id = undefined
      }
    }
  }
}
async function* chunks(stream) {
  const reader = stream.getReader() // not every browser iterates over streams
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    yield value
  }
}

async function refusal(resp) {
  if (resp.status === 204) return new ParleyError('session_spent')
  const problem = await resp.json().catch(() => ({}))
  const err = new ParleyError(problem.code ?? 'http_' + resp.status, problem.detail ?? resp.statusText, { status: resp.status, ...problem })
  err.retryAfter = Number(resp.headers.get('Retry-After')) || 0
  return err
}
// What another attempt may mend: the network, a server that restarts, a limit.
const passing = (err) => ['network', 'stream_ended'].includes(err.type) || err.status >= 500 || err.status === 429

// ---- Several tabs, one stream ----

// Whoever holds the lock has the stream and passes what comes on; the others follow. When it goes
// away the next one gets the lock and goes on with the same session at the position it has reached.
class Tabs {
  constructor(client, name) {
    this.client = client
    this.name = name
    this.id = randomId()
    this.watched = new Map() // by whom else the presence of whom is wanted
    this.leads = false
    this.gone = new AbortController()
    this.channel = new BroadcastChannel(name)
    this.channel.onmessage = ({ data }) => this._heard(data)
  }
  /** Resolves when it is known whether this tab leads (true), follows (false), or is on its own (undefined). */
  join() {
    return new Promise((resolve) => {
      this._resolve = resolve
      this._wait({ signal: this.gone.signal })
      this.post({ hello: true })
      this._timer = setTimeout(() => { if (!this.leads && !this.followed) { this.leave(); resolve(undefined) } }, 3000)
    })
  }
  _wait(how) {
    navigator.locks.request(this.name, how, () => {
      if (!this.channel) return
      this.leads = true
      this._resolve(true)
      if (this.followed) this.client.realtime._reach(this.client).catch((err) => this.client._lost(err))
      return new Promise((release) => { this._release = release })
    }).catch(() => this.stepDown())
  }
  /** Takes the stream over from a tab that is frozen. */
  seize() {
    this.gone.abort()
    this.gone = new AbortController()
    this._wait({ steal: true })
  }
  /** The other side of that. What this tab has missed is loaded. */
  stepDown() {
    if (!this.leads || !this.channel) return
    this.leads = false
    this.followed = true
    this._release()
    this._wait({ signal: this.gone.signal })
    this.client._follow()
    this.client._enqueue('reset', { reason: 'frozen' })
  }
  post(what) { this.channel?.postMessage(what) }
  /** Tells those who wait that the stream is open. */
  welcome() { if (this.leads) this.post({ session: this.client._session, position: this.client._position }) }
  _heard(m) {
    const client = this.client
    if (m.hello) {
      this.watch()
      if (client._ready) this.welcome()
      return
    }
    if (m.watch) {
      const [tab, clients] = m.watch
      if (!same(this.watched.get(tab), clients)) {
        this.watched.set(tab, clients)
        if (this.leads) client._subscribe().catch(() => {}) // the next one says the same
      }
      return
    }
    if (m.echo) { client._enqueue(...m.echo); return }
    if (this.leads) return
    if (this.followed) client._watch()
    if (m.session && !this.followed) {
      this.followed = true
      client._session = m.session
      client._position = m.position
      this._resolve(false)
    } else if (!this.followed) return
    if (m.frame) client._enqueue(...m.frame)
    if (m.link) { client.realtime.emit(...m.link); client.emit(...m.link) }
  }
  watch() { this.post({ watch: [this.id, this.client._watched] }) }
  /** Whether other tabs have the session. */
  async shared() { return (await navigator.locks.query()).pending.some((l) => l.name === this.name) || !this.leads }
  leave() {
    clearTimeout(this._timer)
    this.gone.abort()
    this._release?.()
    this.channel?.close()
    this.channel = undefined
  }
}

// ---- The client ----

let latest // who uploads when a file does not say

export class IMClient extends EventEmitter {
  constructor(id, options, tag, realtime) {
    super()
    this.id = id
    this.tag = tag
    this.realtime = realtime
    this._options = options
    this._conversations = new Map()
    this._loads = new Set()
    this._creating = new Set()
    this._seen = new Set()
    this._unanswered = new Map() // sends by their keys
    this._watched = []
    this._subscriptions = inTurn()
    // Nothing is handed out before the code behind `await createIMClient()` has had its turn to listen.
    this._queue = new Promise((resolve) => { this._begin = resolve })
    this._unread = new Set()
  }
  get sessionId() { return this._session }
  /** The place in the stream up to which everything has been heard. */
  get position() { return this._position }

  // -- tokens and calls --

  _token(refused) {
    if (this._auth === refused || Date.now() > this._renewAt) this._auth = undefined
    if (!this._auth) {
      this._renewAt = Infinity // until the new one says better
      this._auth = this._newToken().catch((err) => { this._auth = undefined; throw err })
    }
    return this._auth
  }
  async _newToken() {
    const { signatureFactory } = this._options
    const signed = signatureFactory && await signatureFactory(this.id)
    const source = jwtOf(signed) ?? this.realtime._options.token
    const token = typeof source === 'function' ? await source(this.id) : source
    if (!token) throw new ParleyError('unauthenticated', 'Realtime needs a token')
    const { iat, exp, sub } = claims(token)
    if (sub !== undefined && this.id === undefined) this.id = sub
    // By the length of its life, not by the clock of this machine.
    const life = exp && iat ? (exp - iat) * 1000 : Infinity
    this._renewAt = Date.now() + Math.max(life - 60_000, life / 2)
    return token
  }
  async _grant(conversation, clients, action) {
    const factory = this._options.conversationSignatureFactory
    return factory && jwtOf(await factory(conversation, this.id, clients, action))
  }

  async _fetch(method, url, { query, body, headers, grant, token, via = this.realtime._options.fetch ?? fetch, ...init } = {}) {
    const params = new URLSearchParams(Object.entries(query ?? {}).map(([k, v]) => (Array.isArray(v) ? v : [k, v])).filter(([, v]) => v !== undefined && v !== null))
    const all = { Authorization: 'Bearer ' + token, ...headers }
    if (this._session) all['Parley-Session'] = this._session
    if (grant) all['Parley-Grant'] = grant
    if (body && !all['Content-Type']) { all['Content-Type'] = 'application/json'; body = JSON.stringify(body) }
    try {
      const resp = await via(this.realtime._server + url + (String(params) && '?' + params), { ...init, method, headers: all, body })
      return resp.ok ? { resp, answer: resp.status === 204 ? undefined : await resp.json() } : { resp, err: await refusal(resp) }
    } catch (cause) { return { err: Object.assign(new ParleyError('network', cause.message), { cause }) } }
  }
  // One request to the server and its answer. What may be repeated is, a few times; the token is renewed once.
  async _call(method, url, request = {}) {
    if (this._over) throw new ParleyError('session_required', 'logged out', { legacyCode: 4105 })
    const again = request.retry || /GET|PUT|PATCH/.test(method)
    for (let attempt = 0, renewed; ; attempt++) {
      const auth = this._token(renewed)
      // An upload takes as long as it takes.
      const signal = request.signal ?? (request.headers?.['Content-Type'] ? undefined : AbortSignal.timeout(30_000))
      const { resp, answer, err } = await this._fetch(method, url, { ...request, signal, token: await auth })
      if (!err) {
        if (this._awaitsPosition) this._position ??= resp.headers.get('Parley-Position') ?? undefined
        return answer
      }
      if (err.status === 401 && !renewed) {
        renewed = auth
      } else if (attempt < 4 && (again ? passing(err) : err.status === 429 && err.retryAfter) && !(err.retryAfter > 30) && !this._closed && !this.realtime._paused) {
        await wait((err.retryAfter || 0.3 * 2 ** attempt) * 1000 * (1 + Math.random() / 4))
      } else throw err
    }
  }
  async _all(url, query) {
    const items = []
    let cursor
    do {
      const page = await this._call('GET', url, { query: { ...query, cursor } })
      items.push(...page.items)
      cursor = page.next ?? undefined
    } while (cursor)
    return items
  }

  // -- logging in, the stream --

  async _login() {
    await this._token()
    const store = this.realtime._store
    this._storeKey = `parley ${this.realtime._server} ${this.id} ${this.tag ?? ''}`
    const kept = store && JSON.parse(store.getItem(this._storeKey) ?? 'null')
    // Taken out, so that a tab that is a copy of this one does not believe the session to be its own.
    store?.removeItem(this._storeKey)
    if (kept) [this._session, this._position] = [kept.session, kept.position]
    const leads = await this._elect()
    const resumed = this._position !== undefined
    if (leads !== false) await this._firstOpen(kept)
    if (globalThis.addEventListener && store) {
      this._leaving = () => this._keep()
      addEventListener('pagehide', this._leaving)
    }
    // The stream tells the counts only where it starts anew.
    if (leads === false || resumed) this._queue = this._queue.then(() => this._insist(() => this._loadUnread()))
    return this
  }
  async _elect() {
    const { shareStream = typeof document !== 'undefined' } = this.realtime._options
    if (!shareStream || !globalThis.navigator?.locks || !globalThis.BroadcastChannel) return undefined
    this._tabs = new Tabs(this, this._storeKey)
    const leads = await this._tabs.join()
    if (leads === undefined) this._tabs = this._session = this._position = undefined
    if (leads === false && !this._tabs.leads) this._follow()
    return leads
  }
  async _firstOpen(kept) {
    for (let attempt = 0; ; attempt++) {
      this._session ??= randomId()
      try {
        return await this._open(this._options.isReconnect || undefined)
      } catch (err) {
        if (kept && (err.type === 'session_spent' || err.type === 'session_conflict') && !this._options.isReconnect) {
          kept = this._session = this._position = undefined // logged out meanwhile: log in anew
        } else if (!(passing(err) || (err.status === 401 && !attempt)) || attempt >= 2) {
          throw err
        } else await wait(500 * 2 ** attempt * (1 + Math.random()))
      }
    }
  }
  // Opens the stream; resolves when the server has said ready.
  async _open(reopen) {
    const token = await this._token()
    const { pushOfflineMessages, EventSource: own, fetch: ownFetch, heartbeat } = this.realtime._options
    const byTicket = (own ?? globalThis.EventSource) && !ownFetch
    const ticket = byTicket ? (await this._call('POST', '/v1/tickets')).ticket : undefined
    if (this._closed || this.realtime._paused) throw new ParleyError('stream_ended')
    const params = new URLSearchParams(compact({
      session: this._session, tag: this.tag, reopen, ack: 'client', lastEventId: this._position, ticket, heartbeat,
      offline: pushOfflineMessages ? 'messages' : undefined,
    }))
    await new Promise((resolve, reject) => {
      this._drop()
      let ready = false
      const stream = openStream(`${this.realtime._server}/v1/events?${params}`, token, {
        retry: (ms) => { this._retryHint = ms },
        frame: (type, data, id) => {
          this._watch(data.heartbeatSeconds)
          if (type === 'ready') {
            ready = true
            this._awaitsPosition = !id
            this._ready = true
            this._retryHint = 0 // each stream begins with one; what counts is the last word of one that ends
            this._enqueue(type, data, id)
            this._tabs?.welcome()
            return resolve()
          }
          if (data.code === 'replaced' && this._tabs) return this._tabs.stepDown()
          const frame = [type, data, id]
          // Instead of ready: the end of a session that is already over.
          if (!ready) return reject(Object.assign(new ParleyError('session_spent'), { frame }))
          this._tabs?.post({ frame })
          this._enqueue(...frame)
        },
        end: async (err) => {
          if (err.status === 401) this._auth = undefined
          if (this._stream === stream) {
            clearTimeout(this._watchdog)
            this._stream = undefined
            this._ready = false
            // What has come is told first, unless it waits for the network itself.
            if (ready) Promise.race([this._queue, wait(1000)]).then(() => this._lost(err))
          }
          reject(err)
        },
      }, this.realtime._options)
      this._stream = stream
      this._watch(8) // until it says better
    })
  }
  // A stream that says nothing for two heartbeats is dead, whatever the socket believes.
  _watch(seconds) {
    if (seconds) this._patience = seconds * 2000 + 5000
    clearTimeout(this._watchdog)
    this._watchdog = setTimeout(() => {
      if (this._stream) this._stream.end(new ParleyError('stream_ended', 'the stream is silent'))
      else if (!this.realtime._paused && !this._tabs?.leads) this._tabs?.seize()
    }, this._patience)
  }
  _drop(err = new ParleyError('stream_ended')) {
    const stream = this._stream
    this._stream = undefined
    clearTimeout(this._watchdog)
    stream?.end(err)
  }
  _lost(err) {
    if (this._closed) return
    if (err.type !== 'session_spent') return this.realtime._lost(this)
    if (err.frame) {
      this._tabs?.post({ frame: err.frame })
      this._handle(...err.frame)
    } else this._ended({ code: err.type })
  }
  _link(...event) {
    this.emit(...event)
    this._tabs?.post({ link: event })
  }
  // Lets another tab have the stream. What comes on it is heard from there.
  _follow() {
    const { _broken, _options } = this.realtime
    this._ready = false
    this._drop()
    this._watch(Math.max(20, _options.heartbeat ?? 0))
    if (_broken.delete(this)) this.realtime._tell([this], 'reconnect')
  }
  // Stops for good.
  _end() {
    this._closed = true
    this._ready = false
    clearTimeout(this._ackTimer)
    this._drop()
    this._tabs?.leave()
    this.realtime._store?.removeItem(this._storeKey)
    if (this._leaving) removeEventListener('pagehide', this._leaving)
    this.realtime._forget(this)
    if (latest === this) latest = undefined
  }
  _ended(payload) {
    if (this._closed) return
    this._end()
    this._over = true
    this.emit('close', payload)
  }
  _keep() {
    if (this._closed) return
    this.realtime._store.setItem(this._storeKey, JSON.stringify({ session: this._session, position: this._position }))
    this._ack(true)
  }
  /** Logs out. Where other tabs have the same session, only this tab leaves. */
  async close() {
    if (this._closed) return
    const shared = this._tabs && await this._tabs.shared()
    const acked = this._ack()
    this._end()
    await acked
    if (!shared) await this._call('DELETE', path('sessions', this._session)).catch((err) => { if (err.type !== 'network' && err.status !== 404) throw err })
    for (const c of this._conversations.values()) await c._sends(() => {}) // what was sent before still arrives
    this._over = true
  }

  // -- what comes on the stream --

  // One after another: some have to be completed by a question to the server.
  _enqueue(type, data, id) {
    this._queue = this._queue.then(() => this._insist(() => this._handle(type, data))).then(() => {
      if (!id || this._closed) return
      this._position = id
      if (type === 'message') this._ackSoon()
    })
  }
  // An event is not lost because the server could not be asked about it.
  async _insist(work) {
    for (let failures = 0; ;) {
      try { return await work() } catch (err) {
        if (this._closed) return
        // A server that fails at one thing only must not keep us from all the others.
        if (!passing(err) || (err.status && ++failures > 9)) return report(err)
        await wait(2000)
      }
    }
  }
  async _handle(type, d) {
    if (this._closed || type === 'ping' || type === 'ready') return
    const own = HANDLERS[type]
    if (own) return own.call(this, d)
    const { conversationId, at, ...payload } = d
    const name = type.replaceAll('_', '')
    if (conversationId) tell(await this._known(conversationId), name, payload)
    else this.emit(name, payload)
  }
  // The other tabs have to hear what this one has done: the server tells it to other sessions only.
  _echo(type, data) { this._tabs?.post({ echo: [type, data] }) }
  _ackSoon() {
    if (this._tabs && !this._tabs.leads) return
    this._ackTimer ??= setTimeout(() => this._ack(), 500)
  }
  async _ack(keepalive) {
    clearTimeout(this._ackTimer)
    if (!this._ackTimer) return
    this._ackTimer = undefined
    // When it is lost the next one, or the next connection, says the same.
    await this._call('POST', '/v1/acks', { body: { position: this._position }, keepalive }).catch(() => {})
  }

  // Runs a load of state; what the stream says meanwhile is applied to its result once more, for it may be older.
  async _load(load) {
    const meanwhile = []
    this._loads.add(meanwhile)
    try {
      const result = await load()
      for (const change of meanwhile) change()
      return result
    } finally { this._loads.delete(meanwhile) }
  }
  // Changes a conversation as the stream says. The change may run twice.
  _change(conversation, change) {
    change(conversation)
    for (const load of this._loads) load.push(() => { const c = this._conversations.get(conversation.id); if (c) change(c) })
  }
  _isNew(id) {
    if (this._seen.has(id)) return false
    this._seen.add(id)
    if (this._seen.size > 5000) this._seen.delete(this._seen.values().next().value)
    return true
  }
  _unreadChanged(conversation) {
    if (!this._unread.size) queueMicrotask(() => {
      const changed = [...this._unread]
      this._unread.clear()
      if (!this._closed) this.emit('unreadmessagescountupdate', changed)
    })
    this._unread.add(conversation)
  }
  async _setCounts(items) {
    await this._loadMissing(items.map((i) => i.conversationId))
    for (const { conversationId, unreadMessagesCount, unreadMessagesMentioned, lastMessage } of items) {
      const conversation = this._conversations.get(conversationId)
      if (!conversation) continue
      const last = lastMessage ? await this._parse(lastMessage) : undefined
      if (last) {
        conversation._saw(last)
        conversation._countedTo = Math.max(conversation._countedTo, last.seq ?? 0)
      }
      this._change(conversation, (c) => c._setUnread(unreadMessagesCount, unreadMessagesMentioned))
    }
  }
  async _loadUnread() { await this._setCounts(await this._all('/v1/unread')) }
  async _loadMissing(ids, also) {
    const missing = [...new Set(ids)].filter((id) => also || !this._conversations.has(id))
    for (let i = 0; i < missing.length; i += 100) {
      await this.getQuery().containedIn('id', missing.slice(i, i + 100)).limit(100).find()
    }
  }
  // The edit or recall of somebody's message may have changed the count.
  _recount(conversation) {
    conversation._recounting ??= setTimeout(() => {
      conversation._recounting = undefined
      if (!this._closed) conversation.fetch().catch(() => {})
    }, 300)
  }

  // -- objects --

  // The conversation of an event. Where it cannot be asked for any more, there is still its id.
  async _known(id) {
    // It may be the one that is just being created.
    if (!this._conversations.has(id)) await Promise.allSettled(this._creating)
    await this._turn
    const have = this._conversations.get(id)
    if (have) return have
    return this.getConversation(id).catch((err) => {
      if (passing(err)) throw err
      return this._make({ id, kind: id.startsWith('_tmp:') ? 'temporary' : 'ordinary' })
    })
  }
  _make(data) {
    const conversation = new (CLASSES[data.kind] ?? Conversation)(data, this)
    this._conversations.set(data.id, conversation)
    // Whoever awaits it has his turn to listen before the next event.
    this._turn ??= wait().then(() => { this._turn = undefined })
    return conversation
  }
  _adopt(d) {
    const known = this._conversations.get(d.id)
    const conversation = known ?? this._make(d)
    conversation._apply(d)
    if (!known) this.realtime._decorate('onConversationCreate', conversation)
    return conversation
  }
  async _adoptParsed(d) {
    const last = d.lastMessage ? await this._parse(d.lastMessage) : undefined
    const conversation = this._adopt(d)
    if (last && (last.seq ?? 0) >= (conversation.lastMessage?.seq ?? 0)) conversation.lastMessage = last
    if (d.unreadMessagesCount !== undefined) {
      conversation._countedTo = last?.seq ?? 0
      conversation._setUnread(d.unreadMessagesCount, d.unreadMessagesMentioned)
    }
    return conversation
  }
  async _parse(m) {
    const { realtime } = this
    const content = await realtime._through('beforeMessageParse', decode(m, realtime._absolute))
    const Class = realtime._classes.find((c) => (c.validate ?? TypedMessage.validate).call(c, content)) ?? Message
    const message = (Class.parse ?? TypedMessage.parse).call(Class, content, new Class()) ?? content
    return realtime._through('afterMessageParse', this._fill(message, m))
  }
  _fill(message, m) {
    Object.assign(message, compact({
      id: m.id, cid: m.conversationId, from: m.from, seq: m.seq, timestamp: date(m.sentAt), updatedAt: date(m.updatedAt),
      _mentionList: m.mentionList, transient: m.transient, receipt: m.receipt, moderated: m.moderated, priority: m.priority, idempotencyKey: m.idempotencyKey,
    }))
    message.mentionedAll = !!m.mentionAll
    message.mentioned = message.from !== this.id && (message.mentionedAll || message._mentionList.includes(this.id))
    message.status = MessageStatus.SENT
    return message
  }

  async createConversation({ members = [], name, transient, unique, attributes, visibility, ...rest } = {}) {
    if (transient) return this.createChatRoom({ name, attributes, visibility, ...rest })
    return this._create({ members, name, unique: unique || undefined, visibility, attributes: toWire({ ...rest, ...attributes }) }, members)
  }
  async createChatRoom({ name, attributes, visibility, members, unique, transient, ...rest } = {}) {
    return this._create({ kind: 'chatroom', name, visibility, attributes: toWire({ ...rest, ...attributes }) }, [])
  }
  async createTemporaryConversation({ members = [], ttl, name } = {}) {
    return this._create({ kind: 'temporary', members, name, ttlSeconds: ttl }, members)
  }
  async _create(body, members) {
    const grant = await this._grant(undefined, [...new Set([...members, this.id])], 'create')
    const made = this._load(async () => this._adoptParsed(await this._call('POST', '/v1/conversations', { body: compact(body), grant })))
    this._creating.add(made)
    return made.finally(() => this._creating.delete(made))
  }
  async getConversation(id, noCache) {
    const have = this._conversations.get(id)
    if (have && !noCache) return have
    return this._load(async () => this._adoptParsed(await this._call('GET', path('conversations', id), { query: { include: 'lastMessage' } })))
  }
  getQuery() { return new ConversationQuery(this) }
  getChatRoomQuery() { return this.getQuery().equalTo('kind', 'chatroom') }
  getServiceConversationQuery() { return this.getQuery().equalTo('kind', 'service') }
  /** Those of the clients that are online. */
  async ping(clients) { return (await this._call('POST', '/v1/presence/query', { body: { clientIds: clients }, retry: true })).online }
  /** Asks for `presence` events about these clients instead of those that this tab asked for before; answers who is online now. */
  async subscribePresence(clients) {
    this._watched = clients
    this._tabs?.watch()
    return (await this._subscribe()).filter((id) => clients.includes(id))
  }
  // The server knows one list for all tabs.
  _subscribe() {
    return this._subscriptions(async () => {
      const clientIds = [...new Set([this._watched, ...(this._tabs?.watched.values() ?? [])].flat())].slice(0, 1000)
      return (await this._call('PUT', '/v1/presence/subscriptions', { body: { clientIds } })).online
    })
  }
  async clearWill() { await this._call('DELETE', path('sessions', this._session, 'will')) }

  /** Stores a Blob, a File or bytes and answers what the server found it to be. */
  async upload(data, { name, type, onprogress, signal } = {}) {
    const body = data instanceof Uint8Array || data instanceof ArrayBuffer ? new Blob([data]) : data?.blob ?? data
    const headers = { 'Content-Type': type || body.type || 'application/octet-stream' }
    const via = onprogress && globalThis.XMLHttpRequest && xhrFetch(onprogress, signal)
    const info = await this._call('POST', '/v1/files', { query: { name: name || body.name || undefined }, body, headers, ...(via && { via }), signal })
    return { ...info, url: this.realtime._absolute(info.url) }
  }
}

// fetch cannot tell how far an upload is.
const xhrFetch = (onprogress, signal) => (url, { method, headers, body }) => new Promise((resolve, reject) => {
  const xhr = new XMLHttpRequest()
  xhr.open(method, url)
  for (const [k, v] of Object.entries(headers)) xhr.setRequestHeader(k, v)
  xhr.upload.onprogress = ({ loaded, total }) => onprogress({ loaded, total, percent: (loaded / total) * 100 })
  xhr.onload = () => resolve(new Response(xhr.responseText, { status: xhr.status, headers: { 'Retry-After': xhr.getResponseHeader('Retry-After') ?? '' } }))
  xhr.onerror = xhr.onabort = () => reject(new TypeError('upload failed'))
  signal?.addEventListener('abort', () => xhr.abort())
  xhr.send(body)
})

/** The JWT in what a signature factory answered. */
function jwtOf(signed) {
  const text = typeof signed === 'string' ? signed : signed?.grant ?? signed?.token ?? signed?.signature
  return text && text.split('.').length === 3 ? text : undefined
}
function claims(token) {
  try {
    return JSON.parse(new TextDecoder().decode(fromBase64(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))))
  } catch { return {} }
}

// What the events of the stream do. `this` is the client.
const HANDLERS = {
  async message({ conversationId, message: m }) {
    const answer = m.from === this.id && this._unanswered.get(m.idempotencyKey)
    if (answer) return answer(m)
    const message = await this._parse(m)
    const conversation = await this._known(conversationId)
    if (!this._isNew(m.id)) return
    for (const plugin of this.realtime._plugins) {
      if (await this.realtime._plugged(plugin, () => plugin.beforeMessageDispatch?.(message, conversation)) === false) return
    }
    this._change(conversation, (c) => c._arrived(message))
    tell(conversation, 'message', message)
  },
  presence({ clientId, online }) { if (this._watched.includes(clientId)) this.emit('presence', { clientId, online }) },
  message_update(d) { return edited.call(this, d, 'messageupdate') },
  message_recall(d) { return edited.call(this, d, 'messagerecall') },
  invited({ conversation, invitedBy }) { this._adopt(conversation); return moved.call(this, 'invited', conversation.id, [this.id], true, { invitedBy }) },
  kicked({ conversationId, kickedBy }) { return moved.call(this, 'kicked', conversationId, [this.id], false, { kickedBy }) },
  members_joined({ conversationId, members, invitedBy }) { return moved.call(this, 'membersjoined', conversationId, members, true, { members, invitedBy }) },
  members_left({ conversationId, members, kickedBy }) { return moved.call(this, 'membersleft', conversationId, members, false, { members, kickedBy }) },
  async conversation_info_updated({ conversationId, changes, updatedBy, at }) {
    const conversation = await this._known(conversationId)
    this._change(conversation, (c) => {
      const { name, attributes } = merge(c._saved, changes)
      c._apply({ members: [], memberCount: c.memberCount, kind: c.kind, creator: c.creator, name: name ?? null, attributes: attributes ?? {}, updatedAt: at })
    })
    const payload = { attributes: { ...fromWire(changes.attributes), ...('name' in changes && { name: changes.name }) }, changes, updatedBy }
    conversation.emit('infoupdated', payload)
    this.emit('conversationinfoupdated', payload, conversation)
  },
  async conversation_deleted({ conversationId, deletedBy }) {
    const conversation = await this._known(conversationId)
    this._conversations.delete(conversationId)
    tell(conversation, 'conversationdeleted', { deletedBy })
  },
  async last_delivered_at_update(d) { (await this._known(d.conversationId))._receipt('lastDeliveredAt', after(d.lastDeliveredAt)) },
  async last_read_at_update(d) { (await this._known(d.conversationId))._receipt('lastReadAt', after(d.lastReadAt)) },
  unread_messages_count_update({ conversations }) { return this._setCounts(conversations) },
  conflict(d) {
    this.emit('conflict', { reason: d.code, ...d })
    this._ended({ code: d.code })
  },
  session_closed(d) { this._ended({ code: d.code, legacyCode: d.legacyCode, reason: d.reason }) },
  // The log does not reach back to our position: what is shown has to be loaded anew.
  async reset({ reason }) {
    this._position = undefined
    this._awaitsPosition = true
    await this._loadMissing(this._conversations.keys(), true)
    this.emit('reset', { reason })
  },
}
function tell(conversation, name, payload, ...more) {
  conversation.emit(name, payload, ...more)
  conversation.client.emit(name, payload, conversation, ...more)
}
async function moved(name, id, members, joined, payload) {
  const conversation = await this._known(id)
  this._change(conversation, (c) => {
    c._setMembers(members, joined)
    if (!joined && members.includes(this.id)) c._setUnread(0, false)
  })
  tell(conversation, name, payload)
}
async function edited({ conversationId, message: m, reason }, name) {
  const message = await this._parse(m)
  const conversation = await this._known(conversationId)
  this._change(conversation, (c) => c._replace(message))
  if (message.from !== this.id && conversation.unreadMessagesCount) this._recount(conversation)
  tell(conversation, name, message, reason)
}

// ---- Realtime ----

let defaults = {}
/** Options for every Realtime that does not say otherwise. */
export function init(options) { defaults = { ...defaults, ...options } }

/** The way to one server, and what its clients share: plugins, classes of messages, reconnecting. */
export class Realtime extends EventEmitter {
  constructor(options = {}) {
    super()
    this._options = { ...defaults, ...options }
    this._server = (this._options.server ?? globalThis.location?.origin ?? '').replace(/\/+$/, '')
    if (!this._server) throw new TypeError('Realtime needs a server')
    this._store = this._options.storage ?? sessionStore()
    this._clients = new Map()
    this._broken = new Set()
    // Not every address that a message has is one: that must not keep us from the message.
    this._absolute = (url) => { try { return url && new URL(url, this._server + '/').href } catch { return url } }
    this._classes = []
    this.register([Message, BinaryMessage, TypedMessage, RecalledMessage, TextMessage, ...TypedMessagesPlugin.messageClasses])
    this._plugins = this._options.plugins ?? []
    for (const plugin of this._plugins) this.register(plugin.messageClasses ?? [])
    this._network = { online: () => this.resume(), offline: () => this.pause() }
    this._decorate('onRealtimeCreate', this)
  }
  /** Makes classes of messages known, so that what arrives becomes one of them. */
  register(classes) {
    for (const c of list(classes)) {
      if (c.TYPE === undefined && !c.validate) throw new TypeError('no type')
      this._classes.unshift(c)
    }
  }
  // LeanCloud's documents use both spellings: onRealtimeCreate and onRealtimeCreated.
  _decorate(point, target) {
    for (const plugin of this._plugins) for (const name of [point, point + 'd']) this._plugged(plugin, () => plugin[name]?.(target))
  }
  async _through(point, value) {
    for (const plugin of this._plugins) {
      for (const step of list(plugin[point] ?? [])) value = await this._plugged(plugin, () => step(value)) ?? value
    }
    return value
  }
  async _plugged(plugin, run) {
    try { return await run() } catch (err) { console.error(plugin.name, err) } // a fault of theirs must not end the program
  }

  /** Logs a client in. The same id and tag give the same object as long as it is not closed. */
  createIMClient(identity, options, tag = options?.tag) {
    const id = typeof identity === 'object' && identity !== null ? identity.id : identity
    const key = JSON.stringify([id, tag])
    const have = this._clients.get(key)
    if (have) return have.login
    const client = new IMClient(id, { ...options }, tag, this)
    const login = client._login().then(() => {
      this._decorate('onIMClientCreate', client)
      latest = client
      client._live = true
      setTimeout(client._begin)
      return client
    }).catch((err) => {
      client._end()
      throw err
    })
    if (!this._clients.size && globalThis.addEventListener) for (const [k, f] of Object.entries(this._network)) addEventListener(k, f)
    this._clients.set(key, { client, login })
    return login
  }
  _forget(client) {
    for (const [key, have] of this._clients) if (have.client === client) this._clients.delete(key)
    this._broken.delete(client)
    if (this._broken.size === 0) this._stopWaiting()
    if (!this._clients.size && globalThis.removeEventListener) for (const [k, f] of Object.entries(this._network)) removeEventListener(k, f)
  }

  // -- disconnect, offline, online, schedule, retry, reconnect --

  _tell(clients, ...event) {
    this.emit(...event)
    for (const client of clients) client._link(...event)
  }
  _lost(client) {
    if (this._broken.has(client)) return
    const first = !this._broken.size
    this._broken.add(client)
    if (!first) return client._link('disconnect')
    this._tell([client], 'disconnect')
    this._schedule(0)
  }
  _stopWaiting() {
    clearTimeout(this._timer)
    this._timer = undefined
  }
  _schedule(attempt) {
    if (this._paused || !this._broken.size) return
    const delay = Math.round(Math.max(Math.min(1000 * 2 ** attempt, 30_000) * (0.75 + Math.random() / 2), ...[...this._broken].map((c) => c._retryHint ?? 0)))
    this._timer = setTimeout(() => this._retry(attempt), delay)
    this._tell(this._broken, 'schedule', attempt, delay)
  }
  async _retry(attempt) {
    this._stopWaiting()
    const clients = [...this._broken]
    if (!clients.length) return
    const run = this._run = {} // a later run makes this one void
    this._tell(clients, 'retry', attempt)
    await Promise.all(clients.map((client) => this._reach(client, run).catch((err) => {
      client._retryHint = err.retryAfter * 1000 || client._retryHint
      if (err.type === 'session_spent') client._lost(err)
      else if (!passing(err)) client.emit('reconnecterror', err)
    })))
    if (this._run === run) this._schedule(attempt + 1)
  }
  async _reach(client, run = {}) {
    await client._queue // the position is that of what has been heard
    await client._open()
    this._broken.delete(client)
    if (!run.told) this.emit('reconnect')
    run.told = true
    client._link('reconnect')
  }
  /** Reconnects now instead of when it was planned. */
  retry() {
    if (this._paused || !this._timer) throw new Error('nothing is planned')
    this._retry(0)
  }
  /** Goes offline by hand, as for an app in the background. */
  pause() {
    if (this._paused) return
    this._paused = true
    this._stopWaiting()
    this._run = undefined
    const own = [...this._clients.values()].map((c) => c.client).filter((c) => c._live && (!c._tabs || c._tabs.leads))
    const fresh = own.filter((c) => c._ready)
    for (const client of own) {
      this._broken.add(client)
      client._drop()
      client._ready = false
    }
    if (fresh.length) this._tell(fresh, 'disconnect')
    if (own.length || !this._clients.size) this._tell(own, 'offline')
  }
  /** Comes back from pause(). */
  resume() {
    if (!this._paused) return
    this._paused = false
    if (this._broken.size || !this._clients.size) this._tell(this._broken, 'online')
    this._schedule(0)
  }
}

function sessionStore() {
  try { return globalThis.document ? globalThis.sessionStorage : undefined } catch { return undefined }
}
