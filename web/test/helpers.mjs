// What the tests of the client share. The Go test that runs them says where the
// server is, with what its tokens are signed, and which file is the client.
import { createHmac, randomUUID } from 'node:crypto'
import { pathToFileURL } from 'node:url'

export const server = process.env.PARLEY_TEST_SERVER
const [kid, secret] = process.env.PARLEY_TEST_SECRET.split(/:(.*)/s)
export const Parley = await import(pathToFileURL(process.env.PARLEY_TEST_CLIENT).href)

const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A JWT: a token, or with `op` a grant. */
export function sign(claims, seconds = 3600) {
  const now = Math.floor(Date.now() / 1000)
  const text = `${base64({ alg: 'HS256', typ: 'JWT', kid })}.${base64({ iat: now, exp: now + seconds, ...claims })}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}
export const token = (sub) => sign({ sub })

/** A name that no other test uses. */
export const someone = (name) => `${name}-${randomUUID().slice(0, 8)}`

/** A Realtime whose clients log out when the test is over. */
export function realtime(t, options = {}) {
  const rt = new Parley.Realtime({ server, token, ...options })
  t.after(async () => {
    if (rt._paused) rt.resume()
    await Promise.all([...rt._clients.values()].map(async ({ client, login }) => {
      await login.catch(() => {})
      await client.close().catch(() => {})
    }))
  })
  return rt
}

/** Logs somebody in on a device of its own. */
export const login = (t, id, options, ...more) => realtime(t, options).createIMClient(id, ...more)

/** Two clients and what they talk in. */
export async function pair(t, options) {
  const [a, b] = [someone('Tom'), someone('Jerry')]
  const [tom, jerry] = await Promise.all([login(t, a, options), login(t, b, options)])
  const invited = next(jerry, 'invited')
  const toms = await tom.createConversation({ members: [b], name: 'Tom & Jerry' })
  const [, jerrys] = await invited
  return { tom, jerry, toms, jerrys }
}

/** The arguments of the next such event, or of the next that fits. */
export function next(emitter, event, fits = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} came`)), 30_000)
    const listener = (...args) => {
      if (!fits(...args)) return
      clearTimeout(timer)
      emitter.off(event, listener)
      resolve(args)
    }
    emitter.on(event, listener)
  })
}

/** Waits for a condition. */
export async function until(what, ok) {
  for (const end = Date.now() + 30_000; Date.now() < end; await new Promise((r) => setTimeout(r, 10))) {
    const value = await ok()
    if (value) return value
  }
  throw new Error(`waited in vain: ${what}`)
}

/** All texts that a client hears, from now on. */
export function texts(emitter) {
  const heard = []
  emitter.on('message', (m) => heard.push(m.text))
  return heard
}

/** A call as the application's own server. */
export async function operate(method, path, body, as) {
  const resp = await fetch(server + path, {
    method, body: body && JSON.stringify(body),
    headers: { Authorization: 'Bearer ' + sign({ sub: 'operator', scope: 'server' }), ...(body && { 'Content-Type': 'application/json' }), ...(as && { 'Parley-As': as }) },
  })
  if (!resp.ok) throw new Error(`${method} ${path}: ${resp.status} ${await resp.text()}`)
  return resp.status === 204 ? undefined : resp.json()
}

/** A network that can be cut: open streams break, and requests fail. `before` may answer itself, `after` may lose or hold an answer. */
export function network() {
  const open = new Set()
  const net = {
    down: false, before: undefined, after: undefined,
    cut() { net.down = true; for (const abort of open) abort.abort() },
    mend() { net.down = false },
    async fetch(url, init = {}) {
      if (net.down) throw new TypeError('fetch failed')
      const what = `${init.method ?? 'GET'} ${decodeURIComponent(new URL(url).pathname)}`
      const instead = await net.before?.(what, init)
      if (instead) return instead
      const abort = new AbortController()
      init.signal?.addEventListener('abort', () => abort.abort(), { once: true })
      open.add(abort)
      try {
        const resp = await fetch(url, { ...init, signal: abort.signal })
        await net.after?.(what, init)
        return resp
      } catch (err) {
        if (net.down) throw new TypeError('fetch failed')
        throw err
      }
    },
  }
  return net
}
/** What fetch does when the network is gone. */
export const lost = () => { throw new TypeError('fetch failed') }
/** What the server says when it refuses. */
export const problem = (status, code, headers = {}) => new Response(JSON.stringify({ status, code }), { status, headers })

/** Keeps what a page keeps in its sessionStorage. */
export function storage() {
  const kept = new Map()
  return { kept, getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) }
}
