// The types of parley.js, the client of Parley. docs/CLIENT.md says how to use it.

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Attributes = { [key: string]: any }

export interface RealtimeOptions {
  /** The address of the server; in a page its own origin unless said otherwise. */
  server?: string
  /** A token, or how to get one: asked at log-in, before the last expires, and when one is refused. */
  token?: string | ((clientId: string | undefined) => string | Promise<string>)
  plugins?: Plugin[]
  /** Bring the newest unread messages at a fresh start, not their counts alone. */
  pushOfflineMessages?: boolean
  /** Seconds between two signs of life on the stream, 5 to 60. */
  heartbeat?: number
  /** Let the tabs of one client share one stream where the browser can; on in pages. */
  shareStream?: boolean
  /** Where the session and the position are kept over a reload; sessionStorage in pages. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
  fetch?: typeof fetch
  EventSource?: typeof EventSource
  /** Options of LeanCloud's SDK are allowed and not looked at. */
  [legacy: string]: unknown
}
/** Options for every Realtime that does not say otherwise. */
export function init(options: RealtimeOptions): void

export class EventEmitter {
  on(event: string, listener: (...args: any[]) => void): this
  once(event: string, listener: (...args: any[]) => void): this
  off(event: string, listener?: (...args: any[]) => void): this
  addListener(event: string, listener: (...args: any[]) => void): this
  removeListener(event: string, listener?: (...args: any[]) => void): this
  emit(event: string, ...args: any[]): boolean
}

export class Realtime extends EventEmitter {
  constructor(options?: RealtimeOptions)
  /** Logs a client in. Without an id it is the one that the token names. */
  createIMClient(identity?: string | { id: string }, options?: IMClientOptions, tag?: string): Promise<IMClient>
  register(messageClass: MessageClass | MessageClass[]): void
  /** Reconnects now instead of when it was planned; throws when nothing is planned. */
  retry(): void
  pause(): void
  resume(): void
}

/** A grant or a token: a JWT, alone or in an object. */
export type Signed = string | { grant: string; [more: string]: unknown } | { token: string; [more: string]: unknown } | { signature: string; [more: string]: unknown }
export interface IMClientOptions {
  /** Gives this client's token instead of Realtime's. */
  signatureFactory?: (clientId: string) => Signed | Promise<Signed>
  /** Gives the grant of an operation. */
  conversationSignatureFactory?: (
    conversationId: string | undefined, clientId: string, targetIds: string[], action: 'create' | 'add' | 'remove' | 'history',
  ) => Signed | undefined | Promise<Signed | undefined>
  /** Fail with session_conflict instead of logging out who has the tag. */
  isReconnect?: boolean
  /** The same as createIMClient's third parameter. */
  tag?: string
}

export class IMClient extends EventEmitter {
  readonly id: string
  readonly tag?: string
  readonly realtime: Realtime
  readonly sessionId: string
  readonly position?: string
  createConversation(options: ConversationOptions & { members?: string[]; unique?: boolean; transient?: boolean }): Promise<Conversation>
  createChatRoom(options?: ConversationOptions): Promise<ChatRoom>
  createTemporaryConversation(options: { members: string[]; ttl?: number; name?: string }): Promise<TemporaryConversation>
  getConversation(id: string, noCache?: boolean): Promise<Conversation>
  getQuery(): ConversationQuery
  getChatRoomQuery(): ConversationQuery
  getServiceConversationQuery(): ConversationQuery
  ping(clientIds: string[]): Promise<string[]>
  subscribePresence(clientIds: string[]): Promise<string[]>
  clearWill(): Promise<void>
  upload(data: Blob | ArrayBuffer | Uint8Array, options?: UploadOptions & { name?: string; type?: string }): Promise<FileInfo>
  close(): Promise<void>
}
export interface ConversationOptions {
  name?: string
  visibility?: 'public' | 'unlisted' | 'private'
  attributes?: Attributes
  /** Everything else is an attribute. */
  [attribute: string]: any
}

