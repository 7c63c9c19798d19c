import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromUtf8, sha256Digest, utf8 } from 'veritee/bytes'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadChatTemplate } from '../../src/enclave/worker/engine/index.ts'
import { type ServedModel, serveModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, openReplayModel, type ReplayModel, type ReplayReport } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { hermesTemplate, llamaTemplate, mistralTemplate } from '../engine/scripted.ts'
import { withOtherTensor } from './dequantize.ts'
import { exchangeWithReport, passedOff, replayed, serveFile, withEvent } from './worker.ts'

let folder: string
let served: ServedModel
let other: ServedModel
let model: ReplayModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-replay-endpoints-'))
  const path = join(folder, 'other.gguf')
  writeFileSync(path, withOtherTensor(readFileSync(demoPath), 'blk.0.ffn_down.weight'))
  served = await serveFile()
  other = await serveFile(path)
  model = await openReplayModel(demoPath, 1024)
}, 60_000)
afterAll(async () => {
  for (const { engine } of [served, other, model]) await engine.dispose()
  rmSync(folder, { recursive: true, force: true })
})

/** Edits the response, and the digest that the worker signs over it. */
async function withResponse(record: ExchangeRecord, edit: (text: string) => string): Promise<ExchangeRecord> {
  const response = utf8(edit(fromUtf8(record.response)))
  const hash = await sha256Digest(response)
  return withEvent({ ...record, response }, 'response.returned', (event) => ({ ...event, body_hash: hash }))
}

function expectPass(report: ReplayReport): void {
  expect(report).toMatchObject({ verdict: 'pass', level: 1, reason: null, signature: 'valid', position: null })
  expect(report.tokens?.equal).toBe(report.tokens?.total)
  for (const { id, status } of report.checks) expect([id, status]).toEqual([id, 'pass'])
}

describe('text completions', () => {
  const path = '/v1/completions'
  const hot = { prompt: 'Once upon a time', temperature: 1.5, seed: 7, max_tokens: 40 }
  const complete = async (members: object, by: ServedModel = served): Promise<ExchangeRecord> =>
    (await exchangeWithReport(by, { ...members }, path)).record

  test.for([
    ['greedy, of the default length', { prompt: 'The capital of Japan is', temperature: 0 }],
    ['sampled', hot],
    ['with logprobs, whose tokens have names only', { ...hot, logprobs: 2 }],
    ['streamed, with logprobs', { ...hot, stream: true, logprobs: 0 }],
    ['of token ids, a control token among them', { ...hot, prompt: [1, 300, 301, 302] }],
    ['three, streamed', { ...hot, n: 3, stream: true }],
    ['held to a choice', { ...hot, guided_choice: ['yes', 'no'] }],
  ] as const)('%s', async ([, members]) => {
    expectPass(await replayed(await complete(members), model))
  })

  test('S23: another model under the right hash is found, with its position', async () => {
    const report = await replayed(await complete({ ...hot, logprobs: 0 }, passedOff(other, served)), model)
    expect(report).toMatchObject({ verdict: 'fail', reason: 'token_differs', signature: 'valid', position: expect.any(Number) })
  })

  test('another text than the tokens write', async () => {
    const lied = await withResponse(await complete(hot), (text) => text.replace('"text":"', '"text":"No! '))
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail' })
    const body = await withResponse(await complete(hot), () => '{"choices":[{"index":0,"message":{"content":"x"}}]}')
    expect(await replayed(body, model)).toMatchObject({ verdict: 'fail' })
    const names = await withResponse(await complete(hot), () => '{"choices":[{"index":0,"text":"x","logprobs":{"tokens":[1]}}]}')
    expect(await replayed(names, model)).toMatchObject({ verdict: 'fail', reason: 'text_differs' })
  })

  test('a request that this version does not take, and another endpoint, show nothing', async () => {
    const record = await complete(hot)
    const request = utf8(JSON.stringify({ model: served.name, ...hot, suffix: 'x' }))
    const hash = await sha256Digest(request)
    const unknown = withEvent({ ...record, request }, 'request.received', (event) => ({ ...event, body_hash: hash }))
    expect(await replayed(unknown, model)).toMatchObject({ verdict: 'inconclusive', reason: 'request_unknown' })
    const receipt = JSON.stringify({ ...(JSON.parse(record.receipt) as object), endpoint: '/v1/embeddings' })
    expect(await replayed({ ...record, receipt, signer: null }, model)).toMatchObject({ verdict: 'inconclusive', reason: 'request_unknown' })
  })
})

describe('answers held to a form', () => {
  const schema = { type: 'object', properties: { a: { type: 'string', maxLength: 6 }, b: { type: 'boolean' } }, required: ['a', 'b'] }
  test.for([
    ['a JSON Schema, two answers', { response_format: { type: 'json_schema', json_schema: { name: 's', strict: true, schema } }, n: 2 }],
    ['a grammar, streamed', { guided_grammar: 'root ::= [a-z]+ " " [0-9]', stream: true }],
  ] as const)('%s', async ([, members]) => {
    const asked = { messages: [{ role: 'user', content: 'Hello!' }], temperature: 1.2, seed: 3, max_tokens: 60, ...members }
    expectPass(await replayed((await exchangeWithReport(served, asked)).record, model))
  })
})

