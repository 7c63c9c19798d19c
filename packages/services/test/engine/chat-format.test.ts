import { expect, test } from 'vitest'
import { chatShape } from '../../src/enclave/worker/chat-format.ts'
import { CallReader, type Completion, parseChatRequest } from '../../src/enclave/worker/engine/index.ts'
import { toolFormatOf } from '../../src/enclave/worker/engine/tools/tool-format.ts'
import { hermesTemplate } from './scripted.ts'

const maxEventBytes = 1_048_576

test('a long call, and long text that was none, go out in events below the bound of a stream, and add up', () => {
  const format = toolFormatOf(hermesTemplate)
  if (format === null) throw new Error('no format')
  const request = parseChatRequest({ model: 'm', messages: [{ role: 'user', content: 'x' }] })
  const tools = { format, newReader: () => new CallReader(format, ['f']) }
  const shape = chatShape({ id: 'chatcmpl-1', created: 1, model: 'm' }, request, { tools } as unknown as Completion)
  const argument = `{"a": "${'\u{1f642}'.repeat(100_001)}"}`
  const rest = `<tool_call>${'\u0001'.repeat(200_000)}`
  const events = [
    ...shape.delta({ choice: 0, text: `<tool_call>{"name": "f", "arguments": ${argument}}</tool_call>${rest}` }),
    ...shape.last({ choices: [{ finishReason: 'stop' }] } as never),
  ]
  const deltas = events.flatMap(
    (event) => (event as { choices: { delta: { content?: string; tool_calls?: { function: { arguments: string } }[] } }[] }).choices,
  )
  expect(Math.max(...events.map((event) => Buffer.byteLength(JSON.stringify(event))))).toBeLessThan(maxEventBytes)
  expect(deltas.map(({ delta }) => delta.tool_calls?.[0]?.function.arguments ?? '').join('')).toBe(argument)
  expect(deltas.map(({ delta }) => delta.content ?? '').join('')).toBe(rest)
  for (const { delta } of deltas) expect((delta.tool_calls?.[0]?.function.arguments ?? '').isWellFormed()).toBe(true)
})
