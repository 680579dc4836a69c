// One message as it is shown.

import { AudioMessage, FileMessage, ImageMessage, LocationMessage, RecalledMessage, VideoMessage } from '/parley.js'
import { showImage } from './dialog.js'
import { el, hidden, icon, iconButton } from './dom.js'
import { avatar, fileOf, nameOf, recalledText, textOf } from './people.js'
import { clock, currentLanguage, day, explain, fullTime, sameDay, size, t } from './strings.js'

const TOGETHER = 5 * 60_000 // messages of one person within this time are one block

export const timeOf = (entry) => entry.message?.timestamp ?? entry.at

/** How far an own message is: pending, failed, sent, delivered or read; undefined for those of others. */
export function statusOf(entry, conversation) {
  const { message } = entry
  if (entry.error) return 'failed'
  if (!message.timestamp) return 'pending'
  if (message.from !== conversation.client.id) return undefined
  if (!message.receipt) return 'sent'
  if (conversation.lastReadAt > message.timestamp) return 'read'
  return conversation.lastDeliveredAt > message.timestamp ? 'delivered' : 'sent'
}

/** What a row looks like depends on this alone: while it stays the same the row is not drawn again. */
export function signature(entry, previous, context) {
  const { message } = entry
  const status = message && statusOf(entry, context.conversation)
  const joined = follows(entry, previous)
  return [currentLanguage(), startsDay(entry, previous) && day(timeOf(entry)), joined, entry.key === context.firstUnread,
    ...(message ? [message.id, message.updatedAt?.getTime(), message instanceof RecalledMessage, status, entry.error?.type, Math.round(entry.progress ?? -1)] : [])].join()
}
const startsDay = (entry, previous) => !previous || !sameDay(timeOf(entry), timeOf(previous))
function follows(entry, previous) {
  return !!(entry.message && previous?.message && !startsDay(entry, previous) && !(previous.message instanceof RecalledMessage) &&
    (entry.message.from === previous.message.from || (!entry.message.timestamp && !previous.message.timestamp)) && timeOf(entry) - timeOf(previous) < TOGETHER)
}

/** Fills the row of an entry. actions: menu(entry, button), retry(entry), discard(entry). */
export function draw(row, entry, previous, context, actions) {
  const { message, notice } = entry
  const parts = []
  if (startsDay(entry, previous)) parts.push(el('div', { class: 'line', testid: 'day' }, el('span', {}, day(timeOf(entry)))))
  if (entry.key === context.firstUnread) parts.push(el('div', { class: 'line fresh', testid: 'new-messages' }, el('span', {}, t('newMessages'))))
  if (notice) parts.push(el('p', { class: 'notice', testid: 'notice' }, notice.text()))
  else if (message instanceof RecalledMessage) parts.push(el('p', { class: 'notice', testid: 'recalled' }, recalledText(message, context.me)))
  else parts.push(bubble(entry, follows(entry, previous), context, actions))
  row.replaceChildren(...parts)
  if (!message) return
  row.dataset.id = message.id ?? ''
  row.dataset.from = message.from ?? context.me
  const status = statusOf(entry, context.conversation)
  if (status) row.dataset.status = status
}

function bubble(entry, joined, context, actions) {
  const { message } = entry
  const from = message.from ?? context.me
  const own = from === context.me
  const mentioned = message.mentioned && !own
  const said = el('div', { class: 'said' },
    joined || own ? hidden((own ? t('You') : from) + ': ') : el('bdi', { class: 'from' }, from),
    el('div', { class: message instanceof FileMessage || message instanceof LocationMessage ? 'bubble stacked' : 'bubble' }, ...content(entry, context), meta(entry, own, context.conversation)))
  return el('div', { class: ['talk', own ? 'own' : '', joined ? 'joined' : '', mentioned ? 'mentioned' : ''].join(' ').trim() },
    !own && (joined ? el('span', { class: 'avatar-gap' }) : avatar(from)), said,
    message.id && iconButton('more', t('actions'), { class: 'icon-button actions', testid: 'actions', tabindex: '-1', 'aria-haspopup': 'menu', onclick: (e) => actions.menu(entry, e.currentTarget) }),
    entry.error && failure(entry, actions))
}

const TICKS = { pending: 'clock', sent: 'tick', delivered: 'ticks', read: 'ticks', failed: 'alert' }

function meta(entry, own, conversation) {
  const { message } = entry
  const at = timeOf(entry)
  const status = own || !message.timestamp ? statusOf(entry, conversation) : undefined
  return el('div', { class: 'meta' },
    message.priority && message.priority !== 'normal' && el('span', { class: `priority ${message.priority}` }, t(message.priority)),
    message.updatedAt && el('span', { title: fullTime(message.updatedAt) }, t('edited')),
    el('time', { datetime: at.toISOString(), title: fullTime(at) }, clock(at)),
    status && el('span', { class: `ticks ${status}`, title: t(status) }, icon(TICKS[status]), hidden(t(status))))
}

