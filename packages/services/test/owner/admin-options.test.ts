import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createMakers, enclaveOf, type Makers } from '../../../veritee/test/release/makers.ts'
import { readAdminOptions } from '../../src/bin/commands/admin-options.ts'
import { policyText } from '../broker/system.ts'

let directory: string
let makers: Makers
const file = (name: string): string => join(directory, name)
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-admin-options-'))
  makers = await createMakers(Math.floor(Date.now() / 1000))
  const statement = await makers.statement({ enclaves: [enclaveOf({ role: 'broker', cpu_variant: null })] })
  await writeFile(file('policy.json'), policyText({ identity: 'released', release: makers.logged }, 'broker'))
  await writeFile(file('token'), 'x'.repeat(40))
  for (const name of ['release.json', 'alone.json']) await writeFile(file(name), statement)
  await writeFile(file('release.json.tlog-proof'), (await makers.inLog(statement)).proof ?? '')
})
afterAll(() => rm(directory, { recursive: true, force: true }))

it('S25: statements are verified for the policy, with the proof that lies beside them, before anybody is asked', async () => {
  const options = { policy: file('policy.json'), 'admin-token-file': file('token') }
  const { policy } = await readAdminOptions({ ...options, release: [file('release.json')] })
  expect(policy.roles.broker?.released).toMatchObject([{ release: '0.1.0', enclaves: [{ mrenclave: 'a1'.repeat(32) }] }])
  await expect(readAdminOptions({ ...options, release: [file('alone.json')] })).rejects.toMatchObject({ code: 'log_entry_missing' })
  await expect(readAdminOptions({ ...options, release: [file('nothing.json')] })).rejects.toMatchObject({ code: 'file_unavailable' })
  expect((await readAdminOptions(options)).policy.roles.broker).not.toHaveProperty('released')
})
