import { utf8 } from 'veritee/bytes'
import { describe, expect, test } from 'vitest'
import { CallReader } from '../../src/enclave/worker/engine/index.ts'
import { type ToolFormat, toolFormatOf } from '../../src/enclave/worker/engine/tools/tool-format.ts'
import { type Answer, parseAnswers } from '../../src/replay/answer.ts'
import { finishReasonOf, tellsSame, usualText } from '../../src/replay/calls.ts'
import { hermesTemplate, llamaTemplate, mistralTemplate } from '../engine/scripted.ts'

const path = '/v1/chat/completions'
const hermes = toolFormatOf(hermesTemplate) as ToolFormat
const reader = (): CallReader => new CallReader(hermes, ['f', 'g'])
const call = { name: 'f', arguments: '{"a": 1}' }
const answer = (text: string, calls: Answer['calls']): Answer => ({ text, calls, finishReason: 'tool_calls', tokens: null })
const written = 'Well.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
const both = [call, { name: 'g', arguments: '{}' }]

describe('what an answer tells of a text with calls', () => {
  const whole = { endpoint: '/v1/chat/completions', stream: false, aborted: false }
  test.for([
    ['the same', answer('Well.\n\n', both), true],
    ['one call less', answer('Well.\n\n', [call]), false],
    ['one more', answer('Well.\n\n', [...both, call]), false],
    ['another name', answer('Well.\n\n', [{ ...call, name: 'g' }, ...both.slice(1)]), false],
    ['a beginning of arguments', answer('Well.\n\n', [call, { name: 'g', arguments: '{' }]), false],
    ['another order', answer('Well.\n\n', both.toReversed()), false],
    ['another text', answer('Well.', both), false],
  ] as const)('%s: %s', ([, told, same]) => {
    expect(tellsSame(told, written, reader(), whole)).toBe(same)
  })

  test('S9: of an answer that was aborted, a beginning of text and calls', () => {
    const aborted = { endpoint: '/v1/chat/completions', stream: true, aborted: true }
    for (const told of [answer('', []), answer('Well.', []), answer('Well.\n', [{ ...call, arguments: '{"a' }]), answer('Well.\n\n', both)])
      expect(tellsSame(told, written, reader(), aborted)).toBe(true)
    const cut = { ...call, arguments: '{"a' }
    for (const told of [answer('No', []), answer('Well.\n', [cut, ...both.slice(1)]), answer('Well.\n', [{ ...cut, arguments: '{"b' }])])
      expect(tellsSame(told, written, reader(), aborted)).toBe(false)
  })

  test('white space alone is told in streams only', () => {
    const text = written.slice('Well.'.length)
    expect(tellsSame(answer('', both), text, reader(), whole)).toBe(true)
    expect(tellsSame(answer('', both), text, reader(), { ...whole, stream: true })).toBe(false)
    expect(tellsSame(answer('\n\n', both), text, reader(), { ...whole, stream: true })).toBe(true)
  })

  test('the reason of its end', () => {
    const result = { outcome: 'complete', finishReason: 'stop', text: written, completionTokens: [] } as const
    expect(finishReasonOf(result, reader())).toBe('tool_calls')
    expect(finishReasonOf(result, null)).toBe('stop')
    expect(finishReasonOf({ ...result, finishReason: 'length' }, reader())).toBe('length')
  })

  test('the usual text of each format is read as the same calls', () => {
    for (const template of [hermesTemplate, llamaTemplate, mistralTemplate]) {
      const format = toolFormatOf(template) as ToolFormat
      const calls = format.most === 1 ? [call] : both
      const text = format.begin === null ? '' : format.list ? 'Well.' : 'Well.\n\n'
      const told = answer(text, calls)
      expect(tellsSame(told, usualText(told, format), new CallReader(format, ['f', 'g']), whole)).toBe(true)
    }
    expect(usualText(answer('Well.\n\n', both), hermes)).toBe(written)
  })
})

describe('calls in streams', () => {
  const stream = (...calls: unknown[]): Answer[] => {
    const events = calls.map((one) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { tool_calls: [one] }, finish_reason: null }] })}\n\n`)
    return parseAnswers(utf8(events.join('')), path, true, 1)
  }
  const head = (index: number): object => ({ index, id: 'x', type: 'function', function: { name: 'f', arguments: '' } })
  const piece = (index: number, text: string): object => ({ index, function: { arguments: text } })

  test('pieces are put together', () => {
    const [told] = stream(head(0), piece(0, '{"a"'), piece(0, ': 1}'), head(1), piece(1, '{}'))
    expect(told?.calls).toEqual([call, { name: 'f', arguments: '{}' }])
  })

  test.for([
    ['a piece before its call', [piece(0, 'x')]],
    ['a piece of a call that has ended', [head(0), head(1), piece(0, 'x')]],
    ['a call out of turn', [head(1)]],
    ['a call twice', [head(0), head(0)]],
    ['an index that names a method', [{ ...head(0), index: 'push' }]],
    ['no function', [{ index: 0 }]],
    ['no object', [1]],
  ] as const)('%s', ([, calls]) => {
    expect(() => stream(...calls)).toThrow(TypeError)
  })
})
