// Dialogs and menus: they take the focus, give it back, and close on Escape.

import { el, iconButton } from './dom.js'
import { explain, t } from './strings.js'

let ids = 0

/** A dialog with a title and content. It is gone when it is closed. */
export function openDialog({ title, testid = 'dialog', wide, onclose }, ...content) {
  const id = `dialog-${++ids}`
  const dialog = el('dialog', { 'aria-labelledby': id, testid, class: wide && 'wide' },
    el('header', {}, el('h2', { id }, title), iconButton('close', t('close'), { testid: 'close', onclick: () => dialog.close() })),
    ...content)
  dialog.addEventListener('close', () => { dialog.remove(); onclose?.() })
  // A click beside it closes it.
  dialog.addEventListener('mousedown', (event) => { if (event.target === dialog) dialog.close() })
  document.body.append(dialog)
  dialog.showModal()
  return dialog
}

/**
 * Asks for something in a dialog. fields: [{name, label, hint, value, type, required, multiline}]; submit(values) does it, and what it
 * throws is shown. Answers what submit answered, undefined when nothing came of it.
 */
export function ask({ title, text, fields = [], action, danger, submit, extra, testid }) {
  return new Promise((resolve) => {
    let answer
    const error = el('p', { class: 'error', role: 'alert', testid: 'dialog-error' })
    const inputs = fields.map((f) => el(f.multiline ? 'textarea' : 'input', {
      id: `field-${f.name}`, testid: `field-${f.name}`, name: f.name, value: f.value ?? '', autocomplete: 'off', 'aria-required': f.required && 'true',
      'aria-describedby': f.hint && `hint-${f.name}`, ...(f.multiline ? { rows: 3 } : { type: 'text', inputmode: f.inputmode, maxlength: f.maxlength }),
    }))
    const go = el('button', { class: danger ? 'primary danger' : 'primary', testid: 'submit' }, action)
    const form = el('form', { novalidate: true },
      text && el('p', {}, text),
      ...fields.flatMap((f, i) => [el('label', { for: `field-${f.name}` }, f.label), inputs[i], f.hint && el('p', { id: `hint-${f.name}`, class: 'quiet small' }, f.hint)]),
      extra?.(Object.fromEntries(inputs.map((input) => [input.name, input])), error),
      error,
      el('footer', {}, el('button', { type: 'button', testid: 'cancel', onclick: () => dialog.close() }, t('cancel')), go))
    form.addEventListener('submit', async (event) => {
      event.preventDefault()
      const missing = inputs.find((input, i) => fields[i].required && !input.value.trim())
      error.textContent = missing ? t('needed') : ''
      if (missing) return missing.focus()
      go.disabled = true
      try {
        answer = await submit(Object.fromEntries(inputs.map((input) => [input.name, input.value.trim()])))
        dialog.close()
      } catch (err) {
        error.textContent = explain(err)
      } finally { go.disabled = false }
    })
    const dialog = openDialog({ title, testid, onclose: () => resolve(answer) }, form)
    ;(inputs[0] ?? go).focus()
    inputs[0]?.select()
  })
}

/** A picture, as large as the window allows. */
export function showImage(url, name) {
  openDialog({ title: name, testid: 'image-preview', wide: true }, el('img', { src: url, alt: name }))
}

/** A menu at an element. items: [{label, testid, run, danger}]. */
export function openMenu(anchor, items) {
  const menu = el('div', { role: 'menu', class: 'menu', tabindex: '-1' },
    items.map(({ label, testid, run, danger }) => el('button', { type: 'button', role: 'menuitem', tabindex: '-1', testid, class: danger && 'danger', onclick: () => { close(); run() } }, label)))
  const close = () => {
    if (!menu.isConnected) return
    const inside = menu.contains(document.activeElement)
    menu.remove()
    anchor.setAttribute('aria-expanded', 'false')
    document.removeEventListener('pointerdown', away, true)
    window.removeEventListener('resize', close)
    if (inside) anchor.focus({ preventScroll: true })
  }
  const away = (event) => { if (!menu.contains(event.target)) close() }
  menu.addEventListener('keydown', (event) => {
    const all = [...menu.children]
    const i = all.indexOf(document.activeElement)
    const to = { ArrowDown: i + 1, ArrowUp: i - 1 + all.length, Home: 0, End: all.length - 1 }[event.key]
    if (to !== undefined) all[to % all.length].focus()
    else if (event.key === 'Escape' || event.key === 'Tab') close()
    else return
    event.preventDefault()
    event.stopPropagation()
  })
  anchor.closest('dialog, main').append(menu)
  place(menu, anchor)
  if (anchor.matches('button')) anchor.setAttribute('aria-expanded', 'true')
  document.addEventListener('pointerdown', away, true)
  window.addEventListener('resize', close)
  menu.firstElementChild?.focus()
}

// Below the anchor where there is room, else above it, and never over the edge.
function place(menu, anchor) {
  const at = anchor.getBoundingClientRect()
  const { offsetWidth: width, offsetHeight: height } = menu
  const top = at.bottom + height + 8 < innerHeight ? at.bottom + 4 : Math.max(8, at.top - height - 4)
  menu.style.top = `${Math.min(top, innerHeight - height - 8)}px`
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`
}
