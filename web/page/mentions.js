// Completing @names while one writes.

import { el } from './dom.js'
import { avatar } from './people.js'
import { t } from './strings.js'

const MOST = 8

/** Offers names for what is written behind an @. names() answers who may be mentioned; show(on) says whether it offers. */
export class MentionBox {
  constructor(input, names) {
    this.input = input
    this.names = names
    this.box = el('ul', { id: 'mention-list', role: 'listbox', class: 'mention-list', 'aria-label': t('mentionWhom'), hidden: true })
    input.setAttribute('aria-autocomplete', 'list')
    input.setAttribute('aria-controls', 'mention-list')
    input.addEventListener('input', () => this._offer())
    input.addEventListener('click', () => this._offer())
    input.addEventListener('blur', () => this.close())
    input.addEventListener('keydown', (event) => this._key(event))
  }
  get open() { return !this.box.hidden }
  close() {
    this.box.hidden = true
    this.input.removeAttribute('aria-activedescendant')
  }

  // What is written between the last @ and the cursor.
  _query() {
    const before = this.input.value.slice(0, this.input.selectionStart)
    const at = before.lastIndexOf('@')
    if (at < 0 || /[\p{L}\p{N}]/u.test(before[at - 1] ?? ' ') && /[\x21-\x7e]/.test(before[at - 1])) return undefined
    const text = before.slice(at + 1)
    return text.length > 64 || text.includes('\n') ? undefined : { at, text }
  }
  _offer() {
    const query = this._query()
    const wanted = query?.text.toLocaleLowerCase()
    const found = query ? this.names().filter(({ name }) => name.toLocaleLowerCase().startsWith(wanted)).slice(0, MOST) : []
    if (!found.length || (found.length === 1 && found[0].name === query.text)) return this.close()
    this.found = found
    this.box.setAttribute('aria-label', t('mentionWhom'))
    this.box.replaceChildren(...found.map(({ name, hint }, i) => el('li', {
      id: `mention-${i}`, role: 'option', testid: 'mention', 'data-name': name,
      onmousedown: (event) => { event.preventDefault(); this._take(i) },
    }, avatar(name), el('bdi', {}, name), hint && el('small', { class: 'quiet' }, hint))))
    this.box.hidden = false
    this._choose(0)
  }
  _choose(i) {
    this.chosen = (i + this.found.length) % this.found.length
    ;[...this.box.children].forEach((option, j) => option.setAttribute('aria-selected', String(j === this.chosen)))
    this.box.children[this.chosen].scrollIntoView({ block: 'nearest' })
    this.input.setAttribute('aria-activedescendant', `mention-${this.chosen}`)
  }
  _take(i) {
    const { at } = this._query()
    const { value, selectionStart } = this.input
    const text = `@${this.found[i].name} `
    this.input.value = value.slice(0, at) + text + value.slice(selectionStart)
    this.input.setSelectionRange(at + text.length, at + text.length)
    this.close()
  }
  _key(event) {
    if (!this.open || composing(event)) return
    if (event.key === 'ArrowDown') this._choose(this.chosen + 1)
    else if (event.key === 'ArrowUp') this._choose(this.chosen - 1)
    else if (event.key === 'Enter' || event.key === 'Tab') this._take(this.chosen)
    else if (event.key === 'Escape') this.close()
    else return
    event.preventDefault()
    event.stopImmediatePropagation()
  }
}

/** Whether an input method still has the key; Safari says so by its code alone. */
export const composing = (event) => event.isComposing || event.keyCode === 229

/** Puts into a message whom its text mentions: of those whose name stands behind an @ the one with the longest. */
export function setMentions(message, text, names) {
  const longestFirst = [...names].sort((a, b) => b.length - a.length)
  const mentioned = []
  for (const { index } of text.matchAll(/@/g)) {
    const name = longestFirst.find((n) => text.startsWith(n, index + 1))
    if (name !== undefined) mentioned.push(name)
    else if (/^@(all(?![\p{L}\p{N}])|所有人)/u.test(text.slice(index))) message.mentionAll()
  }
  return message.setMentionList(mentioned.slice(0, 20))
}
