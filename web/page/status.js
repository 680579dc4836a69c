// The line that says how the connection is.

import { $ } from './dom.js'
import { onLanguage, t } from './strings.js'

let state = 'connecting', until = 0, timer
const seconds = () => Math.max(1, Math.ceil((until - Date.now()) / 1000))

/** state: connecting, connected, reconnecting or offline. wait: milliseconds to the next attempt. */
export function showStatus(next, wait) {
  state = next
  until = wait ? Date.now() + wait : 0
  clearInterval(timer)
  if (wait) timer = setInterval(draw, 1000)
  draw()
}

function draw() {
  const waits = until > Date.now()
  $('#status').dataset.state = state
  // What is spoken does not count the seconds.
  const text = $('#status-text')
  const words = waits ? t('reconnectingIn', { n: seconds() }) : t(state)
  text.setAttribute('aria-live', waits ? 'off' : 'polite')
  if (text.textContent !== words) text.textContent = words
  $('#retry-now').hidden = !waits
}
onLanguage(draw)

/** Shows how a Realtime fares. */
export function followStatus(realtime) {
  realtime.on('disconnect', () => showStatus('reconnecting'))
  realtime.on('offline', () => showStatus('offline'))
  realtime.on('online', () => showStatus('reconnecting'))
  realtime.on('schedule', (_, delay) => showStatus('reconnecting', delay))
  realtime.on('retry', () => showStatus('reconnecting'))
  realtime.on('reconnect', () => showStatus('connected'))
  $('#retry-now').onclick = () => {
    try { realtime.retry() } catch { /* another tab has the stream, and does it */ }
  }
}
