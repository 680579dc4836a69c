// What the client makes of networks that break, servers that refuse, tokens that expire and sessions that end.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { describe, test } from 'node:test'
import { Parley, login, lost, network, next, operate, pair, problem, realtime, server, sign, someone, storage, texts, token, until } from './helpers.mjs'

const { TextMessage, MessageStatus } = Parley
const sends = /^POST .*\/messages$/

/** Who is on a network of his own, who is not, and what they talk in. */
async function cuttable(t, options, ...more) {
  const net = network()
  const rt = realtime(t, { fetch: net.fetch, ...options })
  const jerry = await rt.createIMClient(someone('Jerry'), ...more)
  const tom = await login(t, someone('Tom'))
  const invited = next(jerry, 'invited')
  const toms = await tom.createConversation({ members: [jerry.id] })
  const [, jerrys] = await invited
  return { net, rt, jerry, tom, toms, jerrys }
}

/** A fetch that holds a stream back until it has said something, and then gives all of it at once. */
const inOnePiece = (what) => async (url, init) => {
  const resp = await fetch(url, init)
  if (!url.includes('/v1/events')) return resp
  const reader = resp.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (!text.includes(what)) text += (await reader.read()).value
  const body = new ReadableStream({
    start(out) { out.enqueue(text) },
    async pull(out) {
      const { done, value } = await reader.read()
      if (done) out.close()
      else out.enqueue(value)
    },
  })
  return new Response(body.pipeThrough(new TextEncoderStream()))
}

