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
import { trimmed } from './rounds.ts'
import type { Figure } from './run.ts'
import { type Contest, type ContestOptions, contest } from './worker/contest.ts'
import { sizes85M, writeRandomModel } from './worker/random-model.ts'

const demoPath = fileURLToPath(new URL('../models/demo/veritee-demo-q8_0.gguf', import.meta.url))

export async function run(): Promise<Figure[]> {
  const root = await mkdtemp(join(tmpdir(), 'veritee-bench-worker-'))
  try {
    const path = join(root, 'random.gguf')
    const parameters = await writeRandomModel(path, demoPath, sizes85M, 1)
    const demo = (temperature: number, warmUp: number, rounds: number): Promise<Contest> =>
      withModel(root, demoPath, (served) =>
        contest({ served, rounds, turnsPerRound: 4, requestsPerTurn: 3, maxTokens: 64, temperature, warmUp } satisfies ContestOptions),
      )
    const cold = await demo(0, 0, 12)
    const greedy = await demo(0, 2000, 40)
    const sampled = await demo(1, 0, 40)
    // After the others, when V8 has compiled what a worker runs: this contest has few requests.
    const large = await withModel(root, path, (served) =>
      contest({ served, rounds: 16, turnsPerRound: 3, requestsPerTurn: 1, maxTokens: 48, temperature: 0 }),
    )
    const named = `random model of ${(parameters / 1e6).toFixed(0)} M parameters`
    return [
      ...figures(named, large, 'share'),
      ...figures('demo model, greedy', greedy, 'more'),
      ...figures('demo model, temperature 1', sampled, 'more'),
      // What a process pays whose code V8 has not compiled yet, without a target.
      ...figures('demo model, greedy, first 144 requests', cold, 'more').map((figure) => ({ ...figure, target: null })),
    ]
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

/**
 * Of each round, what the worker takes to what the engine alone does, and of these the mean without the tenth at either end: what else the machine does falls
 * on both contestants of a round, and a round that was disturbed all the same does not count. How far the mean may be off by chance stands beside it.
 */
function figures(name: string, { alone, worker }: Contest, limit: 'share' | 'more'): Figure[] {
  const later = median(worker.firstMs) - median(alone.firstMs)
  const pairs = alone.rounds.map((a, i) => ({ a, w: worker.rounds[i] ?? a }))
  const more = trimmed(pairs.map(({ a, w }) => w.cpuUs - a.cpuUs))
  const share = trimmed(pairs.map(({ a, w }) => a.cpuUs / w.cpuUs))
  return [
    { name: `${name}: engine alone`, value: median(alone.rounds.map(({ cpuUs }) => cpuUs)), unit: 'CPU us/token', target: null },
    { name: `${name}: through the worker`, value: median(worker.rounds.map(({ cpuUs }) => cpuUs)), unit: 'CPU us/token', target: null },
    { name: `${name}: share of the engine alone`, value: share.mean, unit: 'ratio', target: limit === 'share' ? 0.97 : null },
    { name: `${name}: share, give or take (95 %)`, value: share.within, unit: 'ratio', target: null },
    { name: `${name}: more than the engine alone`, value: more.mean, unit: 'CPU us/token', target: null },
    { name: `${name}: more, give or take (95 %)`, value: more.within, unit: 'CPU us/token', target: null },
    // A target is a lower bound, so a bound from above is written as its share.
    ...(limit === 'more' ? [{ name: `${name}: 60 us over it`, value: 60 / Math.max(more.mean, 0.1), unit: 'ratio', target: 1 }] : []),
    {
      name: `${name}: by the clock, share of the engine alone`,
      value: trimmed(pairs.map(({ a, w }) => a.wallUs / w.wallUs)).mean,
      unit: 'ratio',
      target: null,
    },
    { name: `${name}: first token later by`, value: later, unit: 'ms', target: null },
    { name: `${name}: 5 ms over it`, value: 5 / Math.max(later, 0.01), unit: 'ratio', target: 1 },
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
