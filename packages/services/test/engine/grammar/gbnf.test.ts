import { describe, expect, test } from 'vitest'
import { Acceptor } from '../../../src/enclave/worker/engine/grammar/acceptor.ts'
import { gbnfPart } from '../../../src/enclave/worker/engine/grammar/gbnf.ts'
import { GrammarError } from '../../../src/enclave/worker/engine/grammar/graph.ts'
import { grammarFor, verdict } from './follow.ts'

test.each<[name: string, text: string, whole: string[], no: string[]]>([
  ['a literal', 'root ::= "yes" | "no"', ['yes', 'no'], ['yesno', 'maybe']],
  ['rules, groups, repetition', 'root ::= item ("," item)*\nitem ::= [a-z]+ ([0-9]{2,3})? # comment\n', ['a', 'ab12,c', 'x123'], ['1', 'a1234', ',']],
  ['alternatives over lines', 'root ::= (\n  "a" |\n  "b"\n) "c"\n\n# end', ['ac', 'bc'], ['c']],
  ['classes and escapes', 'root ::= [^"\\\\\\n] "\\x41\\u00e9\\U0001F642\\"" [\\]a-]', ['xAé🙂"]', 'éAé🙂"-'], ['"', 'xA🙂']],
  ['any character', 'root ::= . .?', ['é', '🙂x'], ['']],
  ['recursion', 'root ::= "(" root ")" | ""', ['', '(())'], [')', '(a']],
  ['an open repetition', 'root ::= "a"{2,} "b"{1}', ['aab', 'aaaab'], ['ab', 'aabb']],
  ['an ambiguous one', 'root ::= a | b\na ::= "x" a | "y"\nb ::= "x" b | "z"', ['xxy', 'xz'], ['xw']],
])('%s', (_, text, whole, no) => {
  const grammar = grammarFor((graph) => gbnfPart(graph, text))
  for (const one of whole) expect([one, verdict(grammar, one)]).toEqual([one, 'whole'])
  for (const one of no) expect([one, verdict(grammar, one)]).not.toEqual([one, 'whole'])
})

describe('refused', () => {
  test.each([
    ['nothing', ''],
    ['no root', 'a ::= "x"'],
    ['an unknown rule', 'root ::= a'],
    ['a rule twice', 'root ::= "a"\nroot ::= "b"'],
    ['an open literal', 'root ::= "a'],
    ['an open class', 'root ::= [a'],
    ['an open group', 'root ::= ("a"'],
    ['an unknown escape', 'root ::= "\\q"'],
    ['a surrogate', 'root ::= "\\ud800"'],
    ['a range backwards', 'root ::= [z-a]'],
    ['a repetition backwards', 'root ::= "a"{3,2}'],
    ['a large repetition', 'root ::= "a"{2000}'],
    ['left recursion', 'root ::= root "a" | "b"'],
    ['hidden left recursion', 'root ::= e a\ne ::= "x"?\na ::= root | "b"'],
    ['no end', 'root ::= "a" root'],
    ['rubbish', 'root ::= $'],
    ['deep groups', `root ::= ${'('.repeat(40)}"a"${')'.repeat(40)}`],
    ['a long text', `root ::= "${'a'.repeat(20_000)}"`],
    ['many rules', Array.from({ length: 501 }, (_, i) => `r${i} ::= "a"`).join('\n')],
    ['a huge graph', `root ::= ${'("a"{1024}){1024} '.repeat(20)}${'"a"{1024} '.repeat(60)}`],
  ])('%s', (_, text) => {
    expect(() => grammarFor((graph) => gbnfPart(graph, text))).toThrow(GrammarError)
  })
})

test('a grammar with too many ways at once fails, and never lets anything through', () => {
  const grammar = grammarFor((graph) => gbnfPart(graph, `root ::= ${Array.from({ length: 300 }, () => '"a" root "b"').join(' | ')} | "c"`))
  expect(() => new Acceptor(grammar)).toThrow(expect.objectContaining({ code: 'engine_failed' }))
})

test('S22: rules that call rules in two ways each are as many ways as two to the depth: the answer fails before they are followed', () => {
  const rules = Array.from({ length: 60 }, (_, i) => `r${i} ::= r${i + 1} "x" | r${i + 1} "y"`)
  const grammar = grammarFor((graph) => gbnfPart(graph, `root ::= "a" r0\n${rules.join('\n')}\nr60 ::= "z"`))
  const acceptor = new Acceptor(grammar)
  expect(() => acceptor.allows(new TextEncoder().encode('a'))).toThrow(expect.objectContaining({ code: 'engine_failed' }))
})

test('what is asked between two tokens is bounded together, and begins anew with each', () => {
  const rules = Array.from({ length: 6 }, (_, i) => `r${i} ::= r${i + 1} "x" | r${i + 1} "y"`)
  const acceptor = new Acceptor(grammarFor((graph) => gbnfPart(graph, `root ::= "(" root ")" | r0\n${rules.join('\n')}\nr6 ::= "z"`)))
  const open = new TextEncoder().encode('('.repeat(100))
  for (let i = 0; i < 20; i++) acceptor.accept(open)
  expect(acceptor.allows(open)).toBe(true)
  expect(() => acceptor.allows(new TextEncoder().encode('('.repeat(2000)))).toThrow(expect.objectContaining({ code: 'engine_failed' }))
})

test('rules that are known only after those behind them are followed to the end', () => {
  const chain = (last: string): string =>
    `root ::= e0 "x" | e0 root2\nroot2 ::= "y"\n${Array.from({ length: 450 }, (_, i) => `e${i} ::= e${i + 1}`).join('\n')}\ne450 ::= ${last}`
  const grammar = grammarFor((graph) => gbnfPart(graph, chain('"q"?')))
  for (const text of ['x', 'qx', 'y', 'qy']) expect([text, verdict(grammar, text)]).toEqual([text, 'whole'])
  expect(verdict(grammar, 'qq')).toBe('no')
  expect(() => grammarFor((graph) => gbnfPart(graph, chain('"q"? root')))).toThrow(GrammarError)
})

test('a long text costs a bounded memory and no more per byte at its end', () => {
  const acceptor = new Acceptor(grammarFor((graph) => gbnfPart(graph, 'root ::= "a" root "b" | "c"')))
  const part = new TextEncoder().encode('a'.repeat(5000))
  for (let i = 0; i < 40; i++) acceptor.accept(part)
  expect(acceptor.allows(new TextEncoder().encode('cb'))).toBe(true)
  expect(acceptor.allows(new TextEncoder().encode('b'))).toBe(false)
})

test('accepting what is not allowed is a TypeError', () => {
  const acceptor = new Acceptor(grammarFor((graph) => gbnfPart(graph, 'root ::= "a"')))
  expect(() => acceptor.accept(Uint8Array.of(0x62))).toThrow(TypeError)
})