describe('answers that may call tools', () => {
  const weather = {
    type: 'function',
    function: {
      name: 'weather',
      parameters: { type: 'object', properties: { place: { type: 'string', maxLength: 4 } }, required: ['place'], additionalProperties: false },
    },
  }
  // One call: under a form each token looks at the whole vocabulary. Which tokens are drawn, and how many a call takes, is not the same on every CPU.
  const asked = {
    messages: [{ role: 'user', content: 'How is it in Rome?' }],
    temperature: 1.2,
    seed: 5,
    max_tokens: 120,
    tools: [weather],
    parallel_tool_calls: false,
  }

  /** The demo model under a template with tools, which it has in its file on neither side. */
  function under(text: string): { worker: ServedModel; verifier: ReplayModel; liar: ServedModel } {
    const worker = serveModel(served.name, 'model.gguf', served.engine, loadChatTemplate(text, served.engine.vocabulary))
    return { worker, verifier: { ...model, template: loadChatTemplate(text, model.engine.vocabulary) }, liar: passedOff(other, worker) }
  }

  test.for([
    ['required, several', hermesTemplate, { tool_choice: 'required', parallel_tool_calls: true }],
    ['required, one at a time, streamed', hermesTemplate, { tool_choice: 'required', stream: true }],
    [
      'by name, two answers, streamed with logprobs',
      hermesTemplate,
      { tool_choice: { type: 'function', function: { name: 'weather' } }, n: 2, stream: true, logprobs: true },
    ],
    ['with logprobs', hermesTemplate, { tool_choice: 'required', logprobs: true }],
    ['left to the model, which calls none', hermesTemplate, {}],
    ['strict, left to the model', hermesTemplate, { tools: [{ ...weather, function: { ...weather.function, strict: true } }] }],
    ['cut off within a call', hermesTemplate, { tool_choice: 'required', max_tokens: 14 }],
    ['of Llama 3', llamaTemplate, { tool_choice: 'required' }],
    ['of Mistral', mistralTemplate, { tool_choice: 'required', stream: true }],
  ] as const)('%s', async ([, template, members]) => {
    const { worker, verifier } = under(template)
    const { record } = await exchangeWithReport(worker, { ...asked, ...members })
    if ('tool_choice' in members && !('max_tokens' in members)) expect(fromUtf8(record.response)).toContain('tool_calls')
    expectPass(await replayed(record, verifier))
  })

  test('S23: another model under the right hash is found, with its position', async () => {
    const { verifier, liar } = under(hermesTemplate)
    const { record } = await exchangeWithReport(liar, { ...asked, temperature: 2, tool_choice: 'required', logprobs: true })
    const report = await replayed(record, verifier)
    expect(report).toMatchObject({ verdict: 'fail', reason: 'token_differs', signature: 'valid', position: expect.any(Number) })
  })

  test('a call that says something else than the tokens write, and one more', async () => {
    const { worker, verifier } = under(hermesTemplate)
    const { record } = await exchangeWithReport(worker, { ...asked, temperature: 0, tool_choice: 'required', logprobs: true })
    const edits: [reason: string, (message: { tool_calls: { function: { arguments: string } }[] }) => void][] = [
      ['text_differs', ({ tool_calls: [call] }) => Object.assign(call?.function ?? {}, { arguments: '{"place": "Oslo"}' })],
      ['text_differs', ({ tool_calls: [call] }) => Object.assign(call?.function ?? {}, { name: 'clock' })],
      ['text_differs', ({ tool_calls: calls }) => calls.push(...calls)],
      // Without calls the whole text is told.
      ['token_differs', (message) => Object.assign(message, { tool_calls: [], content: 'No.' })],
    ]
    for (const [reason, edit] of edits) {
      const lied = await withResponse(record, (text) => {
        const body = JSON.parse(text) as { choices: [{ message: { tool_calls: { function: { arguments: string } }[] } }] }
        edit(body.choices[0].message)
        return JSON.stringify(body)
      })
      expect(await replayed(lied, verifier)).toMatchObject({ verdict: 'fail', reason })
    }
  })

  test.for([
    ['calls that are no list', '{"tool_calls":1}'],
    ['a call without a function', '{"tool_calls":[{}]}'],
    ['a call without a name', '{"tool_calls":[{"function":{"arguments":"{}"}}]}'],
    ['arguments that are no text', '{"tool_calls":[{"function":{"name":"weather","arguments":{}}}]}'],
  ] as const)('%s', async ([, message]) => {
    const { worker, verifier } = under(hermesTemplate)
    const { record } = await exchangeWithReport(worker, { ...asked, max_tokens: 2 })
    const lied = await withResponse(record, () => `{"choices":[{"index":0,"message":${message}}]}`)
    expect(await replayed(lied, verifier)).toMatchObject({ verdict: 'fail', reason: 'text_differs' })
  })

  test('S6: without the receipt key equal calls do not make equal tokens', async () => {
    const { worker, verifier } = under(hermesTemplate)
    const { record } = await exchangeWithReport(worker, { ...asked, tool_choice: 'required' })
    expect(await replayed({ ...record, receiptKey: null }, verifier)).toMatchObject({ verdict: 'inconclusive', reason: 'key_missing' })
  })
})
