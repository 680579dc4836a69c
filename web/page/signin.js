// Signing in: by any name where the server makes tokens for its page, else with a token.

import { Realtime } from '/parley.js'
import { ask } from './dialog.js'
import { $, el } from './dom.js'
import { closedWords, explain, onLanguage, t } from './strings.js'
import { TypingMessage } from './store.js'

const KEPT = 'parley sign-in' // of this tab, over a reload
const NOTE = 'parley note'
const byName = document.body.dataset.signIn === 'name'

/** Signs in as soon as somebody says as whom. Answers the client. follow(realtime) is called before it connects. */
export async function signIn(follow) {
  const kept = sessionStorage.getItem(KEPT)
  const note = sessionStorage.getItem(NOTE)
  sessionStorage.removeItem(NOTE)
  if (kept) {
    try { return await connect(kept, follow) } catch (err) {
      if (err.status === 401) sessionStorage.removeItem(KEPT)
      return form(follow, explain(err), err.status === 401 && !byName ? '' : kept)
    }
  }
  return form(follow, note && closedWords(note), '')
}

/** Back to the sign-in form, which says why. */
export function signedOut(code) {
  sessionStorage.removeItem(KEPT)
  sessionStorage.setItem(NOTE, code)
  history.replaceState(null, '', location.pathname)
  location.reload() // whatever belonged to this client is gone
}

function form(follow, error, value) {
  const kind = byName ? 'name' : 'token'
  const input = el(byName ? 'input' : 'textarea', {
    id: 'sign-in-input', testid: `sign-in-${kind}`, autocomplete: byName ? 'username' : 'off', spellcheck: 'false', autocapitalize: 'off',
    'aria-describedby': 'sign-in-hint sign-in-error', ...(byName ? { maxlength: 64 } : { rows: 4 }), value,
  })
  const label = el('label', { for: 'sign-in-input' })
  $('#sign-in-field').replaceChildren(label, input)
  const button = $('#sign-in-form button')
  const says = $('#sign-in-error')
  const words = () => {
    label.textContent = t(kind)
    $('#sign-in-hint').textContent = t(`${kind}Hint`)
  }
  words()
  onLanguage(words)
  says.textContent = error ?? ''
  $('#sign-in').hidden = false
  input.focus()
  return new Promise((resolve) => {
    $('#sign-in-form').addEventListener('submit', async (event) => {
      event.preventDefault()
      const text = input.value.trim()
      if (!text || button.disabled) return input.focus()
      button.disabled = true
      says.textContent = ''
      try {
        const client = await connect(text, follow)
        $('#sign-in').hidden = true
        resolve(client)
      } catch (err) {
        says.textContent = explain(err)
        input.focus()
      } finally { button.disabled = false }
    })
  })
}

async function connect(text, follow) {
  let client
  const realtime = new Realtime({ token: byName ? () => mint(text) : bring(text, () => client) })
  realtime.register(TypingMessage)
  follow(realtime)
  client = await realtime.createIMClient(byName ? text : undefined)
  sessionStorage.setItem(KEPT, text)
  return client
}

/** A token for a name, from the server of a development key. */
async function mint(name) {
  const resp = await fetch('/page/token', { method: 'POST', body: name }).catch((err) => { throw Object.assign(err, { type: 'network' }) })
  if (resp.ok) return resp.text()
  const problem = await resp.json().catch(() => ({}))
  throw Object.assign(new Error(problem.errors?.[0]?.detail ?? problem.detail ?? resp.statusText), { type: problem.code })
}

/** The token that was pasted; once it has expired, another one that is asked for. */
function bring(token, signedIn) {
  let asking
  const again = () => asking ??= ask({
    title: t('tokenAgain'), text: t('tokenAgainText'), action: t('ok'), testid: 'token-again',
    fields: [{ name: 'token', label: t('token'), required: true, multiline: true }],
    submit: ({ token: next }) => {
      if (claims(next).sub !== claims(token).sub) throw new Error(t('notYours'))
      return next
    },
  }).then((next) => {
    token = next ?? token
    if (next) sessionStorage.setItem(KEPT, token)
  }).finally(() => { asking = undefined })
  // Whether it has expired is for the server to say: the clock of this machine may be wrong.
  return async () => {
    if (signedIn()) await again()
    return token
  }
}

function claims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch { return {} }
}
