import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromUtf8 } from 'veritee/bytes'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, openReplayModel, type ReplayModel } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { dequantize, withOtherTensor } from './dequantize.ts'
import { exchange, passedOff, replayed, serveFile } from './worker.ts'

// Workers that sign, with keys of their own, receipts which name the demo model by its right hash, while another model of the same tokenizer runs.
let folder: string
let served: ServedModel
let others: ReadonlyMap<string, ServedModel>
let model: ReplayModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-another-model-'))
  const demo = readFileSync(demoPath)
  const serve = async (name: string, bytes: Buffer): Promise<[string, ServedModel]> => {
    const path = join(folder, `${name}.gguf`)
    writeFileSync(path, bytes)
    return [name, await serveFile(path)]
  }
  served = await serveFile()
  others = new Map([
    await serve('one tensor changed in the lowest bits', withOtherTensor(demo, 'blk.0.ffn_down.weight')),
    await serve('the same weights as F32, called canonical', dequantize(demo)),
  ])
  model = await openReplayModel(demoPath, 512)
}, 60_000)
afterAll(async () => {
  for (const { engine } of [served, model, ...others.values()]) await engine.dispose()
  rmSync(folder, { recursive: true, force: true })
})

const asked = { temperature: 1.5, seed: 7, max_tokens: 80, logprobs: true }

/** Where two answers part: up to there both models had the same text before them. */
function parting(a: ExchangeRecord, b: ExchangeRecord): number {
  const tokens = ({ response }: ExchangeRecord): string[] =>
    (JSON.parse(fromUtf8(response)) as { choices: [{ logprobs: { content: { bytes: number[] }[] } }] }).choices[0].logprobs.content.map(({ bytes }) =>
      bytes.join(),
    )
  const other = tokens(b)
  return tokens(a).findIndex((token, i) => token !== other[i])
}

test.for(['one tensor changed in the lowest bits', 'the same weights as F32, called canonical'])(
  'S23: %s: the weights hash is right, the signature valid, and the token at which the models part is named',
  async (name) => {
    const honest = await exchange(served, asked)
    const lied = await exchange(passedOff(others.get(name) as ServedModel, served), asked)
    const position = parting(honest, lied)
    expect(position).toBeGreaterThanOrEqual(0)
    const report = await replayed(lied, model)
    expect(report).toMatchObject({ verdict: 'fail', level: 1, reason: 'token_differs', signature: 'valid', choice: 0, position })
    const passed = report.checks.filter(({ status }) => status === 'pass').map(({ id }) => id)
    expect(passed).toEqual(expect.arrayContaining(['replay.weights', 'replay.engine', 'replay.prompt', 'replay.parameters']))
    expect(await replayed(honest, model)).toMatchObject({ verdict: 'pass', signature: 'valid' })
  },
)
