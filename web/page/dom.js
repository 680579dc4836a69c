// Elements are built of properties and text alone: nothing that a user wrote is ever read as markup.

export const $ = (selector, root = document) => root.querySelector(selector)

/** el('button', {class, testid, onclick, ...attributes}, ...children); null, undefined and false are left out. */
export function el(tag, props, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (name === 'value') node.value = value
    else node.setAttribute({ testid: 'data-testid' }[name] ?? name, value === true ? '' : value)
  }
  node.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false))
  return node
}

/** Text for those who hear the page instead of seeing it. */
export const hidden = (text) => el('span', { class: 'unseen' }, text)

const ICONS = {
  plus: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  down: 'M12 5v14M6 13l6 6 6-6',
  info: 'M12 11v6M12 7.5v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z',
  attach: 'M20 11.5l-8.3 8.3a5 5 0 0 1-7-7l8.6-8.6a3.3 3.3 0 0 1 4.7 4.7l-8.5 8.5a1.7 1.7 0 0 1-2.4-2.4l7.8-7.8',
  send: 'M4 12l16-8-6 16-3-7z',
  more: 'M5 12h.1M12 12h.1M19 12h.1',
  bell: 'M4 4l16 16M9 20a3 3 0 0 0 6 0M6 17h11M6 17c1-1 1.5-3 1.5-6 0-.8.2-1.5.5-2.2M10 5.5A4.5 4.5 0 0 1 16.5 10c0 2 .3 3.6 .8 4.8',
  tick: 'M5 13l4 4L19 7',
  ticks: 'M2 13l4 4L15 7M11 16l1 1L22 7',
  clock: 'M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z',
  alert: 'M12 8v5M12 16.5v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z',
  image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9v.1',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  pin: 'M12 21s7-6.5 7-11a7 7 0 1 0-14 0c0 4.5 7 11 7 11zM12 12.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z',
  close: 'M6 6l12 12M18 6L6 18',
  out: 'M14 4h5v16h-5M4 12h11M11 8l4 4-4 4',
  group: 'M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM3 19c0-3 2.7-5 6-5s6 2 6 5M16 11a2.5 2.5 0 1 0-1-4.8M17 14c2.4.4 4 2.2 4 5',
  hash: 'M9 4L7 20M17 4l-2 16M4 9h16M4 15h16',
}

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  for (const [k, v] of Object.entries({ viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' })) svg.setAttribute(k, v)
  const path = document.createElementNS(svg.namespaceURI, 'path')
  path.setAttribute('d', ICONS[name])
  svg.append(path)
  return svg
}

/** A button that is only a picture: its label is spoken, and shown on hovering. */
export const iconButton = (name, label, props) => el('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, ...props }, icon(name))

/** Makes the children of parent these nodes, moving no more of them than it must; the focus stays. */
export function arrange(parent, nodes) {
  const focused = document.activeElement
  const wanted = new Set(nodes)
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove()
  let at = parent.firstElementChild
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling
    else parent.insertBefore(node, at)
  }
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true })
}

/** Runs f once for all calls of this turn of the event loop. */
export function soon(f, delay = 0) {
  let timer
  return () => { timer ??= setTimeout(() => { timer = undefined; f() }, delay) }
}

/** The arrow keys move between the elements that match; one of them is in the tab order. */
export function roving(parent, selector) {
  const all = () => [...parent.querySelectorAll(selector)]
  parent.addEventListener('keydown', (event) => {
    const list = all()
    const i = list.indexOf(event.target.closest(selector))
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: list.length - 1 }[event.key]
    if (i < 0 || to === undefined) return
    event.preventDefault()
    list[Math.max(0, Math.min(to, list.length - 1))].focus()
  })
  parent.addEventListener('focusin', (event) => {
    const now = event.target.closest(selector)
    if (now) for (const one of all()) one.tabIndex = one === now ? 0 : -1
  })
}

/** Says something to those who hear the page. */
export function announce(text) {
  const line = el('p', {}, text)
  $('#announcer').append(line)
  setTimeout(() => line.remove(), 10_000)
}

/** A word about what went wrong, or right, which goes by itself. */
export function toast(text, bad) {
  const line = el('p', { class: bad ? 'toast bad' : 'toast', testid: 'toast' }, text)
  $('#toasts').append(line)
  setTimeout(() => line.remove(), bad ? 8000 : 4000)
}
