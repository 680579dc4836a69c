// Where one writes: text, pictures, files, places; new messages and edits.

import { File, FileMessage, GeoPoint, ImageMessage, LocationMessage, TextMessage } from '/parley.js'
import { ask, openMenu } from './dialog.js'
import { $, el, icon, iconButton } from './dom.js'
import { MentionBox, composing, setMentions } from './mentions.js'
import { others, partner, textOf, titleOf } from './people.js'
import { onLanguage, t } from './strings.js'
import { TypingMessage } from './store.js'

const TYPING_EVERY = 4000

/** on: sent(entry), edit(message, newMessage), which answers a promise, editLast(). Drafts are kept for each conversation. */
export class Composer {
  constructor(place, on) {
    this.on = on
    this.drafts = new Map()
    this.input = el('textarea', { id: 'input', testid: 'input', rows: 1, maxlength: 5000, enterkeyhint: 'send', dir: 'auto' })
    this.priority = el('select', { testid: 'priority', class: 'priority-choice' }, ['high', 'normal', 'low'].map((p) => el('option', { value: p })))
    this.photo = this._picker('photo-input', 'image/*', (file) => new ImageMessage(new File(file.name, file)))
    this.file = this._picker('file-input', undefined, (file) => new FileMessage(new File(file.name, file)))
    this.attach = iconButton('attach', '', { testid: 'attach', 'aria-haspopup': 'menu', onclick: () => this._attach() })
    this.send = iconButton('send', '', { type: 'submit', class: 'icon-button send', testid: 'send' })
    this.cancelEdit = iconButton('close', '', { testid: 'cancel-edit', onclick: () => this._stopEditing() })
    this.editBar = el('p', { class: 'edit-bar', hidden: true }, el('span'), this.cancelEdit)
    this._enterKey()
    this.mentions = new MentionBox(this.input, () => this._names())
    this.form = el('form', { class: 'composer', testid: 'composer' }, this.mentions.box, this.editBar,
      el('div', { class: 'compose-row' }, this.attach, this.priority, this.input, this.send), this.photo, this.file)
    place.append(this.form)
    this.form.addEventListener('submit', (event) => { event.preventDefault(); this._submit() })
    this.input.addEventListener('keydown', (event) => this._key(event))
    this.input.addEventListener('input', () => this._typed())
    this.input.addEventListener('paste', (event) => this._files(event, event.clipboardData))
    onLanguage(() => this.translate())
  }

  /** Writes to a conversation from now on; what was being written to the last one is kept. */
  open(conversation, timeline) {
    this.close()
    Object.assign(this, { conversation, timeline })
    this.input.value = this.drafts.get(conversation.id) ?? ''
    this.priority.hidden = !conversation.transient
    this.priority.value = 'normal'
    this.translate()
    this._grow()
  }
  close() {
    if (this.editing) this._stopEditing()
    if (this.conversation) this.drafts.set(this.conversation.id, this.input.value)
    this.mentions.close()
    this.conversation = undefined
  }
  focus() { this.input.focus({ preventScroll: true }) }
  translate() {
    const label = this.conversation ? t('writeTo', { name: titleOf(this.conversation) }) : t('message')
    this.input.placeholder = t('message')
    this.input.setAttribute('aria-label', label)
    for (const [node, words] of [[this.attach, 'attach'], [this.send, this.editing ? 'save' : 'send'], [this.priority, 'priority'], [this.cancelEdit, 'cancelEdit']]) {
      node.setAttribute('aria-label', t(words))
      node.title = t(words)
    }
    for (const option of this.priority.options) option.textContent = t(option.value)
    $('span', this.editBar).textContent = t('editing')
  }

  /** Goes on with the text of an own message. */
  edit(message) {
    this.drafts.set(this.conversation.id, this.input.value)
    this.editing = message
    this.editBar.hidden = false
    this.input.value = textOf(message) ?? ''
    this.translate()
    this._grow()
    this.focus()
  }
  _stopEditing() {
    this.editing = undefined
    this.editBar.hidden = true
    this.input.value = this.drafts.get(this.conversation.id) ?? ''
    this.translate()
    this._grow()
    this.focus()
  }

  // What could not be changed is still there to be changed.
  _editAgain(conversation, message, text) {
    if (this.conversation !== conversation || this.editing) return
    this.edit(message)
    this.input.value = text
    this._grow()
  }

  _submit() {
    const text = this.input.value.trim()
    const { conversation } = this
    if (!text || !conversation) return
    const message = this._mentioning(new TextMessage(text), text)
    if (this.editing) {
      const old = this.editing
      this._stopEditing()
      if (text !== textOf(old)) this.on.edit(old, message).catch(() => this._editAgain(conversation, old, text))
      return
    }
    this.input.value = ''
    this.drafts.delete(this.conversation.id)
    this._grow()
    this.mentions.close()
    this._say(message)
  }
  _mentioning(message, text) { return setMentions(message, text, others(this.conversation)) }
  _say(message, preview) {
    const { conversation, timeline } = this
    this.on.sent(timeline.send(message, {
      receipt: partner(conversation) !== undefined || undefined,
      priority: conversation.transient && this.priority.value !== 'normal' ? this.priority.value : undefined,
    }, preview))
    this._saidTyping = 0
  }
  _names() {
    if (!this.conversation || this.conversation.transient) return []
    const them = others(this.conversation).map((name) => ({ name }))
    return them.length > 1 ? [...them, { name: t('everyone'), hint: t('everyoneHint') }] : them
  }

