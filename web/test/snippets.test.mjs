// Runs every JavaScript snippet about chat of the documents that people come from,
// where they lie, against the server: as they are, but for the import and the options.
// What each leaves open (who `tom` is, which conversation) is given here.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { snippets } from './documents.mjs'
import { Parley, operate, server, sign, token, until } from './helpers.mjs'

// What is no JavaScript and so had to be repaired; docs/CLIENT.md lists the same. A
// repair is needed: the test fails for one that is not.
const repairs = [
  { why: 'a semicolon before .catch', find: /\}\);\.catch\(/, put: '}).catch(' },
  { why: 'one }); too many', find: /^ {4}\}\);\n {2}\}\);\n\}\)\.catch/m, put: '    });\n}).catch' },
  { why: 'a handler without its closing parenthesis', find: /break;\n\s*\}\n\s*\}\s*$/, put: 'break;\n   }\n})' },
  { why: '.then without its closing parenthesis', find: /^\}\.catch\(/m, put: '}).catch(' },
  { why: '.then without its dot', find: /\}\)then\(/, put: '}).then(' },
  { why: 'a rest of another example at the end', find: /(equalTo\('tr',true\);.*)\n\}\)\.catch\(console\.error\);/, put: '$1' },
  { why: 'the head of a method, not a program', find: /async send\((.*)\)\s*$/, put: 'conversation.send(new TextMessage("x"), {}).then(function() {})' },
  { why: 'decorators, which are TypeScript', find: /@messageType\((.*)\)\n@messageField\((.*)\)\n(class (\w+) .*)/, put: '$3\nmessageType($1)($4)\nmessageField($2)($4)' },
]

const AsyncFunction = (async () => {}).constructor
const wrap = (names, code) => new AsyncFunction(...names, `return (async () => {${code}\n})()`)
const parses = (code) => { try { return wrap([], code) && true } catch { return false } }

// A module that is loaded by require is here a script: its exports are not looked at.
function prepare({ code }) {
  const script = code.replace(/^export /gm, '')
  if (parses(script)) return { script }
  const repair = repairs.find((r) => script.search(r.find) >= 0 && parses(script.replace(r.find, r.put)))
  assert.ok(repair, 'it does not parse, and no repair helps')
  return { script: script.replace(repair.find, repair.put), repair }
}

// Everything that goes wrong anywhere, also where a snippet swallows it.
const wrong = []
let busy = 0
async function watched(url, init) {
  const stream = String(url).includes('/v1/events')
  if (!stream) busy++
  try {
    const resp = await fetch(url, init)
    if (!resp.ok) wrong.push(`${init?.method} ${url}: ${resp.status} ${await resp.clone().text()}`)
    return resp
  } finally { if (!stream) busy-- }
}
process.on('uncaughtException', (err) => wrong.push(err.stack))
process.on('unhandledRejection', (err) => wrong.push(err?.stack ?? String(err)))

/** What the documents have around a snippet. Who is needed is logged in. */
async function scene(script) {
  const made = []
  Parley.init({ server, token, fetch: watched })
  class Realtime extends Parley.Realtime {
    constructor(options) { super(options); made.push(this) }
  }
  const AV = {
    ...Parley, Realtime,
    User: { logIn: async (name) => ({ id: name, getSessionToken: () => 'x' }) },
    Cloud: { rpc: async (name, p) => ({ signature: name === 'sign' ? token(p.clientId) : sign({ op: 'invite', sub: p.clientId }), timestamp: 1, nonce: 'n' }) },
  }
  const people = {}
  const realtime = new Realtime()
  const everybody = ['Tom', 'Jerry', 'Mary', 'William', 'Black', 'Bob', 'Harry']
  const present = everybody.filter((n) => ['Tom', 'Jerry'].includes(n) || new RegExp(`\\b${n.toLowerCase()}\\.`).test(script))
  await Promise.all(present.map(async (name) => { people[name.toLowerCase()] = await new Realtime().createIMClient(name) }))
  const { tom, jerry } = people
  const members = /last(Delivered|Read)At/.test(script) ? ['Jerry'] : everybody
  const start = async () => {
    const c = await tom.createConversation({ members, name: 'LeanCloud', topic: 'movie', type: 'private', age: 20, keywords: '教育', language: '中文' })
    await c.send(new Parley.TextMessage('start'))
    return c
  }
  const conversation = await start()
  if (/lastMessageAt\.to/.test(script)) for (let i = 0; i < 9; i++) await start() // what it lists must have messages
  const [first, last] = [await conversation.send(new Parley.TextMessage('first')), await conversation.send(new Parley.TextMessage('last'))]
  if (script.includes("'tr', true")) await tom.createChatRoom({ topic: '奔跑吧，兄弟' })
  class OperationMessage extends Parley.TypedMessage {}
  Parley.messageType(1)(OperationMessage)
  Parley.messageField('op')(OperationMessage)
  const file = new Parley.File('avatar.jpg', new Blob(['\xff\xd8\xff']))
  const modules = {
    'leancloud-storage': AV, 'leancloud-realtime': AV, 'leancloud-realtime-plugin-typed-messages': AV,
    'leancloud-realtime-plugin-webrtc': { WebRTCPlugin: { name: 'webrtc' } },
    inherit(base) {
      function Derived(...args) { return base.apply(this, args) }
      Object.assign(Derived, base)
      Derived.prototype = Object.create(base.prototype, { constructor: { value: Derived } })
      return Derived
    },
  }
  const names = {
    ...AV, AV, ...people, realtime, client: tom, conversation, currentConversation: conversation, CONVERSATION_ID: conversation.id, OperationMessage,
    oldMessage: last, receivedMessage: first, someAVFile: file, file, appId: '', query: tom.getQuery(), host: tom,
    messageId: first.id, timestamp: first.timestamp, endMessageId: last.id, endTimestamp: last.timestamp,
    require: (name) => modules[name], window: { confirm: () => true }, $: () => [{ files: [new Blob(['\xff\xd8\xff'], { type: 'image/jpeg' })] }],
    console: { ...console, log() {}, warn() {}, error: (err) => wrong.push(err?.stack ?? String(err)) },
  }
  return { made, people, conversation, names, start }
}

