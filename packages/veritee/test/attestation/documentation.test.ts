import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { checkIds, tcbStatuses } from '../../src/attestation/index.ts'

const page = new URL('../../../../docs/attestation.md', import.meta.url)
const text = readFileSync(page, 'utf8')
const named = [...text.matchAll(/\[[^\]]+\]\((\.\.\/packages\/[^)]+\.test\.ts)\) "([^"]+)"/g)].map(([, file = '', title = '']) => ({ file, title }))

/** The cells of the rows whose first cells match. */
function rows(first: RegExp): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '')))
    .filter(([cell = '']) => first.test(cell))
}

/** Titles as the source of a test file writes them: of tests and of suites, whatever their table. */
function titlesOf(source: string): Set<string> {
  const found = [...source.matchAll(/(?:\b(?:it|test|describe)(?:\.\w+)*|\))\s*\(\s*(?:'([^'\n]+)'|"([^"\n]+)"|`([^`\n]+)`)/g)]
  return new Set(found.map(([, single, double, template]) => (single ?? double ?? template ?? '').replace(/\$\{[^}]*\}$/, '')))
}

describe('docs/attestation.md', () => {
  it('names tests that exist', () => {
    expect(named.length).toBeGreaterThan(80)
    const missing = named.filter(({ file, title }) => {
      const url = new URL(file, page)
      return !existsSync(url) || !titlesOf(readFileSync(url, 'utf8')).has(title)
    })
    expect(missing).toEqual([])
  })

  it('names each test file by its own name', () => {
    for (const [, name, path] of text.matchAll(/\[([^\]]+\.test\.ts)\]\(([^)]+)\)/g)) expect(path?.endsWith(`/${name}`), path).toBe(true)
  })

  it('has a row with a test for every check, in the order they are taken', () => {
    const listed = rows(/^\d+$/)
    expect(listed.map(([, id]) => id)).toEqual(checkIds.map((id) => `\`${id}\``))
    for (const row of listed) expect(row.at(-1)).toMatch(/\.test\.ts\) "/)
  })

  it('has a row with a test for every TCB status', () => {
    const listed = rows(/^`[A-Z]\w+`$/)
    expect(listed.map(([status]) => status)).toEqual(tcbStatuses.map((status) => `\`${status}\``))
    for (const row of listed) expect(row.at(-1)).toMatch(/\.test\.ts\) "/)
  })

  it('has a row for every known mistake, and a test of this folder carries its number', () => {
    const numbers = Array.from({ length: 28 }, (_, i) => `P${i + 1}`)
    expect(rows(/^P\d+$/).map(([number]) => number)).toEqual(numbers)
    const folder = new URL('./', import.meta.url)
    const titles = readdirSync(folder)
      .filter((name) => name.endsWith('.test.ts') && name !== 'documentation.test.ts')
      .flatMap((name) => [...titlesOf(readFileSync(new URL(name, folder), 'utf8'))])
    for (const number of numbers)
      expect(
        titles.some((title) => title.match(/P\d+/g)?.includes(number)),
        number,
      ).toBe(true)
  })
})
