import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Parley, login, network, next, operate, realtime, server, sign, someone, texts, token, until } from './helpers.mjs'

const { Event, TextMessage, ImageMessage, FileMessage, LocationMessage, TypedMessage, Message, BinaryMessage, File, GeoPoint,
  MessageStatus, MessagePriority, MessageQueryDirection, ConversationQuery, messageType, messageField } = Parley

/** Two clients and what they talk in. */
async function pair(t, options) {
  const [a, b] = [someone('Tom'), someone('Jerry')]
  const [tom, jerry] = await Promise.all([login(t, a, options), login(t, b, options)])
  const invited = next(jerry, 'invited')
  const toms = await tom.createConversation({ members: [b], name: 'Tom & Jerry' })
  const [, jerrys] = await invited
  return { tom, jerry, toms, jerrys }
}

test('the story: invited, message, add, remove, join, quit', async (t) => {
  const { tom, jerry, toms, jerrys } = await pair(t)
  assert.equal(jerrys.id, toms.id)
  assert.deepEqual([...toms.members].sort(), [tom.id, jerry.id].sort())
  const heard = next(jerry, Event.MESSAGE)
  const message = await toms.send(new TextMessage('Jerry，起床了！'))
  assert.equal(message.status, MessageStatus.SENT)
  assert.equal(message.seq, 1)
  assert.ok(message.timestamp instanceof Date)
  const [got, where] = await heard
  assert.ok(got instanceof TextMessage)
  assert.deepEqual([got.text, got.from, got.cid, got.id, where], ['Jerry，起床了！', tom.id, toms.id, message.id, jerrys])

  const mary = await login(t, someone('Mary'))
  const joined = [next(tom, 'membersjoined'), next(jerrys, 'membersjoined'), next(mary, 'invited')]
  assert.equal(await toms.add([mary.id]), toms)
  const [[byTom], [byJerry], [byMary, marys]] = await Promise.all(joined)
  assert.deepEqual(byTom, { members: [mary.id], invitedBy: tom.id })
  assert.deepEqual(byJerry, byTom)
  assert.deepEqual(byMary, { invitedBy: tom.id })
  for (const c of [toms, jerrys, marys]) assert.deepEqual([...c.members].sort(), [tom.id, jerry.id, mary.id].sort())
  assert.equal(await toms.count(), 3)

  const left = [next(mary, 'kicked'), next(jerrys, 'membersleft')]
  await toms.remove([mary.id])
  const [[kicked], [gone]] = await Promise.all(left)
  assert.equal(kicked.kickedBy, tom.id)
  assert.deepEqual(gone, { members: [mary.id], kickedBy: tom.id })
  assert.deepEqual([...jerrys.members].sort(), [tom.id, jerry.id].sort())

  const back = next(toms, 'membersjoined')
  await (await mary.getConversation(toms.id, true)).join()
  assert.deepEqual((await back)[0].members, [mary.id])
  const quit = next(toms, 'membersleft')
  await marys.quit()
  assert.deepEqual((await quit)[0], { members: [mary.id], kickedBy: mary.id })
  await assert.rejects(marys.send(new TextMessage('?')), { code: 4401, type: 'not_a_member', status: 403 })
})

test('every type of message arrives as what it was', async (t) => {
  const { jerry, toms } = await pair(t)
  class Operation extends TypedMessage {}
  messageType(7)(Operation)
  messageField(['op', 'deep'])(Operation)
  jerry.realtime.register(Operation)
  const arrives = async (message, options) => {
    const heard = next(jerry, 'message')
    await toms.send(message, options)
    return (await heard)[0]
  }
  const raw = await arrives(new Message('<raw>'))
  assert.deepEqual([raw.constructor, raw.content], [Message, '<raw>'])
  const bytes = await arrives(new BinaryMessage(new Uint8Array([0, 200, 7])))
  assert.deepEqual([...bytes.buffer], [0, 200, 7])
  const image = new ImageMessage(File.withURL('cat', 'https://example.com/cat.gif', { width: 3 }))
  const seen = await arrives(image.setText('a cat').setAttributes({ location: '旧金山' }))
  assert.ok(seen instanceof ImageMessage)
  assert.equal(seen.type, ImageMessage.TYPE)
  assert.deepEqual([seen.text, seen.getAttributes().location, seen.getFile().url(), seen.getFile().name(), seen.getFile().metaData('width')],
    ['a cat', '旧金山', 'https://example.com/cat.gif', 'cat', 3])
  const place = await arrives(new LocationMessage(new GeoPoint(31.5, 120.25)))
  assert.deepEqual({ ...place.getLocation() }, { latitude: 31.5, longitude: 120.25 })
  const operation = new Operation()
  operation.op = 'typing'
  operation.deep = { a: [1] }
  const op = await arrives(operation, { transient: true })
  assert.ok(op instanceof Operation)
  assert.deepEqual([op.op, op.deep, op.type, op.transient], ['typing', { a: [1] }, 7, true])
  const mention = await arrives(new TextMessage('@Jerry').setMentionList(jerry.id))
  assert.deepEqual([mention.mentioned, mention.mentionedAll, mention.mentionList], [true, false, [jerry.id]])
  assert.ok((await arrives(new TextMessage('@all').mentionAll())).mentioned)
  await assert.rejects(toms.send('hello'), TypeError)
})

