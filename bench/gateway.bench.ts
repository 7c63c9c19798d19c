// What a controller costs as a gateway, beside gateways that prove nothing and one that does the same cryptography and nothing else. CPU time of the
// gateway's process, which has a core to itself; the requester and the worker are other processes on other cores. See docs/controller.md.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contest, type Sizes } from './gateway/contest.ts'
import { figuresOf } from './gateway/figures.ts'
import type { Figure } from './run.ts'

/** What one run measures; a test uses smaller ones. */
const sizes: Sizes = {
  warmUp: 4,
  warmUpRequests: 5000,
  rounds: 7,
  pairRounds: 13,
  requests: 1000,
  alone: 60,
  concurrency: 32,
  shortStream: 8,
  longStream: 72,
  open: 1000,
  settleMs: 3000,
}

export async function run(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-gateway-'))
  try {
    return figuresOf(await contest(sizes, directory))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
