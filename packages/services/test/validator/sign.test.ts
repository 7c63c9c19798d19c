import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalBeacon } from 'veritee/beacon'
import { toHex } from 'veritee/bytes'
import { verifyScoringPolicy } from 'veritee/scoring'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { command } from '../../src/bin/commands/validator.ts'
import { signDemoScoringPolicy } from '../../src/demo/scoring-policy.ts'
import { makePublisherKey, readPublisherKey } from '../../src/models/sealing/keys.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-sign-'))
  vi.spyOn(process.stdout, 'write').mockReturnValue(true)
})
afterAll(() => rm(directory, { recursive: true, force: true }))

it('veriteed validator sign: two signers, one after the other, and the policy verifies under both', async () => {
  const genesis = 1_800_000_000
  const { chain } = await createLocalBeacon(new Uint8Array(32).fill(1), { period: 3, genesisTime: genesis - 3000 })
  const file = join(directory, 'scoring.json')
  const about = { network: 'n', genesis, validator: 'ab'.repeat(32), weights: `sha256:${'cd'.repeat(32)}`, beacon: chain, length: 3600 }
  const unsigned = { ...about, log: null, probability: '0.1' }
  await writeFile(file, await signDemoScoringPolicy({ ...unsigned, signers: [] }))
  const keys: string[] = []
  for (const name of ['a.pem', 'b.pem']) {
    await makePublisherKey(join(directory, name))
    keys.push(toHex((await readPublisherKey(join(directory, name))).publicKey))
    expect(await command.run(['sign', file, '--key', join(directory, name)])).toBe(0)
  }
  const trust = { network: 'n', keys, threshold: 2, minimumVersion: 1 }
  const { signatures } = await verifyScoringPolicy(await readFile(file, 'utf8'), trust, new Date(genesis * 1000))
  expect(signatures.map(({ key }) => key).sort()).toEqual([...keys].sort())
})

it.each([
  ['no key', ['sign', 'scoring.json'], 'usage'],
  ['no file', ['sign', '--key', 'a.pem'], 'usage'],
  ['an option in its file that there is not', ['run', '--config', 'config.json'], 'config_invalid'],
])('refuses %s', async (_, args, code) => {
  await writeFile(join(directory, 'config.json'), '{"netwrok":"n"}')
  const placed = args.map((one) => (one.endsWith('.json') ? join(directory, one) : one))
  await expect(command.run(placed)).rejects.toMatchObject({ code })
})