test('a file is uploaded as it is sent, and its url can be opened', async (t) => {
  const { jerry, toms } = await pair(t)
  const heard = next(jerry, 'message')
  await toms.send(new FileMessage(new File('note.txt', new Blob(['hello there']))))
  const file = (await heard)[0].getFile()
  assert.deepEqual([file.name(), file.size()], ['note.txt', 11])
  assert.ok(file.url().startsWith(server))
  assert.equal(await (await fetch(file.url())).text(), 'hello there')
})

test('unread counts, the last message and read', async (t) => {
  const { tom, jerry, toms, jerrys } = await pair(t)
  const other = await login(t, jerry.id)
  const counted = (client, n) => next(client, 'unreadmessagescountupdate', ([c]) => c.unreadMessagesCount === n)
  const two = [counted(jerry, 2), counted(other, 2)]
  await toms.send(new TextMessage('one'))
  const last = await toms.send(new TextMessage('two').setMentionList([jerry.id]))
  await Promise.all(two)
  assert.equal(jerrys.lastMessage.id, last.id)
  assert.equal(jerrys.unreadMessagesMentioned, true)
  assert.equal(toms.unreadMessagesCount, 0)
  const zero = [counted(jerry, 0), counted(other, 0)]
  assert.equal(await jerrys.read(), jerrys)
  await Promise.all(zero)
  await toms.send(new TextMessage('three'))
  const fresh = realtime(t)
  const again = await fresh.createIMClient(jerry.id)
  const [[c]] = await counted(again, 1)
  assert.deepEqual([c.id, c.name, c.lastMessage.text], [toms.id, 'Tom & Jerry', 'three'])
  const both = counted(again, 2)
  const fourth = await toms.send(new TextMessage('four'))
  await both
  const none = counted(again, 0)
  await toms.recall(fourth)
  await toms.recall((await toms.queryMessages({ limit: 2 }))[0])
  await none
  assert.equal(tom.id, c.lastMessage.from)
})

test('receipts', async (t) => {
  const { toms, jerrys } = await pair(t)
  const delivered = next(toms, Event.LAST_DELIVERED_AT_UPDATE)
  const message = await toms.send(new TextMessage('important'), { receipt: true })
  await delivered
  assert.deepEqual(toms.lastDeliveredAt, message.timestamp)
  assert.equal(message.status, MessageStatus.DELIVERED)
  const read = next(toms, Event.LAST_READ_AT_UPDATE)
  await jerrys.read()
  await read
  assert.deepEqual(toms.lastReadAt, message.timestamp)
  assert.deepEqual((await toms.getReceipts(message)).map((r) => r.read), [true])
})

test('edit and recall', async (t) => {
  const { jerry, toms, jerrys } = await pair(t)
  const old = await toms.send(new TextMessage('old'))
  const updated = next(jerrys, Event.MESSAGE_UPDATE)
  await toms.update(old, new TextMessage('new'))
  const [m] = await updated
  assert.deepEqual([m.id, m.text, jerrys.lastMessage.text], [old.id, 'new', 'new'])
  const recalled = next(jerry, Event.MESSAGE_RECALL)
  assert.ok(await toms.recall(old) instanceof Parley.RecalledMessage)
  assert.equal((await recalled)[0].id, old.id)
})

