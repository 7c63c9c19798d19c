import { describe, expect, test } from 'vitest'
import { CallReader } from '../../src/enclave/worker/engine/index.ts'
import { toolFormatOf } from '../../src/enclave/worker/engine/tools/tool-format.ts'
import { Output, type OutputEvent } from '../../src/enclave/worker/responses/output.ts'
import { hermesTemplate, llamaTemplate, mistralTemplate } from '../engine/scripted.ts'

const call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'

function outputOf(text: string, size: number, template: string | null = hermesTemplate): { events: OutputEvent[]; output: Output } {
  const format = template === null ? null : toolFormatOf(template)
  const output = new Output(format === null ? null : new CallReader(format, ['f', 'g']), format ?? undefined)
  const events = output.begin()
  for (let at = 0; at < text.length; at += size) events.push(...output.add(text.slice(at, at + size)))
  events.push(...output.end(true))
  return { events, output }
}

/** What is said, without ids. */
const saidOf = ({ items }: Output): unknown[] =>
  items.map((item) => (item.type === 'message' ? item.content.map(({ text }) => text).join('') : { [item.name]: item.arguments }))

/** Puts a stream together again as its readers do, and demands its grammar: added, pieces, done; one item after the other. */
function assembled(events: readonly OutputEvent[]): unknown[] {
  const said: unknown[] = []
  let open: { index: number; pieces: string; id: unknown } | null = null
  for (const event of events) {
    const item = event.item as { id: string; type: string; name: string; status: string } | undefined
    if (event.type === 'response.output_item.added') {
      expect(open).toBeNull()
      expect(item?.status).toBe('in_progress')
      expect(event.output_index).toBe(said.length)
      open = { index: said.length, pieces: '', id: item?.id }
      continue
    }
    if (open === null) throw new Error(`${event.type} outside an item`)
    expect(event.output_index).toBe(open.index)
    if (event.item_id !== undefined) expect(event.item_id).toBe(open.id)
    if (event.type.endsWith('.delta')) open.pieces += event.delta as string
    if (event.type === 'response.output_text.done') expect(event.text).toBe(open.pieces)
    if (event.type === 'response.function_call_arguments.done') expect(event.arguments).toBe(open.pieces)
    if (event.type === 'response.output_item.done') {
      expect(item?.id).toBe(open.id)
      said.push(item?.type === 'message' ? open.pieces : { [item?.name ?? '']: open.pieces })
      open = null
    }
  }
  expect(open).toBeNull()
  return said
}

const f = { f: '{"a": 1}' }
const hermes: readonly (readonly [title: string, text: string, said: readonly unknown[]])[] = [
  ['text', 'Hello there.', ['Hello there.']],
  ['nothing', '', ['']],
  ['white space', ' \n', [' \n']],
  ['white space, then text', '\n\nHello', ['\n\nHello']],
  ['a call', call, [f]],
  ['text, then a call', `I look.\n${call}`, ['I look.\n', f]],
  ['calls with line ends around', `\n${call}\n${call}\n`, [f, f]],
  ['text between calls', `${call} and ${call}`, [f, ' and ', f]],
  ['text after a call', `${call}\nDone.`, [f, '\nDone.']],
  ['what is no call', '<tool_call>nonsense</tool_call>', ['<tool_call>nonsense</tool_call>']],
  ['a call of nobody', call.replace('"f"', '"h"'), [call.replace('"f"', '"h"')]],
  ['half a call', call.slice(0, 30), [call.slice(0, 30)]],
  ['half a marker', 'a <tool', ['a <tool']],
]

describe('an answer becomes items', () => {
  test.for(hermes)('%s', ([, text, said]) => {
    for (const size of [1, 3, 7, 1000]) {
      const { events, output } = outputOf(text, size)
      expect(saidOf(output)).toEqual(said)
      expect(assembled(events)).toEqual(said)
    }
  })

  test('without tools all of it is one message, from the beginning', () => {
    const { events, output } = outputOf(`  ${call}  `, 5, null)
    expect(saidOf(output)).toEqual([`  ${call}  `])
    expect(events.slice(0, 2).map(({ type }) => type)).toEqual(['response.output_item.added', 'response.content_part.added'])
    expect(assembled(events)).toEqual([`  ${call}  `])
  })

  test.for([
    ['Llama 3', llamaTemplate, '{"name": "f", "parameters": {"a": 1}}', [f]],
    [
      'Mistral',
      mistralTemplate,
      'Look: [TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]',
      ['Look: ', f, { g: '{}' }],
    ],
  ] as const)('calls of %s', ([, template, text, said]) => {
    for (const size of [1, 4, 1000]) {
      const { events, output } = outputOf(text, size, template)
      expect(saidOf(output)).toEqual(said)
      expect(assembled(events)).toEqual(said)
    }
  })

  test('one that was cut off says so', () => {
    const output = new Output(null, undefined)
    output.begin()
    output.add('Once upon')
    expect(output.end(false).at(-1)).toMatchObject({ type: 'response.output_item.done', item: { status: 'incomplete' } })
  })

  test('no piece is longer than an event may be', () => {
    const { events } = outputOf('\u0000'.repeat(200_000), 200_000, null)
    const deltas = events.filter(({ type }) => type === 'response.output_text.delta')
    expect(deltas.length).toBeGreaterThan(2)
    for (const event of deltas) expect(JSON.stringify(event).length).toBeLessThan(1 << 20)
  })
})
