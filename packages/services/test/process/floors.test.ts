import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { runKeys } from '../../src/bin/commands/keys.ts'
import { refuseOlderManifest } from '../../src/process/floors.ts'
import type { Renewing } from '../../src/process/run.ts'
import { openSetting, type Setting } from '../controller/admission/setting.ts'
import { startController, startWorker } from './start.ts'

/** What a service that was stopped goes by when it starts again, while its host has put its files back, or chosen others (rules S3 and S11). */
let setting: Setting
let directory: string
const running: Renewing[] = []
beforeAll(async () => {
  setting = await openSetting()
  directory = await mkdtemp(join(tmpdir(), 'veritee-kept-floors-'))
  await writeFile(join(directory, 'token'), 'a-credential-that-nobody-would-guess-0123456789\n')
})
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(async () => {
  await setting.close()
  await rm(directory, { recursive: true, force: true })
})

const stop = async (): Promise<void> => {
  for (const one of running.splice(0).reverse()) await one.close()
}
const under = async (version: number): Promise<string[]> => {
  const path = join(directory, 'manifest.json')
  await writeFile(path, await setting.manifest({ version }))
  return ['--manifest', path, '--network', 'test', '--manifest-threshold', '2', ...setting.anchors.keys.flatMap((key) => ['--manifest-signer', key])]
}
const at = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']

async function controller(name: string, version: number, more: readonly string[] = []): Promise<Renewing> {
  const one = await startController([...at(name), '--control-port', '0', ...(await under(version)), ...more])
  running.push(one)
  return one
}

async function worker(name: string, version: number): Promise<Renewing> {
  const one = await startWorker([...at(name), '--model', 'demo', ...(await under(version))])
  running.push(one)
  return one
}

describe.each<[string, (name: string, version: number) => Promise<Renewing>]>([
  ['controller', controller],
  ['worker', worker],
])('S11: a %s that starts again', (role, start) => {
  test('does not begin under an older manifest than was once in force; under the same and newer ones it does', async () => {
    await start(role, 3)
    await stop()
    await expect(start(role, 2)).rejects.toMatchObject({
      code: 'admission_manifest_rolled_back',
      message: expect.stringContaining('expected version 3 or later, which was in force here before, found 2'),
    })
    await start(role, 3)
    await stop()
    await start(role, 4)
    await stop()
    await expect(start(role, 3)).rejects.toMatchObject({ code: 'admission_manifest_rolled_back' })
  })

  test('knows one too that came into force while it ran', async () => {
    const name = `${role}-later`
    const one = await start(name, 1)
    const before = one.ready.keyset_digest
    await writeFile(join(directory, 'manifest.json'), await setting.manifest({ version: 7 }))
    const floors = join(directory, name, `${role}.floors`)
    const kept = await readFile(floors, 'utf8')
    await expect.poll(() => readFile(floors, 'utf8'), { timeout: 20_000 }).not.toBe(kept)
    await stop()
    expect(before).toMatch(/^sha256:/)
    await expect(start(name, 6)).rejects.toMatchObject({ code: 'admission_manifest_rolled_back' })
  })

  test('knows nothing where its own file was taken away or is not of its key: that is the limit', async () => {
    const name = `${role}-bare`
    await start(name, 2)
    await stop()
    await writeFile(join(directory, name, `${role}.floors`), 'not sealed by it')
    await start(name, 1)
  })
})

test('S11: the newer manifest of a replica is taken before anything is served, if enough have signed it', async () => {
  const floors = { keysVersion: 0, clock: 0, manifestVersion: 2 }
  const followed = async () => ({ rules: await setting.rules({ version: 1 }), path: 'manifest.json' })
  const taken = await followed()
  await refuseOlderManifest(taken, floors, await setting.manifest({ version: 3 }), () => undefined)
  expect(taken.rules.described.version).toBe(3)
  const told: string[] = []
  const forged = refuseOlderManifest(await followed(), floors, await setting.manifest({ version: 3, signers: 1 }), (line) => void told.push(line))
  await expect(forged).rejects.toMatchObject({ code: 'admission_manifest_rolled_back' })
  expect(told).toEqual([expect.stringContaining('admission_manifest_signatures_missing')])
})

describe('S3: a controller whose store was put back, and which has nobody to ask', () => {
  const admin = (): string[] => ['--admin-port', '0', '--admin-token-file', join(directory, 'token'), '--api-keys']
  const keys = async (one: Renewing, action: Parameters<typeof runKeys>[0], ...args: string[]): Promise<{ key: string; id: string }> => {
    const to = ['--admin', String(one.ready.admin), '--policy', join(directory, 'k', 'policy.json'), '--root', join(directory, 'k', 'root.pem')]
    const text = await runKeys(action, [...args, ...to, '--admin-token-file', join(directory, 'token'), '--json'])
    return JSON.parse(text) as { key: string; id: string }
  }
  /** Who has a key is told that there is no worker; who has none is told that. */
  const asked = async (one: Renewing, key: string): Promise<boolean> => {
    const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x' }] })
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const answer = await fetch(`${one.ready.url}/v1/chat/completions`, { method: 'POST', headers, body })
    return ((await answer.json()) as { error: { type: string } }).error.type === 'upstream_verification_failed'
  }
  /** The store alone: its key and what is kept beside it stay. */
  const store = async (from: string, to: string): Promise<void> => {
    for (const name of ['receipts.db', 'receipts.db-wal', 'receipts.db-shm'])
      await cp(join(directory, from, name), join(directory, to, name)).catch(() => undefined)
  }

  test('does not take back a revocation; without what it kept it would', async () => {
    await mkdir(join(directory, 'old'))
    const first = await controller('k', 1, admin())
    const { key, id } = await keys(first, 'create', '--name', 'test')
    expect(await asked(first, key)).toBe(true)
    await stop()
    await store('k', 'old')
    const second = await controller('k', 1, admin())
    await keys(second, 'revoke', id)
    expect(await asked(second, key)).toBe(false)
    await stop()
    await store('old', 'k')
    const third = await controller('k', 1, admin())
    expect(await asked(third, key)).toBe(false)
    expect(await (await fetch(`${third.ready.url}/readyz`)).text()).toContain('api_keys_not_current')
    await stop()
    await rm(join(directory, 'k', 'controller.floors'))
    expect(await asked(await controller('k', 1, admin()), key)).toBe(true)
  })
})
