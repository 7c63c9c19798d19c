import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPostgresEpochStore } from '../../../packages/services/src/validator/store/postgres-store.ts'
import { openSqliteEpochStore } from '../../../packages/services/src/validator/store/sqlite-store.ts'
import { leftOut, startPostgres } from '../../../packages/services/test/store/postgres-server.ts'
import { imitateEpoch, imitationPlan } from '../../../packages/services/test/validator/epoch/imitation.ts'
import { killEpoch } from '../../../packages/services/test/validator/epoch/kill-epoch.ts'

export interface ValidatorKills {
  readonly store: 'sqlite' | 'postgres'
  readonly processes: number
  readonly audits: number
  readonly killed: number
  /** Audits that were begun by all processes; what is more than `audits` was cut off by a kill and done again. */
  readonly begun: number
  /** Records that are, byte for byte and in their order, those of an epoch that nobody disturbed. Scores are a function of them. */
  readonly same: boolean
}

/**
 * Kills a process of a validator with SIGKILL `kills` times during one epoch: alone over a file, and as one of two over a PostgreSQL database of this machine.
 * Audits are imitations; the store, the queue and the order of an epoch are the real ones.
 */
export async function soakValidatorKills(
  { kills, seed }: { readonly kills: number; readonly seed: number },
  progress: (line: string) => void,
): Promise<{ readonly runs: readonly ValidatorKills[]; readonly leftOut: string | null }> {
  const folder = await mkdtemp(join(tmpdir(), 'veritee-kills-'))
  const runs: ValidatorKills[] = []
  try {
    const file = join(folder, 'killed.sqlite')
    const audits = 10 * kills
    const expected = await undisturbed(audits)
    progress(`${audits} audits over a file`)
    const counted = await killEpoch({ where: file, kills, audits, seed, processes: 1 })
    const store = await openSqliteEpochStore(file)
    runs.push({ store: 'sqlite', processes: 1, audits, ...counted, same: same(await store.records(5), expected) })
    await store.close()
    if (leftOut === null) {
      // The other goes on while one is killed and started again.
      const audits = 100 * kills
      const expected = await undisturbed(audits)
      progress(`${audits} audits in PostgreSQL, by two processes`)
      const server = await startPostgres()
      try {
        const where = await server.database()
        const shared = await killEpoch({ where: where.url, password: where.password ?? '', kills, audits, seed, processes: 2 })
        const database = await openPostgresEpochStore(where)
        runs.push({ store: 'postgres', processes: 2, audits, ...shared, same: same(await database.records(5), expected) })
        await database.close()
      } finally {
        await server.close()
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return { runs, leftOut }
}

async function undisturbed(audits: number): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'veritee-kills-'))
  try {
    const store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
    const { records } = await imitateEpoch({ store, changes: { plan: imitationPlan(audits) } })
    await store.close()
    return records
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function same(found: readonly string[], expected: readonly string[]): boolean {
  return found.length === expected.length && found.every((record, i) => record === expected[i])
}