// Each has its own people, so they may run side by side.
describe('the connection', { concurrency: 6 }, () => {
  test('who listens behind the log-in misses nothing of the fresh start', async (t) => {
    const { tom, jerry, toms } = await pair(t)
    await toms.send(new TextMessage('one'))
    await toms.send(new TextMessage('two'))
    const listen = (client) => ({ heard: texts(client), counts: next(client, 'unreadmessagescountupdate') })
    const options = { pushOfflineMessages: true }
    const logins = [
      login(t, jerry.id, options).then(listen),
      login(t, jerry.id, options).then((c) => c).then(async (c) => c).then((c) => Promise.resolve(c)).then(listen),
      (async () => listen(await (async () => login(t, jerry.id, options))()))(),
    ]
    for (const { heard, counts } of await Promise.all(logins)) {
      const [[c]] = await counts
      await until('the offline messages come', () => heard.length === 2)
      assert.deepEqual(heard, ['one', 'two'])
      assert.deepEqual([c.id, c.unreadMessagesCount, c.lastMessage.from], [toms.id, 2, tom.id])
    }
  })

  test('who listens behind the log-in misses nothing, be the chain ever so long and the stream ever so fast', async (t) => {
    const store = storage()
    const id = someone('Jerry')
    const { _storeKey: key } = await login(t, id)
    store.setItem(key, JSON.stringify({ session: 'another', position: 'garbage' }))
    let chain = login(t, id, { storage: store, fetch: inOnePiece('event: reset') })
    for (let i = 0; i < 100; i++) chain = chain.then((c) => c)
    const [{ reason }] = await chain.then((c) => next(c, 'reset'))
    assert.equal(reason, 'unknown')
  })

  test('who listens behind the creation of a conversation misses nothing of it', async (t) => {
    const net = network()
    const tom = await login(t, someone('Tom'), { fetch: net.fetch })
    const jerry = await login(t, someone('Jerry'))
    jerry.on('invited', (_, conversation) => conversation.send(new TextMessage('I was faster')))
    // The answer is held until the message has come.
    const frame = new Promise((resolve) => {
      const enqueue = tom._enqueue
      tom._enqueue = function (type, ...more) { if (type === 'message') resolve(); return enqueue.call(this, type, ...more) }
    })
    net.after = async (what) => {
      if (what !== 'POST /v1/conversations') return
      await frame
      for (let i = 0; i < 3; i++) await operate('GET', '/v1/stats') // who would not wait for it has had the time to ask
    }
    const toms = await tom.createConversation({ members: [jerry.id] })
    const [message] = await next(toms, 'message')
    assert.equal(message.text, 'I was faster')
    assert.equal(toms.unreadMessagesCount, 1)
  })

  test('a cut network: the events of the old table, nothing lost, nothing twice', async (t) => {
    const { net, rt, jerry, toms, jerrys } = await cuttable(t)
    const heard = texts(jerry)
    const timeline = []
    for (const name of ['disconnect', 'offline', 'online', 'schedule', 'retry', 'reconnect']) {
      rt.on(name, (attempt) => timeline.push(attempt === undefined ? name : `${name} ${attempt}`))
      jerry.on(name, () => timeline.push('client ' + name))
    }
    const first = next(rt, 'schedule')
    const second = next(jerry, 'schedule', (attempt, delay) => attempt === 1 && delay >= 1500 && delay <= 2500)
    net.cut()
    await toms.send(new TextMessage('while away'))
    const [attempt, delay] = await first
    assert.ok(attempt === 0 && delay >= 750 && delay <= 1250, `the first attempt is in ${delay} ms`)
    await second
    net.mend()
    const back = next(jerry, 'reconnect')
    rt.retry()
    await back
    await toms.send(new TextMessage('and after'))
    await until('both are heard', () => heard.length === 2)
    assert.deepEqual(heard, ['while away', 'and after'])
    assert.equal(jerrys.unreadMessagesCount, 2)
    assert.deepEqual(timeline.filter((x) => !x.startsWith('client')), ['disconnect', 'schedule 0', 'retry 0', 'schedule 1', 'retry 0', 'reconnect'])
    assert.deepEqual(timeline.slice(-2), ['reconnect', 'client reconnect'])
    timeline.length = 0
    rt.pause()
    rt.pause()
    assert.deepEqual(timeline, ['disconnect', 'client disconnect', 'offline', 'client offline'])
    assert.throws(() => rt.retry())
    await toms.send(new TextMessage('while paused'))
    const again = next(jerry, 'reconnect')
    rt.resume()
    rt.resume()
    assert.deepEqual(timeline.slice(4), ['online', 'client online', 'schedule 0', 'client schedule'])
    await again
    await until('it is heard', () => heard.length === 3)
    assert.equal(jerrys.lastMessage.text, 'while paused')
  })

  test('a client that is closed while it reconnects leaves the others to go on', async (t) => {
    const { net, rt, jerry, toms } = await cuttable(t)
    const other = await rt.createIMClient(someone('Other'))
    const heard = texts(jerry)
    const hanging = new Promise((resolve) => { net.before = (what) => { if (what === 'GET /v1/events') { resolve(); return new Promise(() => {}) } } })
    const back = next(jerry, 'reconnect')
    net.cut()
    net.mend()
    await hanging
    await other.close()
    net.before = undefined
    jerry._drop() // what its own patience would do
    await back
    await toms.send(new TextMessage('still there'))
    await until('it is heard', () => heard.length === 1)
  })

  test('a send that meets a cut network, a limit or a failing server arrives once', async (t) => {
    const net = network()
    const tom = await login(t, someone('Tom'), { fetch: net.fetch })
    const toms = await tom.createConversation({ members: ['Jerry'] })
    const waited = []
    const meets = (...troubles) => {
      net.after = async (what) => { if (sends.test(what)) await troubles.shift()?.() }
      net.before = async (what) => { if (sends.test(what)) { waited.push(Date.now()); return typeof troubles[0] === 'object' ? troubles.shift() : undefined } }
    }
    meets(lost)
    await toms.send(new TextMessage('the answer is lost'))
    meets(() => { net.cut(); setTimeout(net.mend, 300); lost() })
    await toms.send(new TextMessage('cut in the middle'))
    meets(problem(503, 'unavailable'), lost, problem(500, 'internal'))
    await toms.send(new TextMessage('a server in trouble'))
    waited.length = 0
    meets(problem(429, 'rate_limited', { 'Retry-After': '1' }))
    await toms.send(new TextMessage('too fast'))
    assert.ok(waited[1] - waited[0] >= 1000, `it waited ${waited[1] - waited[0]} ms`)
    // It gives up, and is sent again.
    meets(...Array(5).fill(lost))
    const message = new TextMessage('twice tried')
    await assert.rejects(toms.send(message), { type: 'network' })
    assert.equal(message.status, MessageStatus.FAILED)
    await toms.send(message)
    assert.equal(message.status, MessageStatus.SENT)
    meets(problem(429, 'rate_limited', { 'Retry-After': '3600' }))
    await assert.rejects(toms.send(new TextMessage('much too fast')), { type: 'rate_limited', status: 429, retryAfter: 3600 })
    assert.deepEqual((await toms.queryMessages()).map((m) => m.text), ['the answer is lost', 'cut in the middle', 'a server in trouble', 'too fast', 'twice tried'])
  })

  test('sends arrive in the order of the calls', async (t) => {
    const { toms } = await pair(t)
    const all = Array.from({ length: 12 }, (_, i) => String(i))
    await Promise.all(all.map((text) => toms.send(new TextMessage(text))))
    assert.deepEqual((await toms.queryMessages()).map((m) => m.text), all)
  })

  test('an event is not lost because the server could not be asked about it', async (t) => {
    const { jerry, toms } = await pair(t)
    const net = network()
    const other = await login(t, jerry.id, { fetch: net.fetch })
    assert.equal(other._conversations.size, 0) // it has to ask when something comes
    let refused = 0
    net.before = (what) => { if (what === `GET /v1/conversations/${toms.id}` && refused++ < 6) lost() }
    const heard = texts(other)
    await toms.send(new TextMessage('in the unknown'))
    await toms.send(new TextMessage('behind it'))
    await until('both are heard', () => heard.length === 2)
    assert.deepEqual(heard, ['in the unknown', 'behind it'])
    assert.equal(refused, 7)
  })

  test('what comes while state is loaded is not lost to it', async (t) => {
    const { net, jerry, toms, jerrys } = await cuttable(t)
    await toms.send(new TextMessage('one'))
    await until('it is counted', () => jerrys.unreadMessagesCount === 1)
    const during = (what, work) => { net.after = async (asked) => { if (asked === what) { net.after = undefined; await work() } } }
    const says = async (text) => {
      const heard = next(jerry, 'message')
      await toms.send(new TextMessage(text))
      await heard
    }
    during(`GET /v1/conversations/${toms.id}`, () => says('two'))
    await jerrys.fetch()
    assert.deepEqual([jerrys.unreadMessagesCount, jerrys.lastMessage.text], [2, 'two'])
    during(`POST /v1/conversations/${toms.id}/read`, () => says('three'))
    await jerrys.read()
    await until('the third is unread', () => jerrys.unreadMessagesCount === 1)
    assert.equal(jerrys.lastMessage.text, 'three')
  })

  test('an answer that was overtaken brings nothing old back', async (t) => {
    const { net, jerry, toms, jerrys } = await cuttable(t)
    const during = (what, work) => { net.after = async (asked) => { if (asked === what) { net.after = undefined; await work() } } }
    during(`GET /v1/conversations/${toms.id}`, () => jerrys.mute())
    await jerrys.fetch()
    assert.equal(jerrys.muted, true)
    during(`PUT /v1/conversations/${toms.id}/mute`, async () => { for (let i = 0; i < 3; i++) await operate('GET', '/v1/stats') })
    await Promise.all([jerrys.mute(), jerrys.unmute()])
    assert.equal(jerrys.muted, false)
    assert.equal((await jerrys.fetch()).muted, false)

    // Tom was faster with his name, but Jerry hears of it only while he waits for the answer to his own.
    const heard = next(jerry, 'conversationinfoupdated')
    net.before = async (what) => { if (what.startsWith('PATCH')) { net.before = undefined; await toms.set('name', 'Cat').save() } }
    during(`PATCH /v1/conversations/${toms.id}`, () => heard)
    await jerrys.set('name', 'Mouse').save()
    assert.equal(jerrys.name, 'Mouse')
    assert.equal((await jerrys.fetch()).name, 'Mouse')

    await Promise.all([jerrys.set('a', 1).save(), jerrys.set('a', null).set('b', 2).save()])
    assert.deepEqual([jerrys.attributes, (await toms.fetch()).attributes], [{ b: 2 }, { b: 2 }])
  })

  test('one\'s own message that is heard is the answer to its send', async (t) => {
    const net = network()
    const tom = await login(t, someone('Tom'), { fetch: net.fetch })
    const toms = await tom.createConversation({ members: ['Jerry'] })
    tom.on('message', () => assert.fail('it was told'))
    // As after a while offline: the server does not know that it was this session. The answer never comes.
    net.before = async (what, { method, headers, body }) => {
      if (!sends.test(what)) return
      net.before = undefined
      const { 'Parley-Session': session, ...others } = headers
      assert.equal((await fetch(`${server}/v1/conversations/${toms.id}/messages`, { method, headers: others, body })).status, 201)
      return new Promise(() => {})
    }
    const message = await toms.send(new TextMessage('Jerry?'))
    assert.equal(message.status, MessageStatus.SENT)
    assert.equal(toms.lastMessage, message)
    await toms.send(new TextMessage('hello?'))
    const [first, second] = await toms.queryMessages()
    assert.deepEqual([first.text, first.id, first.idempotencyKey], ['Jerry?', message.id, message.idempotencyKey])
    assert.notEqual(first.idempotencyKey, second.idempotencyKey)
  })

  test('a receipt may be faster than the answer to the send', async (t) => {
    const net = network()
    const tom = await login(t, someone('Tom'), { fetch: net.fetch })
    const jerry = await login(t, someone('Jerry'))
    const toms = await tom.createConversation({ members: [jerry.id] })
    const delivered = next(toms, 'lastdeliveredatupdate')
    net.after = (what) => sends.test(what) && delivered
    const message = await toms.send(new TextMessage('important'), { receipt: true })
    assert.equal(message.status, MessageStatus.DELIVERED)
    assert.ok(message.timestamp < message.deliveredAt)
  })

  test('a reload resumes by position', async (t) => {
    const store = storage()
    const { jerry, tom, toms } = await cuttable(t, { storage: store })
    const first = next(jerry, 'message')
    await toms.send(new TextMessage('before'))
    await first
    await jerry._queue
    // The page goes away: what pagehide does.
    jerry._keep()
    const left = [...store.kept]
    jerry._end()
    store.kept.set(...left[0])
    const fresh = await tom.createConversation({ members: [jerry.id] })
    await toms.send(new TextMessage('meanwhile'))
    const client = await login(t, jerry.id, { storage: store })
    const heard = texts(client)
    const invited = next(client, 'invited')
    const [[c]] = await next(client, 'unreadmessagescountupdate', ([one]) => one.unreadMessagesCount === 2)
    assert.equal((await invited)[1].id, fresh.id)
    await until('it is heard', () => heard.length === 1)
    assert.deepEqual(heard, ['meanwhile'])
    assert.deepEqual([client.sessionId, store.kept.size, c.id], [jerry.sessionId, 0, toms.id])
    assert.equal(tom.id, c.lastMessage.from)
  })

  test('a reload after the session has ended logs in anew', async (t) => {
    const store = storage()
    const id = someone('Jerry')
    const before = await login(t, id)
    const key = before._storeKey
    await before.close()
    store.setItem(key, JSON.stringify({ session: before.sessionId, position: before.position }))
    const after = await login(t, id, { storage: store })
    assert.notEqual(after.sessionId, before.sessionId)
  })

  test('a position that the log does not know: reset, and all is loaded anew', async (t) => {
    const { net, rt, jerry, toms, jerrys } = await cuttable(t)
    const disconnected = next(jerry, 'disconnect')
    net.cut()
    await disconnected
    await toms.send(new TextMessage('missed'))
    toms.name = 'renamed'
    await toms.save()
    jerry._position = 'garbage'
    const reset = next(jerry, 'reset')
    net.mend()
    rt.retry()
    assert.equal((await reset)[0].reason, 'unknown')
    assert.deepEqual([jerrys.name, jerrys.unreadMessagesCount, jerrys.lastMessage.text], ['renamed', 1, 'missed'])
    const heard = next(jerry, 'message')
    await toms.send(new TextMessage('live'))
    assert.equal((await heard)[0].text, 'live')
  })

  test('single sign-on: conflict, also while away, and the old session stays out', async (t) => {
    const { net, rt, jerry: old } = await cuttable(t, {}, {}, 'Web')
    const ends = (client) => Promise.all([next(client, 'conflict'), next(client, 'close')])
    const ended = ends(old)
    const fresh = await login(t, old.id, {}, {}, 'Web')
    const [[conflict], [close]] = await ended
    assert.deepEqual([conflict.reason, conflict.tag, close.code], ['session_conflict', 'Web', 'session_conflict'])
    await assert.rejects(old.createConversation({ members: ['x'] }), { code: 4105, type: 'session_required' })
    await assert.rejects(login(t, old.id, {}, { isReconnect: true }, 'Web'), { code: 4111, type: 'session_conflict' })
    assert.equal((await fresh.createConversation({ members: ['x'] })).creator, old.id)
    const away = await rt.createIMClient(old.id, {}, 'Web')
    assert.notEqual(away, old)
    const disconnected = next(away, 'disconnect')
    net.cut()
    await disconnected
    await login(t, old.id, {}, {}, 'Web')
    const late = ends(away)
    net.mend()
    rt.retry()
    assert.equal((await late)[0][0].reason, 'session_conflict')
  })

  test('a reload after the tag was lost takes it back, without a conflict', async (t) => {
    const store = storage()
    const id = someone('Tom')
    const before = await login(t, id, {}, {}, 'Web')
    const key = before._storeKey
    before._end() // the page goes away
    store.setItem(key, JSON.stringify({ session: before.sessionId, position: before.position }))
    const other = await login(t, id, {}, {}, 'Web')
    const evicted = next(other, 'conflict')
    const after = await login(t, id, { storage: store }, {}, 'Web')
    for (const event of ['conflict', 'close']) after.on(event, () => assert.fail(event))
    await evicted
    assert.notEqual(after.sessionId, before.sessionId)
    const heard = next(after, 'invited')
    await (await login(t, someone('Jerry'))).createConversation({ members: [id] })
    await heard
  })

  test('a session that has ended meanwhile is over, without a conflict', async (t) => {
    const { net, rt, jerry } = await cuttable(t)
    const disconnected = next(jerry, 'disconnect')
    net.cut()
    await disconnected
    await operate('DELETE', `/v1/sessions/${jerry.sessionId}`, undefined, jerry.id)
    jerry.on('conflict', () => assert.fail('a conflict'))
    const closed = next(jerry, 'close')
    net.mend()
    rt.retry()
    assert.equal((await closed)[0].code, 'session_spent')
    assert.notEqual(await rt.createIMClient(jerry.id), jerry)
  })

  test('being kicked by the operator ends it', async (t) => {
    const tom = await login(t, someone('Tom'))
    const closed = next(tom, 'close')
    await operate('POST', `/v1/clients/${tom.id}/kick`, { reason: 'enough' })
    assert.deepEqual((await closed)[0], { code: 'kicked', legacyCode: 4115, reason: 'enough' })
  })

  test('a token that is refused is renewed once, whoever asks', async (t) => {
    let asked = 0
    const rt = realtime(t, { token: async (id) => (asked++ === 1 ? sign({ sub: id, exp: 1 }) : token(id)) })
    const tom = await rt.createIMClient(someone('Tom'))
    assert.equal(asked, 1)
    tom._auth = undefined // as if it were about to expire
    await Promise.all([tom.createConversation({ members: ['a'] }), tom.getQuery().find(), tom.ping(['a'])])
    assert.equal(asked, 3)
    await assert.rejects(login(t, 'Tom', { token: 'a.b.c' }), { code: 4102, status: 401 })
    await assert.rejects(login(t, 'Tom', { token: () => { throw new Error('no token today') } }), { message: 'no token today' })
  })

  test('a token is renewed before it expires', async (t) => {
    const asked = []
    const tom = await login(t, someone('Tom'), { token: (sub) => { asked.push(Date.now()); return sign({ sub }, 2) } })
    await tom.ping(['a'])
    assert.equal(asked.length, 1)
    await until('it is renewed', async () => { await Promise.all([tom.ping(['a']), tom.ping(['b'])]); return asked.length > 1 })
    assert.equal(asked.length, 2)
    const after = asked[1] - asked[0]
    assert.ok(after >= 1000 && after < 30_000, `it was renewed after ${after} ms`)
  })

  test('a stream that is refused says so and tries again with a new token', async (t) => {
    let bad = false
    const { net, rt, jerry, toms } = await cuttable(t, { token: (sub) => (bad ? sign({ sub, exp: 1 }) : token(sub)) })
    const disconnected = next(jerry, 'disconnect')
    net.cut()
    await disconnected
    jerry._auth = undefined
    bad = true
    net.mend()
    const refused = next(jerry, 'reconnecterror')
    const planned = next(rt, 'schedule', (attempt) => attempt === 1)
    rt.retry()
    assert.equal((await refused)[0].status, 401)
    await planned
    bad = false
    const back = next(jerry, 'reconnect')
    rt.retry()
    await back
    const heard = next(jerry, 'message')
    await toms.send(new TextMessage('hi'))
    await heard
  })

  test('a will message, offline messages, closing', async (t) => {
    const net = network()
    const rt = realtime(t, { fetch: net.fetch })
    const bob = await rt.createIMClient(someone('Bob'))
    const [a, j] = [someone('Ann'), someone('Jerry')]
    const ann = await login(t, a)
    const annsHears = next(ann, 'message')
    const group = await bob.createConversation({ members: [a, j] })
    await group.send(new TextMessage('I am gone'), { will: true })
    net.cut()
    const [will] = await annsHears
    assert.deepEqual([will.text, will.transient], ['I am gone', true])
    net.mend()
    const hers = await ann.getConversation(group.id)
    await hers.send(new TextMessage('x'))
    await hers.send(new TextMessage('y'))
    const jerry = realtime(t, { pushOfflineMessages: true })
    const client = await jerry.createIMClient(j)
    const heard = texts(client)
    await until('the offline messages come', () => heard.length === 2)
    assert.deepEqual(heard, ['x', 'y'])
    assert.equal(await jerry.createIMClient(j), client)
    client.on('close', () => assert.fail('closing is not being closed'))
    const theirs = await client.getConversation(group.id)
    const sent = ['bye', 'bye bye'].map((text) => theirs.send(new TextMessage(text)))
    await client.close()
    await client.close()
    assert.deepEqual((await Promise.all(sent)).map((m) => m.status), [MessageStatus.SENT, MessageStatus.SENT])
    await assert.rejects(theirs.send(new TextMessage('?')), { code: 4105, type: 'session_required' })
    const anew = await jerry.createIMClient(j)
    assert.notEqual(anew, client)
    assert.notEqual(anew.sessionId, client.sessionId)
  })

  test('nothing is left running after close()', async () => {
    const script = `
      const { login, someone, Parley } = await import(${JSON.stringify(new URL('./helpers.mjs', import.meta.url).href)})
      const tom = await login({ after() {} }, someone('Tom'))
      const c = await tom.createConversation({ members: ['Jerry'] })
      await c.send(new Parley.TextMessage('hi'))
      await tom.close()
      console.log('closed')`
    const node = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    node.stdout.on('data', (chunk) => { said += chunk })
    const timer = setTimeout(() => node.kill(), 25_000)
    const [code] = await new Promise((resolve) => node.on('exit', (...how) => resolve(how)))
    clearTimeout(timer)
    assert.deepEqual([said.trim(), code], ['closed', 0])
  })
})