  // Enter sends, with Shift it breaks the line. Keyboards on a screen may send the break without a key.
  _enterKey() {
    let key
    this.input.addEventListener('keydown', (event) => { key = event.key !== 'Enter' ? undefined : event.shiftKey ? 'break' : 'send' }, { capture: true })
    this.input.addEventListener('beforeinput', (event) => {
      if (event.inputType !== 'insertLineBreak' || key === 'break') return
      event.preventDefault()
      if (!key) this._submit()
    })
  }
  _key(event) {
    if (composing(event)) return // Enter ends what an input method offers
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault()
      this._submit()
    } else if (event.key === 'Escape' && this.editing) this._stopEditing()
    else if (event.key === 'ArrowUp' && !this.input.value && !this.editing) {
      if (this.on.editLast()) event.preventDefault()
    }
  }
  _typed() {
    this._grow()
    const { conversation, timeline } = this
    const quiet = !this.input.value || this.editing || conversation.kind !== 'ordinary' || conversation.memberCount > 20 ||
      timeline.pending.some((entry) => entry.progress !== undefined) // it would wait behind the upload
    if (quiet || Date.now() - (this._saidTyping ?? 0) < TYPING_EVERY) return
    this._saidTyping = Date.now()
    conversation.send(new TypingMessage(), { transient: true, noSync: true }).catch(() => {}) // it does not matter
  }
  _grow() {
    this.input.style.height = 'auto'
    this.input.style.height = `${this.input.scrollHeight + 2}px`
  }

  // -- what is not text --

  _attach() {
    openMenu(this.attach, [
      { label: t('photo'), testid: 'attach-photo', run: () => this.photo.click() },
      { label: t('file'), testid: 'attach-file', run: () => this.file.click() },
      { label: t('location'), testid: 'attach-location', run: () => this._location() },
    ])
  }
  _picker(testid, accept, make) {
    const input = el('input', { type: 'file', testid, accept, multiple: true, hidden: true, tabindex: '-1' })
    input.addEventListener('change', () => {
      for (const file of input.files) this._sendFile(file, make(file))
      input.value = ''
    })
    return input
  }
  _sendFile(file, message) {
    this._say(message, message instanceof ImageMessage ? URL.createObjectURL(file) : undefined)
    this.focus()
  }
  /** Sends files that were pasted or dropped here. */
  _files(event, transfer) {
    const files = [...transfer?.files ?? []]
    // What is copied from a document comes as a picture, too.
    if (!files.length || !this.conversation || (event.type === 'paste' && transfer.types.includes('text/plain'))) return
    event.preventDefault()
    for (const file of files) {
      const wrapped = new File(file.name, file)
      this._sendFile(file, /^image\/(png|jpeg|gif|webp|avif)$/.test(file.type) ? new ImageMessage(wrapped) : new FileMessage(wrapped))
    }
  }
  /** Lets files be dropped on an element. */
  dropOn(target) {
    target.addEventListener('dragover', (event) => { if (event.dataTransfer.types.includes('Files') && this.conversation) { event.preventDefault(); target.classList.add('drop') } })
    target.addEventListener('dragleave', (event) => { if (!target.contains(event.relatedTarget)) target.classList.remove('drop') })
    target.addEventListener('drop', (event) => { target.classList.remove('drop'); this._files(event, event.dataTransfer) })
  }
  _location() {
    ask({
      title: t('location'), action: t('send'), testid: 'location-dialog',
      fields: [
        { name: 'latitude', label: t('latitude'), inputmode: 'decimal', required: true },
        { name: 'longitude', label: t('longitude'), inputmode: 'decimal', required: true },
        { name: 'description', label: t('placeName'), maxlength: 500 },
      ],
      extra: (inputs, error) => navigator.geolocation && el('button', { type: 'button', class: 'link', testid: 'my-position', onclick: () => {
        navigator.geolocation.getCurrentPosition(({ coords }) => {
          inputs.latitude.value = coords.latitude.toFixed(6)
          inputs.longitude.value = coords.longitude.toFixed(6)
        }, () => { error.textContent = t('noPosition') }, { timeout: 10_000 })
      } }, icon('pin'), t('myPosition')),
      submit: ({ latitude, longitude, description }) => {
        const [lat, lon] = [Number(latitude), Number(longitude)]
        if (!(Math.abs(lat) <= 90 && Math.abs(lon) <= 180)) throw new Error(t('badPlace'))
        const message = new LocationMessage(new GeoPoint(lat, lon))
        if (description) message.setText(description)
        this._say(message)
      },
    })
  }
}
