import { describe, expect, test } from 'vitest'
import { runReplicas } from '../../../../bench/soak/replicas/run.ts'
import { leftOut } from '../store/postgres-server.ts'

describe.skipIf(leftOut !== null)(
  `the soak of three controllers on one PostgreSQL, in a reduced form${leftOut === null ? '' : ` (left out: ${leftOut})`}`,
  () => {
    test('S3, S8: one is killed with SIGKILL under load: no acknowledged receipt is lost, and clients see only what they can repeat', {
      timeout: 180_000,
    }, async () => {
      const result = await runReplicas({ answers: 24, kills: 1, clients: 4 })
      expect(result.findings).toEqual([])
      expect(result.acknowledged).toBeGreaterThanOrEqual(24)
      expect(result.fetched).toBe(result.acknowledged)
    })
  },
)