test('name and attributes: save, get, set, and what others hear', async (t) => {
  const { tom, toms, jerrys } = await pair(t)
  const pets = await tom.createConversation({ members: [], name: 'pets', type: 'private', pinned: true, deep: { a: 1, b: 2 } })
  assert.deepEqual([pets.get('type'), pets.get('attr.pinned'), pets.get('attr.deep.a')], ['private', true, 1])
  pets.set('attr.deep.a', 5).set('pinned', null)
  await pets.save()
  const again = await pets.fetch()
  assert.deepEqual(again.attributes, { type: 'private', deep: { a: 5, b: 2 } })
  const told = next(jerrys, 'infoupdated')
  toms.name = '聪明的喵星人'
  toms.set('topic', 'movie')
  assert.equal(await toms.save(), toms)
  const [payload] = await told
  assert.deepEqual(payload.attributes, { name: '聪明的喵星人', topic: 'movie' })
  assert.deepEqual([jerrys.name, jerrys.get('topic'), payload.updatedBy], ['聪明的喵星人', 'movie', tom.id])
  await toms.mute()
  assert.equal((await toms.fetch()).muted, true)
  await toms.unmute()
})

test('the history: pages, types, directions', async (t) => {
  const { tom, toms } = await pair(t)
  for (let i = 1; i <= 21; i++) await toms.send(new TextMessage(String(i)))
  await toms.send(new LocationMessage(new GeoPoint(1, 2)))
  const numbers = (messages) => messages.map((m) => Number(m.text))
  assert.deepEqual(numbers(await toms.queryMessages({ limit: 3, type: TextMessage.TYPE })), [19, 20, 21])
  assert.equal((await toms.queryMessages({ type: LocationMessage.TYPE })).length, 1)
  assert.deepEqual(numbers(await toms.queryMessages({ limit: 2, direction: MessageQueryDirection.OLD_TO_NEW })), [1, 2])
  const [first] = await toms.queryMessages({ limit: 1, direction: MessageQueryDirection.OLD_TO_NEW })
  assert.deepEqual(numbers(await toms.queryMessages({ limit: 2, startMessageId: first.id, startClosed: true, direction: MessageQueryDirection.OLD_TO_NEW })), [1, 2])
  const iterator = toms.createMessagesIterator({ limit: 10 })
  const pages = await Promise.all([iterator.next(), iterator.next(), iterator.next(), iterator.next()])
  assert.deepEqual(pages.map((p) => [p.value?.length, p.done]), [[10, false], [10, false], [2, true], [undefined, true]])
  assert.equal(pages[2].value[0].text, '1')
  assert.equal(pages[0].value[0].from, tom.id)
})

test('queries', async (t) => {
  const tom = await login(t, someone('Tom'))
  const mark = someone('mark')
  const make = (more) => tom.createConversation({ mark, ...more })
  const [a, b, c] = [await make({ name: 'NBA fans', age: 10 }), await make({ name: 'other', age: 20, members: ['Bob'] }), await make({ age: 30, language: '中文', day: new Date(0) })]
  const ids = async (query) => (await query.equalTo('mark', mark).ascending('age').find()).map((x) => x.id)
  const q = () => tom.getQuery()
  assert.deepEqual(await ids(q()), [a.id, b.id, c.id])
  assert.deepEqual(await ids(q().contains('name', 'NBA')), [a.id])
  assert.deepEqual(await ids(q().greaterThan('age', 10).lessThanOrEqualTo('age', 30)), [b.id, c.id])
  assert.deepEqual(await ids(q().matches('language', /[\u4e00-\u9fa5]/)), [c.id])
  assert.deepEqual(await ids(q().exists('name')), [a.id, b.id])
  assert.deepEqual(await ids(q().withMembers(['Bob'], true)), [b.id])
  assert.deepEqual(await ids(q().containedIn('age', [10, 30]).doesNotExist('lm')), [a.id, c.id])
  assert.deepEqual(await ids(ConversationQuery.or(q().equalTo('age', 10), q().equalTo('age', 20))), [a.id, b.id])
  assert.equal((await q().equalTo('mark', mark).descending('age').first()).id, c.id)
  assert.equal(await q().equalTo('mark', mark).count(), 3)
  assert.equal((await q().equalTo('mark', mark).addDescending('name').addAscending('createdAt').skip(1).limit(1).compact(true).find()).length, 1)
  assert.deepEqual(await q().lessThan('lm', new Date(0)).find(), [])
})

