// Who and what is talked with: names, faces, one line about the last message.

import { AudioMessage, FileMessage, ImageMessage, LocationMessage, RecalledMessage, VideoMessage } from '/parley.js'
import { el, hidden, icon } from './dom.js'
import { t } from './strings.js'

const HUES = 10

/** A number from a name, the same everywhere. */
function hue(name) {
  let h = 0
  for (const c of name) h = (h * 31 + c.codePointAt(0)) >>> 0
  return h % HUES
}

const letters = globalThis.Intl?.Segmenter ? (text) => [...new Intl.Segmenter().segment(text)].map((s) => s.segment) : Array.from
function initials(name) {
  const words = name.trim().split(/\s+/)
  const spoken = words.filter((word) => /^[\p{L}\p{N}]/u.test(word))
  const [first = '', second = ''] = spoken.length ? spoken : words
  return (letters(first)[0] ?? '?') + (letters(second)[0] ?? '')
}

/** A face: initials on a colour. online: true, false, or undefined where it is not known. */
export function avatar(name, { online, room } = {}) {
  return el('span', { class: `avatar hue${hue(name)}`, 'aria-hidden': online === undefined && 'true' },
    room ? icon('hash') : el('span', { 'aria-hidden': 'true' }, initials(name)),
    online !== undefined && el('span', { class: 'presence', testid: 'presence', 'data-online': String(online) }, hidden(t(online ? 'online' : 'offlineNow'))))
}

/** The names in a text, between commas or lines. */
export const namesIn = (text) => [...new Set(text.split(/[,，、;；\n]/).map((name) => name.trim()).filter(Boolean))]

export const others = (conversation) => conversation.members.filter((id) => id !== conversation.client.id)

/** The other one of two; undefined in a group. */
export function partner(conversation) {
  return conversation.kind === 'ordinary' && conversation.memberCount === 2 ? others(conversation)[0] : undefined
}

export function titleOf(conversation) {
  if (conversation.name) return conversation.name
  const them = others(conversation)
  if (!them.length) return { chatroom: t('room'), service: t('service') }[conversation.kind] ?? t('onlyMe')
  return them.length > 4 ? `${them.slice(0, 3).join(', ')} +${them.length - 3}` : them.join(', ')
}

// What others send may be of any shape: a raw message can hold the JSON of any other.
const string = (value) => (typeof value === 'string' ? value : undefined)
export const textOf = (message) => string(message.content) ?? string(message.text)
export const fileOf = (message) => (message instanceof FileMessage ? message.getFile() : undefined)
export const nameOf = (file) => string(file?.name())

export function recalledText(message, me) {
  return message.from === me ? t('recalledYou') : t('recalled', { name: message.from })
}

const KINDS = [[ImageMessage, 'image'], [AudioMessage, 'audio'], [VideoMessage, 'video'], [FileMessage, 'aFile'], [LocationMessage, 'aPlace']]

/** A message in one line. */
export function brief(message, me) {
  if (message instanceof RecalledMessage) return recalledText(message, me)
  const text = textOf(message)
  const kind = KINDS.find(([type]) => message instanceof type)?.[1]
  if (!kind) return text ?? t('unknownType')
  const more = text || nameOf(fileOf(message))
  return more ? `[${t(kind)}] ${more}` : `[${t(kind)}]`
}

/** The last message in one line, with who said it where that is not plain. */
export function preview(conversation) {
  const message = conversation.lastMessage
  if (!message) return ''
  const me = conversation.client.id
  const who = message.from === me ? t('You') : partner(conversation) ? undefined : message.from
  return who && !(message instanceof RecalledMessage) ? `${who}: ${brief(message, me)}` : brief(message, me)
}