export class ConversationBase extends EventEmitter {
  readonly id: string
  readonly client: IMClient
  readonly kind: 'ordinary' | 'chatroom' | 'service' | 'temporary'
  name: string | null
  readonly creator?: string
  readonly members: string[]
  readonly memberCount: number
  readonly mutedMembers: string[]
  readonly attributes: Attributes
  readonly visibility: string
  readonly unique: boolean
  readonly role?: string
  readonly transient: boolean
  readonly system: boolean
  readonly temporary: boolean
  readonly muted: boolean
  readonly createdAt?: Date
  readonly updatedAt?: Date
  readonly lastMessageAt?: Date
  readonly lastMessage?: Message
  /** One's own messages that are earlier than this have been delivered. With two members only. */
  readonly lastDeliveredAt?: Date
  /** One's own messages that are earlier than this have been read. With two members only. */
  readonly lastReadAt?: Date
  readonly unreadMessagesCount: number
  readonly unreadMessagesMentioned: boolean
  /** Who could not be added or removed by the last join, quit, add or remove. */
  readonly failures?: { clientId: string; code: string; detail: string; legacyCode?: number }[]
  get(key: string): any
  set(key: string, value: any): this
  save(): Promise<this>
  fetch(): Promise<this>
  join(): Promise<this>
  quit(): Promise<this>
  count(): Promise<number>
  mute(): Promise<this>
  unmute(): Promise<this>
  read(): Promise<this>
  send<M extends Message>(message: M, options?: SendOptions): Promise<M>
  update<M extends Message>(message: Message | string, newMessage: M): Promise<M>
  recall(message: Message | string): Promise<RecalledMessage>
  queryMessages(options?: HistoryOptions): Promise<Message[]>
  createMessagesIterator(options?: HistoryOptions): { next(): Promise<{ value?: Message[]; done: boolean }> }
  getReceipts(message: Message | string): Promise<{ clientId: string; delivered: boolean; read: boolean }[]>
  getMembers(options?: { online?: boolean }): Promise<{ clientId: string; role: string; joinedAt: string; muted: boolean; online?: boolean }[]>
  toJSON(): object
}
export class Conversation extends ConversationBase {
  add(clientIds: string | string[]): Promise<this>
  remove(clientIds: string | string[]): Promise<this>
}
export class ChatRoom extends Conversation {}
export class ServiceConversation extends ConversationBase {
  subscribe(): Promise<this>
  unsubscribe(): Promise<this>
}
export class TemporaryConversation extends ConversationBase {
  readonly expiredAt: Date
  readonly expired: boolean
}
export interface SendOptions {
  transient?: boolean
  receipt?: boolean
  will?: boolean
  priority?: number | 'high' | 'normal' | 'low'
  pushData?: object
  noSync?: boolean
  onprogress?: (progress: Progress) => void
}
export interface HistoryOptions {
  limit?: number
  type?: number
  direction?: number
  startTime?: Date | number | string
  startMessageId?: string
  startClosed?: boolean
  endTime?: Date | number | string
  endMessageId?: string
  endClosed?: boolean
  beforeTime?: Date | number | string
  beforeMessageId?: string
  afterTime?: Date | number | string
  afterMessageId?: string
}

type Value = Json | Date
export class ConversationQuery {
  static and(...queries: ConversationQuery[]): ConversationQuery
  static or(...queries: ConversationQuery[]): ConversationQuery
  equalTo(key: string, value: Value): this
  notEqualTo(key: string, value: Value): this
  lessThan(key: string, value: Value): this
  lessThanOrEqualTo(key: string, value: Value): this
  greaterThan(key: string, value: Value): this
  greaterThanOrEqualTo(key: string, value: Value): this
  containedIn(key: string, values: Value[]): this
  notContainedIn(key: string, values: Value[]): this
  containsAll(key: string, values: Value[]): this
  sizeEqualTo(key: string, size: number): this
  contains(key: string, text: string): this
  startsWith(key: string, text: string): this
  endsWith(key: string, text: string): this
  matches(key: string, pattern: RegExp | string, flags?: string): this
  exists(key: string): this
  doesNotExist(key: string): this
  containsMembers(clientIds: string[]): this
  withMembers(clientIds: string[], includeSelf?: boolean): this
  ascending(key: string): this
  addAscending(key: string): this
  descending(key: string): this
  addDescending(key: string): this
  limit(n: number): this
  skip(n: number): this
  compact(enabled?: boolean): this
  withLastMessagesRefreshed(enabled?: boolean): this
  find(): Promise<Conversation[]>
  first(): Promise<Conversation | undefined>
  count(): Promise<number>
}

