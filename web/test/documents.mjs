// Reads the JavaScript out of the documents that people come from.
import { existsSync, readdirSync, readFileSync } from 'node:fs'

const folder = new URL('../../../shared/seeds/', import.meta.url)

/** Every snippet: `{document, line, code}`. undefined where the documents are not. */
export function snippets() {
  if (!existsSync(folder)) return undefined
  return readdirSync(folder).filter((f) => f.endsWith('.txt')).sort().flatMap((f) => {
    const text = readFileSync(new URL(f, folder), 'utf8').replaceAll('\r', '')
    const found = text.includes('```') ? fenced(text) : plain(text)
    return found.filter((s) => s.code.replace(/^\s*\/\/.*$/gm, '').trim()).map((s) => ({ document: f.slice(0, 3), ...s }))
  })
}

function fenced(text) {
  return [...text.matchAll(/^[ \t]*```(\w*).*\n([\s\S]*?)^[ \t]*```/gm)]
    .filter(([, language]) => /^(js|javascript\w*)$/.test(language))
    .map((m) => ({ line: text.slice(0, m.index).split('\n').length + 1, code: m[2] }))
}

// One document has lost its fences: there the JavaScript stands first in a row of
// the same in several languages, after an empty line, and ends where the next begins.
const starts = /^(var |\/\/ |return tom|(conversation|tom|jerry|mary|william|realtime|query)\.\w+\()/
const foreign = new RegExp('^\\s*(\\[|@|#pragma|-\\s?\\(|AV[A-Z]|NS[A-Z]|public |private |final |jerry\\.delegate|\\w+ = \\[|(var )?\\w+ ?= ?await|await ' +
  '|conv\\.|var \\w+ = new AVIM|using |int |query\\.(where|Where|Limit|limit =)|tom\\.createConversation\\(Arrays|\\{\\{)')

function plain(text) {
  const lines = text.split('\n'), found = []
  for (let i = 1; i < lines.length; i++) {
    if (lines[i - 1].trim() || !starts.test(lines[i]) || foreign.test(lines[i])) continue
    let end = i
    while (end < lines.length && !foreign.test(lines[end])) end++
    found.push({ line: i + 1, code: lines.slice(i, end).join('\n') })
    i = end
    while (i < lines.length && lines[i].trim()) i++ // the other languages
  }
  // What begins with a comment only may still be another language's.
  return found.filter((s) => /[;)]/.test(s.code.replace(/^\s*\/\/.*$/gm, '')))
}
