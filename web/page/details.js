// What there is to know of a conversation, and to change: its name, its members, do not disturb, leaving.

import { openDialog } from './dialog.js'
import { arrange, el, iconButton, toast } from './dom.js'
import { avatar, namesIn, titleOf } from './people.js'
import { explain, t } from './strings.js'

/** on: changed(), leave(). */
export function openDetails(store, conversation, on) {
  const people = el('ul', { role: 'list', class: 'people' })
  const heading = el('h3')
  const rows = new Map() // whoever is about to click on one shall find it there
  const draw = () => {
    heading.textContent = conversation.transient ? t('room') : t('nMembers', { n: conversation.memberCount })
    arrange(people, conversation.members.map((id) => {
      const online = id === store.me || store.online.has(id)
      const row = rows.get(id)
      if (row?.online !== online) rows.set(id, { online, node: member(id, online) })
      return rows.get(id).node
    }))
  }
  // One after the other: the answer to an older one could undo what a newer one shows.
  let last = Promise.resolve()
  const act = (doing, done) => last = last.then(doing).then(done).catch((err) => toast(explain(err), true)).then(() => {
    on.changed()
    if (dialog.open) draw()
  })
  const editable = conversation.kind === 'ordinary'
  const member = (id, online) => el('li', { testid: 'member', 'data-client': id },
    avatar(id, { online }), el('bdi', { class: 'grow' }, id),
    id === store.me ? el('small', { class: 'quiet' }, t('you'))
      : editable && iconButton('close', t('kickName', { name: id }), { testid: 'kick', onclick: () => act(() => conversation.remove([id])) }))

  const dialog = openDialog({ title: titleOf(conversation), testid: 'details', onclose: () => { for (const e of ['list', 'presence']) store.off(e, draw); store.off('gone', gone) } },
    el('div', { class: 'sections' },
      identity(conversation),
      (editable || (conversation.transient && conversation.creator === store.me)) && rename(conversation, act),
      editable && disturb(conversation, act),
      el('section', {}, heading, people, editable && invite(conversation, act)),
      conversation.kind !== 'temporary' && el('section', {}, el('button', {
        type: 'button', class: 'danger', testid: 'leave', onclick: () => { dialog.close(); on.leave() },
      }, t(conversation.transient ? 'leaveRoom' : 'leave')))))
  const gone = (lost) => lost === conversation && dialog.close()
  store.on('gone', gone)
  for (const e of ['list', 'presence']) store.on(e, draw)
  draw()
}

// Whoever knows the id of what is not private may join by it.
function identity({ id }) {
  return el('section', {}, el('h3', {}, t('conversationId')), el('p', { class: 'line-up' }, el('code', { class: 'grow', testid: 'conversation-id' }, id),
    navigator.clipboard && el('button', {
      type: 'button', class: 'link', onclick: () => navigator.clipboard.writeText(id).then(() => toast(t('copied')), () => {}),
    }, t('copy'))))
}

function rename(conversation, act) {
  const input = el('input', { id: 'rename', testid: 'rename', value: conversation.name ?? '', maxlength: 255, autocomplete: 'off' })
  return form([el('label', { for: 'rename' }, t('renameLabel')), input], t('rename'), 'rename-save', () => {
    const before = conversation.name
    conversation.set('name', input.value.trim() || null)
    return act(() => conversation.save().catch((err) => { conversation.set('name', before); throw err }))
  })
}

function invite(conversation, act) {
  const input = el('input', { id: 'invite', testid: 'invite', autocomplete: 'off' })
  return form([el('label', { for: 'invite' }, t('invite')), input, el('p', { class: 'quiet small' }, t('membersHint'))], t('invite'), 'invite-submit', () => {
    const ids = namesIn(input.value)
    if (ids.length) return act(() => conversation.add(ids), () => { input.value = '' })
  })
}

function form([label, input, ...more], action, testid, submit) {
  const all = el('form', { novalidate: true }, label, el('p', { class: 'line-up' }, input, el('button', { testid }, action)), ...more)
  all.addEventListener('submit', (event) => { event.preventDefault(); submit() })
  return all
}

function disturb(conversation, act) {
  const box = el('input', { type: 'checkbox', testid: 'mute', checked: conversation.muted })
  box.addEventListener('change', () => act(() => (box.checked ? conversation.mute() : conversation.unmute())).then(() => { box.checked = conversation.muted }))
  return el('section', {}, el('label', { class: 'check' }, box, t('mute')))
}

const ASK_EVERY = 2000

/** Who has read an own message. Nobody tells of that in a group, so it is asked again while one looks. */
export async function showReceipts(conversation, message) {
  const lists = el('div', { class: 'sections' })
  const draw = (receipts) => lists.replaceChildren(...[
    ['readBy', receipts.filter((r) => r.read)], ['deliveredTo', receipts.filter((r) => r.delivered && !r.read)], ['notYet', receipts.filter((r) => !r.delivered && !r.read)],
  ].map(([words, list]) => el('section', {}, el('h3', {}, `${t(words)} (${list.length})`), el('ul', { role: 'list', class: 'people' },
    list.map(({ clientId, read }) => el('li', { testid: 'receipt', 'data-client': clientId, 'data-read': String(read) }, avatar(clientId), el('bdi', {}, clientId)))))))
  draw(await conversation.getReceipts(message))
  const timer = setInterval(() => conversation.getReceipts(message).then(draw, () => {}), ASK_EVERY)
  openDialog({ title: t('whoRead'), testid: 'receipts', onclose: () => clearInterval(timer) }, lists)
}
