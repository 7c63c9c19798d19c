// What proof costs a worker: the engine alone, and the same engine behind HTTP, TLS and receipts, serving a sealed model. Both take turns in this process
// on the same prompts; the requester is another process, whose time does not count. See contest.ts for what is measured.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { loadSealedModel } from '../packages/services/src/enclave/worker/load-sealed.ts'
import type { ServedModel } from '../packages/services/src/enclave/worker/served-model.ts'
import { sealModel } from '../packages/services/src/models/sealing/seal.ts'
import type { Figure } from './run.ts'
import { type Contest, type ContestOptions, contest } from './worker/contest.ts'
import { sizes85M, writeRandomModel } from './worker/random-model.ts'

const demoPath = fileURLToPath(new URL('../models/demo/veritee-demo-q8_0.gguf', import.meta.url))

export async function run(): Promise<Figure[]> {
  const root = await mkdtemp(join(tmpdir(), 'veritee-bench-worker-'))
  try {
    const path = join(root, 'random.gguf')
    const parameters = await writeRandomModel(path, demoPath, sizes85M, 1)
    const demo = (temperature: number): Promise<Contest> =>
      withModel(root, demoPath, (served) =>
        contest({ served, rounds: 12, requestsPerRound: 12, maxTokens: 64, temperature } satisfies ContestOptions),
      )
    const greedy = await demo(0)
    const sampled = await demo(1)
    // After the others, when V8 has compiled what a worker runs: this contest has few requests, and its first ones would pay for that.
    const large = await withModel(root, path, (served) => contest({ served, rounds: 8, requestsPerRound: 3, maxTokens: 48, temperature: 0 }))
    const named = `random model of ${(parameters / 1e6).toFixed(0)} M parameters`
    return [
      ...figures(named, large, (perToken) => [
        { name: `${named}: share of the engine alone`, value: perToken.alone / perToken.worker, unit: 'ratio', target: 0.97 },
      ]),
      ...figures('demo model, greedy', greedy, overhead('demo model, greedy', 60)),
      ...figures('demo model, temperature 1', sampled, overhead('demo model, temperature 1', 60)),
    ]
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

type PerToken = { readonly alone: number; readonly worker: number }

function figures(name: string, { alone, worker }: Contest, more: (perToken: PerToken) => Figure[]): Figure[] {
  const perToken = { alone: (alone.cpuMs * 1000) / alone.tokens, worker: (worker.cpuMs * 1000) / worker.tokens }
  const later = median(worker.firstMs) - median(alone.firstMs)
  return [
    { name: `${name}: engine alone`, value: perToken.alone, unit: 'CPU us/token', target: null },
    { name: `${name}: through the worker`, value: perToken.worker, unit: 'CPU us/token', target: null },
    ...more(perToken),
    {
      name: `${name}: by the clock, share of the engine alone`,
      value: alone.wallMs / alone.tokens / (worker.wallMs / worker.tokens),
      unit: 'ratio',
      target: null,
    },
    { name: `${name}: first token later by`, value: later, unit: 'ms', target: null },
    // A target is a lower bound, so a bound from above is written as its share.
    { name: `${name}: 5 ms over it`, value: 5 / Math.max(later, 0.01), unit: 'ratio', target: 1 },
  ]
}

function overhead(name: string, mostUs: number): (perToken: PerToken) => Figure[] {
  return ({ alone, worker }) => [
    { name: `${name}: more than the engine alone`, value: worker - alone, unit: 'CPU us/token', target: null },
    { name: `${name}: ${mostUs} us over it`, value: mostUs / Math.max(worker - alone, 0.1), unit: 'ratio', target: 1 },
  ]
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Seals a model, loads it as a worker does, and frees it afterwards. */
async function withModel<T>(root: string, path: string, use: (served: ServedModel) => Promise<T>): Promise<T> {
  const publisher = await generateEd25519()
  const modelKey = new Uint8Array(randomBytes(32))
  const directory = join(root, `sealed-${toHex(randomBytes(4))}`)
  await sealModel({
    files: [path],
    out: directory,
    name: basename(path, '.gguf'),
    modelVersion: 1,
    keyId: 'models/bench/1',
    modelKey,
    publisher,
    chatTemplateDigest: null,
    licence: null,
    created: 0,
  })
  const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
  const served = await loadSealedModel({ path: directory, trust, requestKey: () => Promise.resolve(modelKey.slice()) })
  try {
    return await use(served)
  } finally {
    await served.engine.dispose()
    await rm(directory, { recursive: true })
  }
}
