// What it costs to run the engine in a process of its own: CPU time per token of worker and engine together against the engine in this process, on the
// demo model, in alternating rounds. The smaller the model, the larger the share; per token it is the same for every model.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Engine, openLlamaEngine } from '../packages/services/src/enclave/worker/engine/index.ts'
import { openEngineProcess } from '../packages/services/src/engine-process/index.ts'
import type { Figure } from './run.ts'

const path = fileURLToPath(new URL('../models/demo/veritee-demo-q8_0.gguf', import.meta.url))
const rounds = 8
const answersPerRound = 40
/** Of the clock in /proc, USER_HZ on every Linux. */
const microsecondsPerTick = 10_000

export async function run(): Promise<Figure[]> {
  const own = await openLlamaEngine({ path })
  const apart = await openEngineProcess({ path })
  try {
    const figures: Figure[] = []
    for (const streams of [1, 4]) {
      const [here, worker, process] = [new Sum(), new Sum(), new Sum()]
      for (let round = 0; round <= rounds; round++) {
        const first = await spend(own, null, streams)
        const second = await spend(apart, apart.pid, streams)
        // The first warms up.
        if (round === 0) continue
        here.add(first.here, first.tokens)
        worker.add(second.here, second.tokens)
        process.add(second.there, second.tokens)
      }
      const unit = 'us/token'
      const label = streams === 1 ? 'one stream' : `${streams} streams`
      figures.push(
        { name: `${label}: engine in this process, CPU`, value: here.mean, unit, target: null },
        { name: `${label}: worker with an engine process, CPU`, value: worker.mean, unit, target: null },
        { name: `${label}: that engine process, CPU`, value: process.mean, unit, target: null },
        { name: `${label}: added by the process`, value: worker.mean + process.mean - here.mean, unit, target: null },
        {
          name: `${label}: tokens per CPU second, share of in process`,
          value: here.mean / (worker.mean + process.mean),
          unit: 'ratio',
          target: null,
        },
      )
    }
    figures.push(questions('in this process', own), questions('in an engine process', apart))
    return figures
  } finally {
    await own.dispose()
    await apart.dispose()
  }
}

class Sum {
  #microseconds = 0
  #tokens = 0
  add(microseconds: number, tokens: number): void {
    this.#microseconds += microseconds
    this.#tokens += tokens
  }
  get mean(): number {
    return this.#microseconds / this.#tokens
  }
}

async function spend(engine: Engine, pid: number | null, streams: number): Promise<{ tokens: number; here: number; there: number }> {
  const sampling = { temperature: 1, topK: 40, topP: 1, minP: 0 }
  const promptTokens = [1, ...engine.vocabulary.encode('Tell me a story about a dragon named Ruby.')]
  let tokens = 0
  let next = 0
  const [before, start] = [pid === null ? 0 : cpuOf(pid), process.cpuUsage()]
  const stream = async (): Promise<void> => {
    for (let seed = next++; seed < answersPerRound; seed = next++)
      for await (const _ of engine.generate({ promptTokens, maxTokens: 100, sampling, seed: Uint8Array.of(seed) })) tokens++
  }
  await Promise.all(Array.from({ length: streams }, stream))
  const { user, system } = process.cpuUsage(start)
  return { tokens, here: user + system, there: pid === null ? 0 : cpuOf(pid) - before }
}

/** User and system time of another process, of all its threads. */
function cpuOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name in parentheses may hold spaces; after it, the 12th and 13th field.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * microsecondsPerTick
}

/** The event loop of the worker stands still for so long. */
function questions(where: string, engine: Engine): Figure {
  const times = Array.from({ length: 500 }, (_, i) => {
    const start = performance.now()
    engine.vocabulary.encode(`Once upon a time there was a dragon named Ruby, who had ${i} friends.`)
    return performance.now() - start
  }).sort((a, b) => a - b)
  return { name: `tokens of a sentence ${where}, median`, value: (times[times.length >> 1] ?? Number.NaN) * 1000, unit: 'us', target: null }
}
