import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { startProcess } from './killed.ts'

export interface Killing {
  /** The file of a SQLite store, or the URL of a PostgreSQL one. */
  readonly where: string
  readonly password?: string
  readonly kills: number
  /** Audits of the epoch. */
  readonly audits: number
  /** Of the moments at which it is killed. */
  readonly seed: number
  /** Processes over the store; the first is killed and started again, the others go on. */
  readonly processes: number
}

/**
 * Runs an imitated epoch and kills a process of it with SIGKILL again and again, at random within and between audits, until it was killed so often; then lets
 * it end. Gives how often it was killed before it was done, and how many audits were begun by all.
 */
export async function killEpoch({ where, password = '', kills, audits, seed, processes }: Killing): Promise<{ killed: number; begun: number }> {
  const others = Array.from({ length: processes - 1 }, () => startProcess(where, password, audits))
  let killed = 0
  let begun = 0
  for (; killed < kills; killed++) {
    const drawn = createHash('sha256').update(`${seed} ${killed}`).digest()
    const victim = startProcess(where, password, audits)
    await victim.begun(1 + ((drawn[0] ?? 0) % 4))
    await sleep((drawn[1] ?? 0) % 32)
    const early = await victim.kill()
    begun += victim.indices.length
    if (!early) break
  }
  const last = startProcess(where, password, audits)
  for (const one of [...others, last]) {
    if (!(await one.ended)) throw new Error('a process that nobody killed did not come to its end')
    begun += one.indices.length
  }
  return { killed, begun }
}