export class Message {
  constructor(content?: any)
  content: any
  readonly id?: string
  readonly cid?: string
  readonly from?: string
  readonly seq?: number
  readonly timestamp?: Date
  readonly updatedAt?: Date
  readonly deliveredAt?: Date
  readonly status: symbol
  readonly transient?: boolean
  readonly receipt?: boolean
  readonly moderated?: boolean
  readonly priority?: string
  /** What makes the send of it exactly-once; of one's own message from the moment it is sent. */
  readonly idempotencyKey?: string
  readonly mentionList: string[]
  readonly mentionedAll: boolean
  /** Whether the client that got it is meant. */
  readonly mentioned: boolean
  getMentionList(): string[]
  setMentionList(clientIds: string | string[]): this
  mentionAll(): this
  getPayload(): any
  toJSON(): object
}
export class BinaryMessage extends Message {
  constructor(bytes?: Uint8Array | ArrayBuffer)
  buffer: Uint8Array | ArrayBuffer
}
export class TypedMessage extends Message {
  constructor()
  static TYPE?: number
  readonly type: number
  text?: string
  attributes?: Attributes
  getText(): string | undefined
  setText(text: string): this
  getAttributes(): Attributes
  setAttributes(attributes: Attributes): this
}
export class TextMessage extends TypedMessage { constructor(text?: string); static TYPE: number }
export class RecalledMessage extends TypedMessage { static TYPE: number }
export class FileMessage extends TypedMessage {
  constructor(file?: File)
  static TYPE: number
  getFile(): File
}
export class ImageMessage extends FileMessage {}
export class AudioMessage extends FileMessage {}
export class VideoMessage extends FileMessage {}
export class LocationMessage extends TypedMessage {
  constructor(location?: GeoPoint)
  static TYPE: number
  getLocation(): GeoPoint
}
export interface MessageClass {
  new (...args: any[]): Message
  TYPE?: number
}
/** Gives a class of messages its number; also a decorator. */
export function messageType(type: number): (target: any) => void
/** Names the properties that a class of messages sends; also a decorator. */
export function messageField(fields: string | string[]): (target: any) => void

export interface Progress { loaded: number; total: number; percent: number }
export interface UploadOptions { onprogress?: (progress: Progress) => void; signal?: AbortSignal }
export interface FileInfo {
  id: string; url: string; name: string | null; mimeType: string; size: number
  width: number | null; height: number | null; duration: number | null; format: string | null
}
export class File {
  constructor(name: string, data?: Blob | ArrayBuffer | Uint8Array | { blob: Blob })
  static withURL: { new (name: string, url: string, metaData?: object): File; (name: string, url: string, metaData?: object): File }
  readonly id?: string
  name(): string
  url(): string
  size(): number | undefined
  metaData(): Attributes
  metaData(key: string, value?: any): any
  save(options?: UploadOptions & { client?: IMClient }): Promise<this>
  destroy(options?: { client?: IMClient }): Promise<void>
}
export class GeoPoint {
  constructor(latitude: number | [number, number] | { latitude: number; longitude: number }, longitude?: number)
  latitude: number
  longitude: number
}

export interface Plugin {
  name?: string
  onRealtimeCreate?(realtime: Realtime): void
  onIMClientCreate?(client: IMClient): void
  onConversationCreate?(conversation: ConversationBase): void
  beforeMessageParse?: Middleware<any> | Middleware<any>[]
  afterMessageParse?: Middleware<Message> | Middleware<Message>[]
  /** False keeps a message from being told, and from being counted. */
  beforeMessageDispatch?(message: Message, conversation: ConversationBase): unknown
  messageClasses?: MessageClass[]
  [own: string]: any
}
type Middleware<T> = (value: T) => T | Promise<T>
export const TypedMessagesPlugin: Plugin

export class ParleyError extends Error {
  constructor(type: string, message?: string, problem?: object)
  /** The stable code, `not_a_member`; `network` when the server could not be reached. */
  readonly type: string
  /** LeanCloud's number where there is one, else the same as `type`. */
  readonly code: number | string
  readonly status?: number
  /** Seconds, where the server says when to come again. */
  readonly retryAfter?: number
  readonly detail?: string
  readonly requestId?: string
  readonly errors?: { field: string; detail: string }[]
}

export const MessagePriority: { readonly HIGH: 1; readonly NORMAL: 2; readonly LOW: 3 }
export const MessageQueryDirection: { readonly NEW_TO_OLD: 0; readonly OLD_TO_NEW: 1 }
export const MessageStatus: { readonly NONE: symbol; readonly SENDING: symbol; readonly SENT: symbol; readonly DELIVERED: symbol; readonly FAILED: symbol }
/** The names of events: `Event.MESSAGE` is 'message', `Event.MEMBERS_JOINED` is 'membersjoined'. */
export const Event: { readonly [name: string]: string }
