import { deserialize, serialize } from 'node:v8'
import { expect, test } from 'vitest'
import { Acceptor } from '../../src/enclave/worker/engine/grammar/acceptor.ts'
import type { Grammar } from '../../src/enclave/worker/engine/grammar/grammar.ts'
import { type FlatGrammar, flatten, unflatten } from '../../src/engine-process/grammar.ts'
import { gbnf } from './gbnf.ts'

const travelled = (grammar: Grammar): Grammar => unflatten(deserialize(serialize(flatten(grammar))) as FlatGrammar)

function accepts(grammar: Grammar, text: string): boolean {
  const acceptor = new Acceptor(grammar)
  const bytes = new TextEncoder().encode(text)
  if (!acceptor.allows(bytes)) return false
  acceptor.accept(bytes)
  return acceptor.complete
}

test.each<[string, readonly string[], readonly string[]]>([
  ['root ::= "yes" | "no"', ['yes', 'no'], ['', 'y', 'yesno', 'maybe']],
  ['root ::= "(" root ")" | "x"', ['x', '(x)', '((((x))))'], ['', '(x', 'x)']],
  ['root ::= item ("," item)*\nitem ::= [a-c]+ | [^a-z,]', ['a', 'a,b,ccc', 'A,\u00e9'], ['d', 'a,d', 'ab,']],
])('a grammar that travelled accepts what it did: %s', (text, yes, no) => {
  const grammar = travelled(gbnf(text))
  for (const one of yes) expect(accepts(grammar, one), one).toBe(true)
  for (const one of no) expect(accepts(grammar, one), one).toBe(false)
})

test('a grammar of thousands of bytes in a row travels, and small', () => {
  const grammar = gbnf(`root ::= "${'x'.repeat(15_000)}"`)
  expect(serialize(flatten(grammar)).length).toBeLessThan(3_000_000)
  expect(accepts(travelled(grammar), 'x'.repeat(15_000))).toBe(true)
})

test.each([
  ['a node that is not there', { next: 9 }],
  ['a set that is not there', { set: 9 }],
])('%s is refused', (_, change) => {
  const flat = flatten(gbnf('root ::= "x"'))
  const nodes = flat.nodes.map((node) => (node.kind === 'bytes' ? { ...node, ...change } : node))
  expect(() => unflatten({ ...flat, nodes })).toThrow(TypeError)
})
