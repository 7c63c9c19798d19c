import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openFileSealingKey, openGramineSealingKey } from '../../src/enclave/runtime/sealing-key.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-sealing-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

describe('sealing keys', () => {
  it('a file key is made once, for its owner only, and derives the same bytes again', async () => {
    const path = join(directory, 'key')
    const first = await openFileSealingKey(path)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await readFile(path)).length).toBe(32)
    const second = await openFileSealingKey(path)
    expect(second.source).toBe('file')
    expect(second.derive('a')).toEqual(first.derive('a'))
    expect(second.derive('a')).not.toEqual(first.derive('b'))
    expect(second.derive('a')).toHaveLength(32)
  })

  it.each([31, 33, 0])('a file of %i bytes is refused', async (length) => {
    const path = join(directory, `wrong-${length}`)
    await writeFile(path, new Uint8Array(length), { mode: 0o600 })
    await expect(openFileSealingKey(path)).rejects.toMatchObject({ code: 'sealing_key_unavailable' })
  })

  it('a file that others may read is refused', async () => {
    const path = join(directory, 'open')
    await writeFile(path, new Uint8Array(32))
    await chmod(path, 0o644)
    await expect(openFileSealingKey(path)).rejects.toMatchObject({ code: 'sealing_key_unavailable' })
  })

  it("S11: Gramine's key is that of the measurement; outside an enclave there is none", async () => {
    await expect(openGramineSealingKey(directory)).rejects.toMatchObject({ code: 'sealing_key_unavailable' })
    await mkdir(join(directory, 'keys'))
    await writeFile(join(directory, 'keys', '_sgx_mrsigner'), new Uint8Array(16))
    await expect(openGramineSealingKey(directory)).rejects.toMatchObject({ code: 'sealing_key_unavailable' })
    await writeFile(join(directory, 'keys', '_sgx_mrenclave'), new Uint8Array(16).fill(7))
    const key = await openGramineSealingKey(directory)
    expect(key.source).toBe('mrenclave')
    expect(key.derive('a')).toHaveLength(32)
  })
})
