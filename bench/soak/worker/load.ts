import { pinnedPool } from '../../../packages/services/src/controller/pinned-pool.ts'
import type { Ready } from './child.ts'
import { type Sent, sendOne } from './requests.ts'

/** A machine that does much else answers a few requests a second. */
const hungAfterMs = 1_200_000

/** Counts requests over all loads of a run, so that each is another. */
export interface Counter {
  next: number
}

export interface Load {
  /** Resolves when so many answers were read to their end; rejects where it takes so long that something must hang. */
  whole(count: number): Promise<void>
  end(): Promise<Sent[]>
}

/** Keeps `concurrency` requests going until told to end, over connections of its own; then waits for those under way. Gives all in the order of their ends. */
export function startLoad(worker: Ready, concurrency: number, seed: number, counter: Counter): Load {
  const pool = pinnedPool(worker.url, worker.spki)
  const sent: Sent[] = []
  let going = true
  const loops = Array.from({ length: concurrency }, async () => {
    while (going) {
      const one = await sendOne(pool, seed, counter.next++)
      sent.push(one)
      // Where the worker is gone or refuses, asking again at once tells nothing new.
      if (one.end === 'broken' || one.end === 'refused') await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })
  return {
    whole: async (count) => {
      const deadline = performance.now() + hungAfterMs
      while (sent.filter(({ end }) => end === 'whole').length < count) {
        if (performance.now() > deadline) throw new Error(`expected ${count} answers within ${hungAfterMs / 1000} s`)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    },
    end: async () => {
      going = false
      await Promise.all(loops)
      await pool.destroy()
      return sent
    },
  }
}
