// What there is to know of a conversation, and to change: its name, its members, do not disturb, leaving.

import { openDialog } from './dialog.js'
import { el, iconButton, toast } from './dom.js'
import { avatar, namesIn, titleOf } from './people.js'
import { explain, t } from './strings.js'

/** on: changed(), leave(). */
export function openDetails(store, conversation, on) {
  const people = el('ul', { role: 'list', class: 'people' })
  const heading = el('h3')
  const draw = () => {
    heading.textContent = conversation.transient ? t('room') : t('nMembers', { n: conversation.memberCount })
    people.replaceChildren(...conversation.members.map((id) => member(id)))
  }
  const act = async (doing, done) => {
    try {
      await doing()
      done?.()
    } catch (err) { toast(explain(err), true) }
    on.changed()
    if (dialog.open) draw()
  }
  const editable = conversation.kind === 'ordinary'
  const member = (id) => el('li', { testid: 'member', 'data-client': id },
    avatar(id, { online: id === store.me ? true : store.online.has(id) }), el('bdi', { class: 'grow' }, id),
    id === store.me ? el('small', { class: 'quiet' }, t('you'))
      : editable && iconButton('close', t('kickName', { name: id }), { testid: 'kick', onclick: () => act(() => conversation.remove([id])) }))

  const dialog = openDialog({ title: titleOf(conversation), testid: 'details', onclose: () => { for (const e of ['list', 'presence']) store.off(e, draw) } },
    el('div', { class: 'sections' },
      identity(conversation),
      (editable || (conversation.transient && conversation.creator === store.me)) && rename(conversation, act),
      editable && disturb(conversation, act),
      el('section', {}, heading, people, editable && invite(conversation, act)),
      conversation.kind !== 'temporary' && el('section', {}, el('button', {
        type: 'button', class: 'danger', testid: 'leave', onclick: () => { dialog.close(); on.leave() },
      }, t(conversation.transient ? 'leaveRoom' : 'leave')))))
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
    conversation.set('name', input.value.trim() || null)
    return act(() => conversation.save())
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
