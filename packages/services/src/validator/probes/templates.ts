import { fail } from 'veritee/errors'
import { cities, firstNames, goods, lastNames, passages, tones } from './corpus.ts'
import type { Draws } from './draws.ts'

/** Bits of the seed that a prompt must hold (rule S20). */
export const leastBits = 64

const days = 3650
const firstDay = Date.UTC(2020, 0, 1)

/** What may stand for a placeholder, with the number of values it has, each as likely. */
const fillings: Readonly<Record<string, { readonly values: number; readonly draw: (draws: Draws) => string }>> = {
  first: { values: firstNames.length, draw: (draws) => draws.of(firstNames) },
  last: { values: lastNames.length, draw: (draws) => draws.of(lastNames) },
  city: { values: cities.length, draw: (draws) => draws.of(cities) },
  good: { values: goods.length, draw: (draws) => draws.of(goods) },
  tone: { values: tones.length, draw: (draws) => draws.of(tones) },
  order: { values: 1e7, draw: (draws) => String(draws.below(1e7)).padStart(7, '0') },
  amount: { values: 1e5, draw: (draws) => `${(draws.below(1e5) / 100).toFixed(2)} euros` },
  date: { values: days, draw: (draws) => new Date(firstDay + draws.below(days) * 86_400_000).toISOString().slice(0, 10) },
}

function fill(template: string, draws: Draws): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const filling = fillings[name]
    if (filling === undefined) throw new TypeError(`a template with an unknown placeholder ${name}`)
    return filling.draw(draws)
  })
}

/** Bits of the seed that are in a text made from a template. Choosing the template is not counted. */
export function bitsOf(template: string): number {
  return [...template.matchAll(/\{(\w+)\}/g)].reduce((bits, [, name = '']) => bits + Math.log2(fillings[name]?.values ?? 1), 0)
}

/**
 * Templates of a validator's own, one a line, empty lines left out: `\n` stands for a line end. Throws `usage` for one with an unknown placeholder, or with so few that
 * less than 64 bits of the seed are in it.
 */
export function readTemplates(text: string): readonly string[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  if (lines.length === 0) throw fail('usage', 'expected a template at least')
  return lines.map((line, i) => {
    const unknown = [...line.matchAll(/\{(\w+)\}/g)].find(([, name = '']) => fillings[name] === undefined)
    if (unknown !== undefined)
      throw fail('usage', `template ${i + 1}: expected placeholders ${Object.keys(fillings).join(', ')}, found ${unknown[0]}`)
    const bits = bitsOf(line)
    if (bits < leastBits) throw fail('usage', `template ${i + 1}: expected placeholders for ${leastBits} bits, found ${Math.floor(bits)}`)
    return line.replaceAll('\\n', '\n')
  })
}

/** A text of about so many characters, as near as templates and what is pasted before them come to it, and its bits. */
export function textOfLength(templates: readonly string[], length: number, draws: Draws): { readonly text: string; readonly bits: number } {
  // A template is longer when it is filled by some 3 characters a placeholder; the nearest few are as good as each other.
  const near = templates.toSorted((a, b) => Math.abs(a.length - length) - Math.abs(b.length - length))
  const template = draws.of(length > (near[0]?.length ?? 0) * 2 ? templates : near.slice(0, 3))
  let text = fill(template, draws)
  for (let left = 64; left > 0 && text.length < length - 60; left--) {
    const passage = draws.of(passages)
    const room = length - text.length - 2
    // What does not fit whole is cut at a sentence, as people copy a part.
    const sentences = passage.match(/[^.]+\.\s*/g) ?? [passage]
    let pasted = ''
    for (const sentence of sentences) if (pasted.length + sentence.length <= room) pasted += sentence
    if (pasted !== '') text = `${pasted.trim()}\n\n${text}`
  }
  return { text, bits: bitsOf(template) }
}