test('chatrooms and temporary conversations', async (t) => {
  const [tom, jerry] = [await login(t, someone('Tom')), await login(t, someone('Jerry'))]
  const room = await tom.createChatRoom({ name: '聊天室', topic: 'x' })
  assert.ok(room instanceof Parley.ChatRoom && room.transient)
  const seat = await (await jerry.getConversation(room.id)).join()
  assert.equal(await room.count(), 1)
  const heard = next(seat, 'message')
  await room.send(new TextMessage('2:0'), { priority: MessagePriority.HIGH })
  assert.equal((await heard)[0].priority, 'high')
  assert.equal(seat.unreadMessagesCount, 0)
  await seat.quit()
  assert.equal(await room.count(), 0)
  const invited = next(jerry, 'invited')
  const temporary = await tom.createTemporaryConversation({ members: [jerry.id], ttl: 60 })
  assert.ok(temporary.id.startsWith('_tmp:') && temporary.expiredAt > new Date())
  const [, theirs] = await invited
  const said = next(theirs, 'message')
  await temporary.send(new TextMessage('bye'))
  assert.equal((await said)[0].text, 'bye')
})

test('a cut network: the events of the old table, nothing lost, nothing twice', async (t) => {
  const net = network()
  const rt = realtime(t, { fetch: net.fetch })
  const jerry = await rt.createIMClient(someone('Jerry'))
  const tom = await login(t, someone('Tom'))
  const toms = await tom.createConversation({ members: [jerry.id] })
  const jerrys = await jerry.getConversation(toms.id)
  const heard = texts(jerry)
  const timeline = []
  for (const name of ['disconnect', 'offline', 'online', 'schedule', 'retry', 'reconnect']) {
    rt.on(name, (attempt) => timeline.push(attempt === undefined ? name : `${name} ${attempt}`))
    jerry.on(name, () => timeline.push('client ' + name))
  }
  const second = next(jerry, 'schedule', (attempt, delay) => attempt === 1 && delay >= 1500)
  net.cut()
  await toms.send(new TextMessage('while away'))
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
  assert.deepEqual(timeline, ['disconnect', 'client disconnect', 'offline', 'client offline'])
  await toms.send(new TextMessage('while paused'))
  const again = next(jerry, 'reconnect')
  rt.resume()
  assert.deepEqual(timeline.slice(4, 8), ['online', 'client online', 'schedule 0', 'client schedule'])
  await again
  await until('it is heard', () => heard.length === 3)
})

test('a send whose answer is lost arrives once, by itself or sent again', async (t) => {
  const net = network()
  const tom = await login(t, someone('Tom'), { fetch: net.fetch })
  const toms = await tom.createConversation({ members: ['Jerry'] })
  let losses = 1
  net.lose = (url, init) => init.method === 'POST' && url.endsWith('/messages') && losses-- > 0
  await toms.send(new TextMessage('once'))
  losses = Infinity
  const message = new TextMessage('twice tried')
  await assert.rejects(toms.send(message), { type: 'network' })
  assert.equal(message.status, MessageStatus.FAILED)
  net.lose = undefined
  await toms.send(message)
  assert.deepEqual((await toms.queryMessages()).map((m) => m.text), ['once', 'twice tried'])
})

test('sends arrive in the order of the calls', async (t) => {
  const { toms } = await pair(t)
  const all = Array.from({ length: 12 }, (_, i) => String(i))
  await Promise.all(all.map((text) => toms.send(new TextMessage(text))))
  assert.deepEqual((await toms.queryMessages()).map((m) => m.text), all)
})

test('a reload resumes by position', async (t) => {
  const kept = new Map()
  const storage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) }
  const id = someone('Jerry')
  const net = network()
  const before = realtime(t, { storage, fetch: net.fetch })
  const jerry = await before.createIMClient(id)
  const tom = await login(t, someone('Tom'))
  const toms = await tom.createConversation({ members: [id] })
  const first = next(jerry, 'message')
  await toms.send(new TextMessage('before'))
  await first
  await jerry._queue
  // The page goes away: what pagehide does.
  jerry._keep()
  const session = jerry.sessionId
  const left = JSON.stringify([...kept])
  jerry._end()
  kept.set(...JSON.parse(left)[0])
  await toms.send(new TextMessage('meanwhile'))
  const after = realtime(t, { storage })
  const login2 = after.createIMClient(id)
  const client = after._clients.values().next().value.client
  const heard = texts(client)
  const counts = next(client, 'unreadmessagescountupdate')
  await login2
  assert.equal(client.sessionId, session)
  assert.equal(kept.size, 0)
  await until('it is heard', () => heard.length === 1)
  assert.deepEqual(heard, ['meanwhile'])
  const [[c]] = await counts
  await until('two are unread', () => c.unreadMessagesCount === 2)
})

