// The page: signs in, then puts the list and the open conversation beside each other and keeps both true.

import { ConversationView } from './conversation.js'
import { $, el, icon, toast } from './dom.js'
import { ListView } from './list.js'
import { avatar, partner, titleOf } from './people.js'
import { signIn, signedOut } from './signin.js'
import { followStatus, showStatus } from './status.js'
import { Store } from './store.js'
import { currentLanguage, explain, sameDay, setLanguage, t, translate } from './strings.js'

for (const [id, name] of [['sign-out', 'out'], ['new', 'plus'], ['back', 'back'], ['open-details', 'info']]) $('#' + id).append(icon(name))
$('#language').value = currentLanguage()
$('#language').addEventListener('change', (event) => setLanguage(event.target.value))
translate(document)

const client = await signIn(followStatus)
$('#waiting').remove()
$('#sign-in').hidden = true
$('#app').hidden = false
showStatus('connected')
$('#me').append(avatar(client.id), el('bdi', {}, client.id))

let leaving = false
client.on('close', ({ code }) => leaving || signedOut(code))
$('#sign-out').addEventListener('click', async () => {
  leaving = true
  // Where the network is away the server learns of it by itself.
  await Promise.race([client.close().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 3000))])
  signedOut('logged_out')
})

const store = new Store(client)
const list = new ListView(store, (conversation) => go(conversation.id))
const view = new ConversationView(store, list, (conversation) => {
  toast(t('leftIt', { name: titleOf(conversation) }))
  leave(conversation)
})
// Of a conversation with just one other its first message tells.
store.on('invited', (conversation, by) => partner(conversation) ?? toast(t('invitedYou', { by: by ?? t('system'), name: titleOf(conversation) })))
store.on('gone', (conversation, why, by) => {
  if (view.conversation === conversation || why !== 'leftIt') toast(t(why, { by: by ?? t('system'), name: titleOf(conversation) }))
  leave(conversation)
})

// The address names what is open, so that the browser's back button goes back, and a reload stays.
function go(id) {
  const hash = '#' + encodeURIComponent(id)
  if (location.hash === hash) show(true)
  else location.hash = hash
}
function leave(conversation) {
  if (view.conversation === conversation) location.hash = ''
}
function named() {
  try { return decodeURIComponent(location.hash.slice(1)) } catch { return '' }
}
async function show(chosen) {
  const id = named()
  document.body.classList.toggle('one', !!id)
  if (!id) return view.close()
  try {
    const conversation = store.conversations.get(id) ?? store.rooms.get(id) ?? await store.find(id)
    if (named() !== id) return
    if (conversation.transient) list.show('rooms')
    const opening = view.open(conversation)
    if (chosen) view.focus()
    await opening
  } catch (err) {
    toast(explain(err), true)
    location.hash = ''
  }
}
addEventListener('hashchange', () => show(true))
$('#back').addEventListener('click', () => { location.hash = '' })
// At midnight what was said today was said yesterday.
let today = new Date()
setInterval(() => {
  if (sameDay(today, new Date())) return
  today = new Date()
  list.draw()
  view.messages.redraw()
}, 10_000)

try {
  await store.load()
} catch (err) {
  toast(explain(err), true)
  list.draw()
}
show()