function failure(entry, actions) {
  return el('p', { class: 'failure' }, `${t('failed')}: ${explain(entry.error)} `,
    el('button', { type: 'button', class: 'link', testid: 'retry', onclick: () => actions.retry(entry) }, t('retry')),
    el('button', { type: 'button', class: 'link', testid: 'discard', onclick: () => actions.discard(entry) }, t('discard')))
}

function content(entry, context) {
  const { message } = entry
  const parts = []
  const file = fileOf(message)
  if (file) parts.push(attachment(entry, file, message))
  if (isPlace(message)) parts.push(place(message))
  if (entry.progress !== undefined) {
    parts.push(el('progress', { max: '100', value: entry.progress, 'aria-label': t('uploading'), testid: 'progress' }))
  }
  const text = textOf(message)
  if (text) parts.push(el('div', { class: 'text', dir: 'auto', testid: 'text' }, ...marked(text, message, context.me)))
  else if (!parts.length) parts.push(el('div', { class: 'text quiet' }, t('unknownType')))
  return parts
}

function attachment(entry, file, message) {
  const url = entry.preview ?? safe(file.url())
  const name = nameOf(file) ?? t('aFile')
  if (message instanceof ImageMessage && url) return image(file, url, name)
  if (message instanceof VideoMessage && url) return el('video', { src: url, controls: true, preload: 'metadata', class: 'media', 'aria-label': name })
  if (message instanceof AudioMessage && url) return el('audio', { src: url, controls: true, preload: 'metadata', 'aria-label': name })
  const bytes = file.size()
  return el(url ? 'a' : 'span', { class: 'file', testid: 'file', ...(url && { href: url, download: name, target: '_blank', rel: 'noreferrer' }) },
    icon('file'), el('span', { class: 'file-name' }, el('bdi', {}, name), el('small', {}, Number.isFinite(bytes) ? size(bytes) : '')))
}

function image(file, url, name) {
  // With its size known, nothing moves when it has loaded.
  const [width, height] = ['width', 'height'].map((side) => Number.isFinite(file.metaData(side)) && file.metaData(side))
  return el('button', { type: 'button', class: 'image', testid: 'image', 'aria-label': t('openImage', { name }), onclick: () => showImage(url, name) },
    el('img', { src: url, alt: '', width, height, loading: 'lazy', decoding: 'async' }))
}

function isPlace(message) {
  const { latitude, longitude } = (message instanceof LocationMessage && message.getLocation()) || {}
  return Number.isFinite(latitude) && Number.isFinite(longitude)
}
function place(message) {
  const { latitude, longitude } = message.getLocation()
  const at = `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`
  const map = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=15/${latitude}/${longitude}`
  return el('a', { class: 'file', testid: 'location', href: map, target: '_blank', rel: 'noreferrer' }, icon('pin'), el('span', { class: 'file-name' }, t('aPlace'), el('small', {}, at)))
}

/** An address that a browser may be sent to; undefined for any other. */
function safe(url) {
  try { return ['http:', 'https:'].includes(new URL(url).protocol) ? url : undefined } catch { return undefined }
}

const LINK = /https?:\/\/[^\s<>"“”，。）】]+[^\s<>"“”，。）】.,;:!?)\]'}]/gi

/** Text with its links and mentions marked; all of it stays text. */
function marked(text, message, me) {
  const names = [...message.mentionList].filter(Boolean).sort((a, b) => b.length - a.length).map((n) => '@' + n)
  if (message.mentionedAll) names.push('@all', '@所有人')
  const out = []
  let last = 0
  for (const { index, 0: link } of text.matchAll(LINK)) {
    out.push(...mentions(text.slice(last, index), names, me))
    out.push(safe(link) ? el('a', { href: link, target: '_blank', rel: 'noreferrer noopener' }, link) : link)
    last = index + link.length
  }
  out.push(...mentions(text.slice(last), names, me))
  return out
}
function mentions(text, names, me) {
  const out = []
  let rest = text
  while (rest && names.length) {
    const found = names.map((n) => [rest.indexOf(n), n]).filter(([i]) => i >= 0).sort((a, b) => a[0] - b[0] || b[1].length - a[1].length)[0]
    if (!found) break
    const [i, name] = found
    out.push(rest.slice(0, i), el('span', { class: name === '@' + me || name === '@all' || name === '@所有人' ? 'mention me' : 'mention' }, name))
    rest = rest.slice(i + name.length)
  }
  return [...out, rest]
}
