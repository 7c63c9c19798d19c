// What choosing a worker costs, from the request at hand to the hold on a worker and back: CPU time, for few workers and for many, in alternating rounds of one process.
import { Router, type Wanted } from '../packages/services/src/controller/routing/router.ts'
import { admittedWorker, wanted } from '../packages/services/test/controller/routing/worker.ts'
import { type Contestant, perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

/** 20 microseconds. */
const target = 50_000

interface Shape {
  readonly workers: number
  readonly models: number
}

/** Each worker has one model; each has some requests under way, as in service. */
function routerOf({ workers, models }: Shape): Router {
  const router = new Router({ now: () => new Date() })
  for (let i = 0; i < workers; i++) router.admitted(admittedWorker(`worker ${i}`, [`model ${i % models}`], { expiresAt: Number.MAX_SAFE_INTEGER }))
  for (let i = 0; i < workers; i++) router.take(wanted(`model ${i % models}`), [])
  return router
}

/** Requests that begin with about a kilobyte of text of their own, or with nothing that is known. */
function requests(models: number, kind: 'alike' | 'unlike'): readonly Wanted[] {
  return Array.from({ length: 500 }, (_, i) => {
    const text = `${i}: ${'You are a helpful assistant of the harbour. '.repeat(24)}`
    return wanted(`model ${(i * 7919) % models}`, {
      tenant: `key ${i % 50}`,
      salt: `key ${i % 50}`,
      body: kind === 'unlike' ? null : { messages: [{ role: 'user', content: text }] },
    })
  })
}

function contestant(name: string, router: Router, asked: readonly Wanted[]): Contestant {
  return {
    name,
    operations: asked.map((one) => () => {
      const lease = router.take(one, [])
      if (typeof lease === 'string') throw new Error(`expected a worker, found ${lease}`)
      lease.end()
    }),
  }
}

export async function run(): Promise<Figure[]> {
  const [few, many, one] = [
    { workers: 100, models: 10 },
    { workers: 10_000, models: 1000 },
    { workers: 10_000, models: 1 },
  ]
  const names = {
    few: '100 workers, 10 models, by how it begins',
    many: '10,000 workers, 1,000 models, by how it begins',
    one: '10,000 workers of one model, by how it begins',
    manyTwo: '10,000 workers, 1,000 models, the better of two',
    oneTwo: '10,000 workers of one model, the better of two',
  }
  const manyRouter = routerOf(many)
  const oneRouter = routerOf(one)
  const rates = await perCpuSecond([
    contestant(names.few, routerOf(few), requests(few.models, 'alike')),
    contestant(names.many, manyRouter, requests(many.models, 'alike')),
    contestant(names.one, oneRouter, requests(one.models, 'alike')),
    contestant(names.manyTwo, manyRouter, requests(many.models, 'unlike')),
    contestant(names.oneTwo, oneRouter, requests(one.models, 'unlike')),
  ])
  return [...rates].flatMap(([name, value]) => [
    { name, value, unit: '/CPU s', target },
    { name: '  one', value: 1e6 / value, unit: 'us CPU', target: null },
  ])
}
