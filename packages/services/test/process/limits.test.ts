import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseReport } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { workerPolicy } from '../../src/demo/policy.ts'
import { followLimits } from '../../src/process/limits-file.ts'
import type { Running } from '../../src/process/run.ts'
import { startController } from './start.ts'

let directory: string
let running: Running | null = null
const lines: string[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-limits-'))
  const worker = workerPolicy(
    { mrenclave: '01'.repeat(32), mrsigner: '02'.repeat(32), isvProdId: 1, isvSvn: 1 },
    { m: [`sha256:${'00'.repeat(32)}`] },
  )
  await writeFile(join(directory, 'policy.json'), JSON.stringify({ version: 'veritee.policy.v1', roles: { worker } }))
})
afterAll(async () => {
  await running?.close()
  await rm(directory, { recursive: true, force: true })
})

const file = (): string => join(directory, 'config.json')
const write = (changes: object): Promise<void> =>
  writeFile(
    file(),
    JSON.stringify({
      enclave: { tee: 'simulate', state: join(directory, 'c') },
      api: { port: 0 },
      control: { port: 0 },
      receipts: { in_memory: true },
      admission: { policy: join(directory, 'policy.json') },
      ...changes,
    }),
  )

async function digest(): Promise<string> {
  const text = await (await fetch(`${String(running?.ready.url)}/v1/aci/attestation`)).text()
  return parseReport(text).descriptor.configuration_digest
}

describe('limits in the file of a configuration', () => {
  test('S7: come into force in a running controller, with keys whose descriptor has the digest of what is then in force', {
    timeout: 60_000,
  }, async () => {
    await write({ routing: { queue_seconds: 10 } })
    running = await startController(['--config', file()], { report: (line) => lines.push(line) })
    const before = await digest()
    await write({ routing: { queue_seconds: 11 } })
    await expect.poll(digest, { timeout: 20_000, interval: 200 }).not.toBe(before)
    expect(lines.join('\n')).toContain('limits of routing are in force: ')
    expect(lines.join('\n')).toContain('"queue_seconds":11')
    // As it was: so is its digest.
    await write({ routing: { queue_seconds: 10 } })
    await expect.poll(digest, { timeout: 20_000, interval: 200 }).toBe(before)
  })

  test('a change of anything else waits for a start and is said once, and so is a file that cannot be read', async () => {
    const said: string[] = []
    const applied: unknown[] = []
    let next: { readonly effective: { readonly [section: string]: { readonly a: number } } } | null = {
      effective: { routing: { a: 1 }, api: { a: 1 } },
    }
    let broken = false
    const follow = followLimits({
      reread: async () => {
        if (broken) throw new Error('gone')
        return next as never
      },
      configuration: next as never,
      changed: async (configuration) => void applied.push(configuration),
      report: (line) => said.push(line),
      pollMs: 1_000_000,
    })
    await follow.check()
    next = { effective: { routing: { a: 2 }, api: { a: 2 } } }
    await follow.check()
    await follow.check()
    expect([applied.length, said]).toEqual([0, ['the configuration has changed in more than its limits: that waits for a start']])
    broken = true
    await follow.check()
    broken = false
    next = { effective: { routing: { a: 3 }, api: { a: 1 } } }
    await follow.check()
    await follow.check()
    follow.stop()
    expect(applied).toEqual([next])
    expect(said.slice(1)).toEqual(['the configuration cannot be read again: unexpected failure', 'limits of routing are in force: {"a":3}'])
  })
})