// What others do, so that the handlers of a snippet have something to handle.
async function stir(s) {
  const theirs = await s.people.jerry.getConversation(s.conversation.id, true)
  const { TextMessage, ImageMessage, LocationMessage, File, GeoPoint } = Parley
  const said = await theirs.send(new TextMessage('hello').setMentionList(['Tom']), { receipt: true })
  await theirs.send(new ImageMessage(File.withURL('x', 'https://example.com/x.png')).setAttributes({ location: 'here' }))
  await theirs.send(new LocationMessage(new GeoPoint(1, 2)))
  await theirs.update(said, new TextMessage('edited'))
  await theirs.recall(said)
  if (theirs.members.length > 2) { await theirs.add(['Zoe']); await theirs.remove(['Zoe']) }
  theirs.name = 'renamed'
  await theirs.save()
  await theirs.read()
}

/** Until nobody asks for anything any more and all queues are empty. */
async function settled(s) {
  for (let calm = 0; calm < 3;) {
    const clients = s.made.flatMap((rt) => [...rt._clients.values()])
    await Promise.allSettled(clients.map((c) => c.login))
    await Promise.allSettled(clients.map((c) => c.client._queue))
    await new Promise((r) => setTimeout(r, 5))
    calm = busy ? 0 : calm + 1
  }
}

async function run(script) {
  wrong.length = 0
  const s = await scene(script)
  // A plugin is used with what it is for, a query is asked.
  const plugin = /var (\w+Plugin) = \{/.exec(script)?.[1]
  const after = plugin ? `\n;await usePlugin(${plugin})` : /(^|\n)query\b|var query = /.test(script) ? '\n;await query.find()' : ''
  s.names.usePlugin = async (p) => {
    const anna = await new s.names.Realtime({ plugins: [p] }).createIMClient('Anna')
    const theirs = await anna.createConversation({ members: ['Bert'] })
    const bert = await new s.names.Realtime({ plugins: [p] }).createIMClient('Bert')
    let got
    bert.on('message', (m) => { got = m })
    await theirs.send(new Parley.FileMessage(Parley.File.withURL('x', 'https://example.com/x')))
    await until('the message comes', () => got)
    await theirs.quit()
  }
  try {
    await wrap(Object.keys(s.names), script + after)(...Object.values(s.names))
    await settled(s)
    const jerry = s.people.jerry
    if (/\.on\(/.test(script) && jerry._ready) {
      await stir(s)
      await settled(s)
    }
    assert.deepEqual(wrong, [])
  } finally {
    // Nothing is left unread for the next one to load.
    const clients = s.made.flatMap((rt) => [...rt._clients.values()].map((c) => c.client))
    const known = new Map(clients.flatMap((c) => [...c._conversations]))
    const ours = [...known.values()].filter(({ creator }) => clients.some((c) => c.id === creator))
    await Promise.allSettled([...clients.map((c) => c.close()), ...ours.map(({ id }) => operate('DELETE', `/v1/conversations/${encodeURIComponent(id)}`))])
  }
}

describe('the documents', () => {
  const all = snippets()
  if (!all) {
    test('are not beside the project: their snippets are not run', { skip: 'no ../shared/seeds' }, () => {})
    return
  }
  test('have all been read', () => assert.ok(all.length > 150, `${all.length} snippets`))
  const used = new Set()
  for (const snippet of all) {
    test(`${snippet.document}, line ${snippet.line}`, { timeout: 60_000 }, async (t) => {
      const { script, repair } = prepare(snippet)
      if (repair) {
        used.add(repair)
        t.diagnostic(`adapted: ${repair.why}`)
      }
      await run(script.replaceAll('590aa654fab00f41dda86f51', "' + CONVERSATION_ID + '"))
    })
  }
  test('need all the repairs that are there', () => assert.deepEqual(repairs.filter((r) => !used.has(r)).map((r) => r.why), []))
})
