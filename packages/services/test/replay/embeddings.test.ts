import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromUtf8, sha256Digest, utf8 } from 'veritee/bytes'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, openReplayModel, type ReplayModel, replayFile } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { withOtherTensor } from './dequantize.ts'
import { exchangeWithReport, replayed, serveFile, statusOf, withEvent } from './worker.ts'

const path = '/v1/embeddings'
let folder: string
let otherPath: string
let served: ServedModel
let model: ReplayModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-replay-embeddings-'))
  otherPath = join(folder, 'other.gguf')
  writeFileSync(otherPath, withOtherTensor(readFileSync(demoPath), 'blk.0.ffn_down.weight'))
  served = await serveFile()
  model = await openReplayModel(demoPath, 1024)
}, 60_000)
afterAll(async () => {
  for (const { engine } of [served, model]) await engine.dispose()
  rmSync(folder, { recursive: true, force: true })
})

const embed = async (members: object, by: ServedModel = served): Promise<ExchangeRecord> =>
  (await exchangeWithReport(by, { ...members }, path)).record

async function withResponse(record: ExchangeRecord, edit: (text: string) => string): Promise<ExchangeRecord> {
  const response = utf8(edit(fromUtf8(record.response)))
  const hash = await sha256Digest(response)
  return withEvent({ ...record, response }, 'response.returned', (event) => ({ ...event, body_hash: hash }))
}

/** Of every length around that of a batch, and some others. */
const lengths = [1, 2, 16, 29, 30, 31, 32, 33, 34, 63, 64, 65, 97, 130]
const tokens = (length: number): number[] => Array.from({ length }, (_, i) => 300 + ((i * 7919 + length) % 200))

describe('vectors are made again bit by bit', () => {
  test.for([
    ['of one text', { input: 'The capital of Japan is' }],
    ['of texts, in base64', { input: ['a dragon named Ruby', 'x', 'déjà vu 東京 🙂'], encoding_format: 'base64' }],
    ['of token ids of all lengths', { input: lengths.map(tokens), encoding_format: 'base64' }],
    ['of token ids of all lengths, as numbers', { input: lengths.slice(0, 8).map(tokens), user: 'ignored' }],
  ] as const)('%s', async ([, members]) => {
    const report = await replayed(await embed(members), model)
    expect(report).toMatchObject({ verdict: 'pass', level: 1, reason: null, signature: 'valid', choice: null, position: null, tokens: null })
    for (const { id, status } of report.checks) expect([id, status]).toEqual([id, 'pass'])
    expect(report.checks.map(({ id }) => id)).toContain('replay.vectors')
  })

  test('with a model of its own, in a context as small as the texts allow', async () => {
    const report = await replayFile(await embed({ input: tokens(70) }), demoPath)
    expect(report).toMatchObject({ verdict: 'pass', level: 1 })
  })

  test('S5: texts that fit the context of the worker and not the one here show nothing', async () => {
    const small = await openReplayModel(demoPath, 64)
    try {
      for (const input of ['a dragon named Ruby '.repeat(40), tokens(70), [tokens(3), tokens(63)]])
        expect(await replayed(await embed({ input }), small)).toMatchObject({
          verdict: 'inconclusive',
          reason: 'request_unknown',
          signature: 'valid',
        })
    } finally {
      await small.engine.dispose()
    }
  })

  test('beside answers under way, and in another order: the same bits', async () => {
    const some = [1, 31, 32, 33, 65]
    const alone: Float32Array[] = []
    for (const length of some) alone.push((await served.engine.embed(tokens(length))).vector)
    let done = false
    const sampling = { temperature: 1, topK: 40, topP: 1, minP: 0 }
    const busy = [1, 2].map(async (seed) => {
      while (!done) for await (const _ of served.engine.generate({ promptTokens: [1, 397], maxTokens: 20, sampling, seed: Uint8Array.of(seed) }));
    })
    try {
      for (const [i, length] of [...some.entries()].reverse())
        expect((await served.engine.embed(tokens(length))).vector, `${length}`).toEqual(alone[i])
    } finally {
      done = true
      await Promise.all(busy)
    }
  })
})

describe('what does not follow is found', () => {
  const asked = { input: ['one text', 'another text'], encoding_format: 'float' }

  test('S23: the vectors of another model under the right hash', async () => {
    const other = await serveFile(otherPath)
    try {
      const { engine } = other
      const lying = { ...served, engine: { ...served.engine, facts: served.engine.facts, model: served.engine.model, vocabulary: engine.vocabulary } }
      Object.assign(lying.engine, { embed: (given: readonly number[]) => engine.embed(given) })
      expect(await replayed(await embed(asked, lying as ServedModel), model)).toMatchObject({ verdict: 'fail', reason: 'vectors_differ', choice: 0 })
    } finally {
      await other.engine.dispose()
    }
  })

  test('one number of the second vector changed', async () => {
    const lied = await withResponse(await embed(asked), (text) => {
      const body = JSON.parse(text) as { data: { embedding: number[] }[] }
      const vector = (body.data[1] as { embedding: number[] }).embedding
      vector[3] = Math.fround((vector[3] as number) * (1 + 2 ** -20))
      return JSON.stringify(body)
    })
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail', reason: 'vectors_differ', choice: 1 })
  })

  test.for([
    ['another digest of the vectors', 'vectors_hmac', 'ab'.repeat(32), 'vectors_differ'],
    ['another number of dimensions', 'dimensions', 3, 'parameters_differ'],
    ['another encoding', 'encoding_format', 'base64', 'parameters_differ'],
    ['another number of inputs', 'inputs', 3, 'parameters_differ'],
  ] as const)('%s in the receipt', async ([, name, value, reason]) => {
    const lied = withEvent(await embed(asked), 'veritee.inference', (event) => ({
      ...event,
      parameters: { ...(event.parameters as object), [name]: value },
    }))
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail', reason })
  })

  test.for([
    ['tokens counted otherwise', { prompt_tokens: 3 }, 'fail', 'prompt_differs'],
    ['a digest of other tokens', { prompt_tokens_hmac: 'ab'.repeat(32) }, 'fail', 'prompt_differs'],
    ['called tolerant to hide from this', { profile: 'tolerant' }, 'fail', 'profile_differs'],
    ['a failure', { outcome: 'error' }, 'inconclusive', 'no_answer'],
  ] as const)('%s', async ([, members, verdict, reason]) => {
    const changed = withEvent(await embed(asked), 'veritee.inference', (event) => ({ ...event, ...members }))
    expect(await replayed(changed, model)).toMatchObject({ verdict, reason })
  })

  test.for([['no JSON'], ['{}'], ['{"data":[]}'], ['{"data":[{"index":0,"embedding":"AAAA"},{"index":1,"embedding":[]}]}']] as const)(
    'a response that is none: %s',
    async ([body]) => {
      const lied = await withResponse(await embed(asked), () => body)
      expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail', reason: 'vectors_differ' })
    },
  )

  test('without the receipt key the vectors are compared, and nothing is passed', async () => {
    const report = await replayed({ ...(await embed(asked)), receiptKey: null }, model)
    expect(report).toMatchObject({ verdict: 'inconclusive', reason: 'key_missing' })
    expect(statusOf(report, 'replay.prompt')).toBe('waived')
  })
})
