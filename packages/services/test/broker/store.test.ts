import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/enclave/broker/index.ts'
import { openFileSealingKey, type SealingKey } from '../../src/enclave/runtime/sealing-key.ts'

let directory: string
let sealing: SealingKey
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-broker-store-'))
  sealing = await openFileSealingKey(join(directory, 'key'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const secret = Buffer.from('a secret of thirty-two bytes ...').toString('base64')
const resource = { version: 1, value: secret, policy: '{}', evidence: 'quote', changed: '2026-01-01T00:00:00.000Z' } as const
const counted = async (path: string, times: number): Promise<void> => {
  const store = await openStore(path, sealing)
  for (let i = 0; i < times; i++) await store.commit((state) => ({ ...state, seq: state.seq + 1 }))
}

describe("the broker's store", () => {
  it('S11: keeps its state over a restart, and shows none of it on disk', async () => {
    const path = join(directory, 'state')
    const store = await openStore(path, sealing)
    await store.commit((state) => ({ ...state, resources: { 'a/b/c': resource } }))
    const again = await openStore(path, sealing)
    expect(again.state.resources['a/b/c']).toEqual(resource)
    expect(again.generation).toBe(1)
    const disk = await readFile(path)
    expect(disk.includes(secret)).toBe(false)
    expect(disk.includes('a/b/c')).toBe(false)
  })

  it('S11: a changed byte, another key, a cut file: refused', async () => {
    const path = join(directory, 'changed')
    await counted(path, 2)
    const whole = await readFile(path)
    for (let at = 0; at < whole.length; at += 3) {
      const bytes = Buffer.from(whole)
      bytes[at] = (bytes[at] as number) ^ 1
      await writeFile(path, bytes)
      await expect(openStore(path, sealing), `byte ${at}`).rejects.toMatchObject({ code: 'broker_store_invalid' })
    }
    for (const length of [0, 10, 40, whole.length - 1]) {
      await writeFile(path, whole.subarray(0, length))
      await expect(openStore(path, sealing)).rejects.toMatchObject({ code: 'broker_store_invalid' })
    }
    await writeFile(path, whole)
    const other = await openFileSealingKey(join(directory, 'other'))
    await expect(openStore(path, other)).rejects.toMatchObject({ code: 'broker_store_invalid' })
    expect((await openStore(path, sealing)).state.seq).toBe(2)
  })

  it('S11: an old file put back is refused while the process runs, and by a floor kept elsewhere; without one it opens', async () => {
    const path = join(directory, 'old')
    await counted(path, 1)
    await copyFile(path, `${path}.1`)
    await counted(path, 1)
    const store = await openStore(path, sealing)
    await copyFile(`${path}.1`, path)
    await expect(store.commit((state) => state)).rejects.toMatchObject({ code: 'broker_store_rolled_back' })
    const freshness = { floor: () => Promise.resolve(2), raise: () => Promise.resolve() }
    await expect(openStore(path, sealing, freshness)).rejects.toMatchObject({ code: 'broker_store_rolled_back' })
    expect((await openStore(path, sealing)).state.seq).toBe(1)
  })
})