test('single sign-on: conflict, and the old session stays out', async (t) => {
  const id = someone('Tom')
  const old = await login(t, id, {}, {}, 'Web')
  const conflict = next(old, 'conflict')
  const closed = next(old, 'close')
  const fresh = await login(t, id, {}, {}, 'Web')
  await Promise.all([conflict, closed])
  await assert.rejects(login(t, id, {}, { isReconnect: true }, 'Web'), { code: 4111, type: 'session_conflict' })
  assert.equal((await fresh.createConversation({ members: ['x'] })).creator, id)
})

test('a token that is refused is renewed once', async (t) => {
  let asked = 0
  const rt = realtime(t, { token: async (id) => (asked++ === 1 ? sign({ sub: id, exp: 1 }) : token(id)) })
  const tom = await rt.createIMClient(someone('Tom'))
  assert.equal(asked, 1)
  tom._auth = undefined // as if it were about to expire
  await tom.createConversation({ members: ['a'] })
  assert.equal(asked, 3)
  await assert.rejects(login(t, 'Tom', { token: 'a.b.c' }), { code: 4102, status: 401 })
})

test('grants from a signature factory are sent', async (t) => {
  const net = network()
  const seen = []
  const recording = (url, init) => {
    if (init?.headers?.['Parley-Grant']) seen.push(JSON.parse(Buffer.from(init.headers['Parley-Grant'].split('.')[1], 'base64url')).op)
    return net.fetch(url, init)
  }
  const asked = []
  const tom = await login(t, someone('Tom'), { fetch: recording, token: undefined }, {
    signatureFactory: (id) => ({ token: token(id) }),
    conversationSignatureFactory(cid, sub, mem, action) {
      asked.push([cid === undefined, sub, mem.length, action])
      return { grant: sign({ sub, cid, mem, op: { create: 'create', add: 'invite', remove: 'kick' }[action] }) }
    },
  })
  const c = await tom.createConversation({ members: ['Bob'] })
  await c.add('Mary')
  await c.remove('Mary')
  assert.deepEqual(asked, [[true, tom.id, 2, 'create'], [false, tom.id, 1, 'add'], [false, tom.id, 1, 'remove']])
  assert.deepEqual(seen, ['create', 'invite', 'kick'])
})

test('plugins', async (t) => {
  const made = []
  const plugin = {
    name: 'test', onRealtimeCreate: (x) => made.push(x.constructor.name), onIMClientCreate: (x) => made.push(x.constructor.name),
    onConversationCreate: (x) => { x.shout = () => 'HEY'; made.push(x.constructor.name) },
    beforeMessageParse: (json) => ({ ...json, _lctext: json._lctext + '!' }),
    afterMessageParse: async (m) => Object.assign(m, { extra: m.text.length }),
  }
  const { tom, toms, jerry } = await pair(t, { plugins: [plugin] })
  assert.equal(toms.shout(), 'HEY')
  const heard = next(jerry, 'message')
  await toms.send(new TextMessage('hi'))
  const [m] = await heard
  assert.deepEqual([m.text, m.extra], ['hi!', 3])
  assert.deepEqual(made.slice(0, 2).sort(), ['Realtime', 'Realtime'])
  assert.ok(tom && made.includes('IMClient') && made.includes('Conversation'))
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
  const opening = jerry.createIMClient(j)
  const heard = texts(jerry._clients.values().next().value.client)
  const client = await opening
  await until('the offline messages come', () => heard.length === 2)
  assert.deepEqual(heard, ['x', 'y'])
  assert.equal(await jerry.createIMClient(j), client)
  await client.close()
  assert.notEqual(await jerry.createIMClient(j), client)
})

test('being kicked by the operator ends it', async (t) => {
  const tom = await login(t, someone('Tom'))
  const closed = next(tom, 'close')
  await operate('POST', `/v1/clients/${tom.id}/kick`, { reason: 'enough' })
  assert.deepEqual((await closed)[0], { code: 'kicked', legacyCode: 4115, reason: 'enough' })
})
