import { fromUtf8, sha256Digest, utf8 } from 'veritee/bytes'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadChatTemplate } from '../../src/enclave/worker/engine/index.ts'
import { type ServedModel, serveModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, openReplayModel, type ReplayModel } from '../../src/replay/index.ts'
import { parseResponse } from '../../src/replay/response.ts'
import { demoPath } from '../engine/demo.ts'
import { hermesTemplate } from '../engine/scripted.ts'
import { exchangeWithReport, replayed, serveFile, withEvent } from './worker.ts'

let served: ServedModel
let model: ReplayModel
beforeAll(async () => {
  served = await serveFile()
  model = await openReplayModel(demoPath, 1024)
}, 60_000)
afterAll(async () => {
  for (const { engine } of [served, model]) await engine.dispose()
})

const hot = { input: 'Tell me a story about a fox.', temperature: 1.5, seed: 7, max_output_tokens: 24 }
const asked = async (members: object, by: ServedModel = served): Promise<ExchangeRecord> =>
  (await exchangeWithReport(by, { ...members }, '/v1/responses')).record

const weather = {
  type: 'function',
  name: 'weather',
  parameters: { type: 'object', properties: { place: { type: 'string', maxLength: 4 } }, required: ['place'], additionalProperties: false },
}
const calls = { input: 'How is it in Rome?', temperature: 1.2, seed: 5, max_output_tokens: 120, tools: [weather], tool_choice: 'required' }

/** The demo model under a template with tools, on both sides. */
function withTools(): { worker: ServedModel; verifier: ReplayModel } {
  const worker = serveModel(served.name, 'model.gguf', served.engine, loadChatTemplate(hermesTemplate, served.engine.vocabulary))
  return { worker, verifier: { ...model, template: loadChatTemplate(hermesTemplate, model.engine.vocabulary) } }
}

async function edited(record: ExchangeRecord, edit: (text: string) => string): Promise<ExchangeRecord> {
  const response = utf8(edit(fromUtf8(record.response)))
  const hash = await sha256Digest(response)
  return withEvent({ ...record, response }, 'response.returned', (event) => ({ ...event, body_hash: hash }))
}

describe('S23: answers of /v1/responses are run again, every token equal', () => {
  test.for([
    ['greedy', { input: 'what is the capital of japan', temperature: 0 }],
    ['sampled, cut off, under instructions', { ...hot, instructions: 'Tell it well.' }],
    ['streamed', { ...hot, stream: true }],
    ['with logprobs', { ...hot, include: ['message.output_text.logprobs'], top_logprobs: 2 }],
    ['streamed with logprobs', { ...hot, stream: true, include: ['message.output_text.logprobs'] }],
    ['held to a form', { ...hot, text: { format: { type: 'json_schema', name: 'n', schema: { type: 'boolean' } } } }],
  ] as const)('%s', async ([, members]) => {
    const report = await replayed(await asked(members), model)
    expect(report).toMatchObject({ verdict: 'pass', level: 1, reason: null, signature: 'valid' })
    expect(report.tokens?.equal).toBe(report.tokens?.total)
  })

  test.for([false, true])('calls, streamed: %s', async (stream) => {
    const { worker, verifier } = withTools()
    const record = await asked({ ...calls, stream }, worker)
    expect(fromUtf8(record.response)).toContain('function_call')
    expect(await replayed(record, verifier)).toMatchObject({ verdict: 'pass', level: 1 })
  })
})

describe('an answer that says something else than its tokens', () => {
  test('plain', async () => {
    const lied = await edited(await asked(hot), (text) => text.replace('"text":"', '"text":"No! '))
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail' })
    const whole = await edited(await asked(hot), (text) => text.replace('"status":"incomplete"', '"status":"completed"'))
    expect(await replayed(whole, model)).toMatchObject({ verdict: 'fail', reason: 'outcome_differs' })
  })

  test.for([
    ['a piece', 'response.output_text.delta', '"delta":"', '"delta":"x'],
    ['the done text', 'response.output_text.done', '"text":"', '"text":"x'],
    ['the done part', 'response.content_part.done', '"text":"', '"text":"x'],
    ['the done item', 'response.output_item.done', '"text":"', '"text":"x'],
    ['the last event', 'response.incomplete', '"text":"', '"text":"x'],
  ] as const)('streamed, in %s only', async ([, type, from, to]) => {
    const lied = await edited(await asked({ ...hot, stream: true }), (text) => {
      const at = text.indexOf(`event: ${type}\n`)
      expect(at).toBeGreaterThan(-1)
      return text.slice(0, at) + text.slice(at).replace(from, to)
    })
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail', reason: 'text_differs' })
  })

  test('a call of another place', async () => {
    const { worker, verifier } = withTools()
    const lied = await edited(await asked(calls, worker), (text) => text.replace('"name":"weather","arguments"', '"name":"clock","arguments"'))
    expect(await replayed(lied, verifier)).toMatchObject({ verdict: 'fail' })
  })
})

describe('hostile answers', () => {
  const item = '{"type":"message","content":[{"text":"x"}]}'
  const event = (type: string, rest: string): string => `event: ${type}\ndata: {"type":"${type}",${rest}}\n\n`
  test.for<readonly [title: string, body: string, streamed: boolean]>([
    ['no items', '{}', false],
    ['items that are an object', '{"output":{}}', false],
    ['an item that is null', '{"output":[null]}', false],
    ['another kind of item', '{"output":[{"type":"reasoning"}]}', false],
    ['a text that is a number', '{"output":[{"type":"message","content":[{"text":1}]}]}', false],
    ['arguments that are an object', '{"output":[{"type":"function_call","name":"f","arguments":{}}]}', false],
    ['a token without bytes', '{"output":[{"type":"message","content":[{"text":"x","logprobs":[{"token":"x"}]}]}]}', false],
    ['a piece of no item', event('response.output_text.delta', '"output_index":0,"delta":"x"'), true],
    ['items out of order', event('response.output_item.added', `"output_index":1,"item":${item}`), true],
    [
      'arguments of a message',
      event('response.output_item.added', `"output_index":0,"item":${item}`) +
        event('response.function_call_arguments.delta', '"output_index":0,"delta":"x"'),
      true,
    ],
    ['a last event of nothing', event('response.completed', '"response":null'), true],
  ])('%s', ([, body, streamed]) => {
    expect(() => parseResponse(utf8(body), streamed)).toThrow(TypeError)
  })

  test('one that broke off is told as far as it came', () => {
    const body =
      event('response.output_item.added', '"output_index":0,"item":{"type":"message","content":[]}') +
      event('response.output_text.delta', '"output_index":0,"delta":"x"')
    expect(parseResponse(utf8(`: comment\n\n${body}`), true)).toEqual({ text: 'x', calls: [], finishReason: null, tokens: null })
  })
})
