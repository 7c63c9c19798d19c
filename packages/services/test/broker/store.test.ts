import { spawn } from 'node:child_process'
import { copyFile, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/enclave/broker/index.ts'
import { type AuditEntry, type BrokerState, type BrokerStore, recorded } from '../../src/enclave/broker/store/index.ts'
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
const release: Omit<AuditEntry, 'seq'> = {
  at: '2026-01-01T00:00:00.000Z',
  event: 'release',
  resource: 'a/b/c',
  version: 1,
  policy: null,
  code: null,
  measurement: 'ab'.repeat(32),
  descriptor: null,
  simulated: true,
}
const refusal = { ...release, event: 'refusal', code: 'policy_identity' } as const
const one = (state: BrokerState): BrokerState => recorded(state, release)

/** A store with so many releases in so many writes. */
async function written(path: string, times: number): Promise<Buffer> {
  const store = await openStore(path, sealing)
  for (let i = 0; i < times; i++) await store.commit(one)
  await store.close()
  return readFile(path)
}

const reopened = async (path: string): Promise<BrokerState> => {
  const store = await openStore(path, sealing)
  const { state } = store
  await store.close()
  return state
}

/** Where the frames of a file begin, and where the last one ends. */
function places(bytes: Buffer): number[] {
  const found = [32]
  for (let at = 32; at < bytes.length; at = found.at(-1) ?? at) found.push(at + 4 + bytes.readUInt32BE(at))
  return found
}

describe("the broker's store", () => {
  it('S11: keeps its state over a restart, and shows none of it on disk', async () => {
    const path = join(directory, 'state')
    const store = await openStore(path, sealing)
    await store.commit((state) => ({ ...state, resources: { 'a/b/c': resource } }))
    await store.commit((state) => one({ ...state, resources: { ...state.resources, 'a/b/d': { ...resource, value: null } } }))
    store.note((state) => recorded(state, refusal))
    await store.close()
    const again = await openStore(path, sealing)
    expect(again.state).toEqual(store.state)
    expect(again.state).toMatchObject({
      resources: { 'a/b/c': resource, 'a/b/d': { value: null } },
      audit: [{ seq: 1 }],
      refusals: [{ seq: 2 }],
      seq: 2,
    })
    expect(again.generation).toBe(3)
    await again.close()
    const disk = await readFile(path)
    for (const text of [secret, 'a/b/c', 'release', 'policy_identity']) expect(disk.includes(text), text).toBe(false)
  })

  it('S11: a changed byte: refused, or the state of an earlier write, never another', async () => {
    const path = join(directory, 'changed')
    const whole = await written(path, 3)
    const [, second = 0, third = 0] = places(whole)
    for (let at = 0; at < whole.length; at += 7) {
      const bytes = Buffer.from(whole)
      bytes[at] = (bytes[at] as number) ^ 1
      await writeFile(path, bytes)
      const found = await reopened(path).then(
        ({ audit }) => audit.length,
        (error: { code?: string }) => error.code,
      )
      // A changed length may make the rest of the file look like what a crash leaves; anything in the last frame may be that.
      const allowed = ['broker_store_invalid', ...(at < second ? [] : at < third ? [1] : [2])]
      expect(allowed, `byte ${at}`).toContain(found)
    }
  })

  it('S11: a file cut short opens as the state of an earlier write, and goes on from there', async () => {
    const path = join(directory, 'cut')
    const whole = await written(path, 3)
    const ends = places(whole).slice(1)
    for (let length = 0; length < whole.length; length += 17) {
      await writeFile(path, whole.subarray(0, length))
      const frames = ends.filter((end) => end <= length).length
      if (frames === 0) await expect(openStore(path, sealing), `${length} bytes`).rejects.toMatchObject({ code: 'broker_store_invalid' })
      else {
        const store = await openStore(path, sealing)
        expect(store.state.audit.length, `${length} bytes`).toBe(frames)
        await store.commit(one)
        await store.close()
        expect((await reopened(path)).audit.map(({ seq }) => seq)).toEqual(Array.from({ length: frames + 1 }, (_, i) => i + 1))
      }
    }
  })

  it('S11: frames moved, repeated, left out, or of another file of the same key: refused', async () => {
    const path = join(directory, 'frames')
    const whole = await written(path, 4)
    const other = await written(join(directory, 'frames-of-another'), 4)
    const part = (bytes: Buffer, i: number): Buffer => bytes.subarray(places(bytes)[i], places(bytes)[i + 1])
    const head = whole.subarray(0, 32)
    const frames = [0, 1, 2, 3].map((i) => part(whole, i))
    const [a, b, c, d] = frames as [Buffer, Buffer, Buffer, Buffer]
    for (const [title, order] of Object.entries({
      moved: [a, c, b, d],
      repeated: [a, b, b, c, d],
      'left out': [a, c, d],
      'without the first': [b, c, d],
      'of another file': [a, part(other, 1), c, d],
      'after the first of another file': [part(other, 0), b, c, d],
    })) {
      await writeFile(path, Buffer.concat([head, ...order]))
      await expect(openStore(path, sealing), title).rejects.toMatchObject({ code: 'broker_store_invalid' })
    }
  })

  it.each<[string, (good: { readonly state: unknown; readonly delta: unknown }) => readonly (string | object)[]]>([
    ['a first frame that is no JSON', () => ['{']],
    ['a first frame with a member twice', () => ['{"seq":0,"seq":1}']],
    ['a first frame that is a delta', ({ delta }) => [delta as object]],
    ['a state without its trail', ({ state }) => [{ ...(state as object), audit: undefined }]],
    ['a state with another member', ({ state }) => [{ ...(state as object), more: 1 }]],
    ['a state without its name', ({ state }) => [{ ...(state as object), id: undefined }]],
    ['a state whose name is none', ({ state }) => [{ ...(state as object), id: 'AB' }]],
    ['a head that is none', ({ state }) => [{ ...(state as object), head: { index: -1, nonce: 'ab'.repeat(16) } }]],
    ['a resource with a name that is none', ({ state }) => [{ ...(state as object), resources: { '../x': resource } }]],
    ['a resource of another shape', ({ state }) => [{ ...(state as object), resources: { 'a/b/c': { ...resource, value: 7 } } }]],
    ['a resource of another form of evidence', ({ state }) => [{ ...(state as object), resources: { 'a/b/c': { ...resource, evidence: 'any' } } }]],
    ['a line of another kind', ({ state }) => [{ ...(state as object), audit: [{ seq: 1, ...release, event: 'forget' }] }]],
    ['a second frame that is no JSON', ({ state }) => [state as object, 'x']],
    ['a second frame that is a state', ({ state }) => [state as object, state as object]],
    [
      'a line that is numbered like one before',
      ({ state, delta }) => [state as object, { ...(delta as object), entries: [{ seq: 1, ...release }], seq: 1 }],
    ],
    [
      'lines numbered downwards',
      ({ state }) => [state as object, { head: null, resources: {}, entries: [3, 2].map((seq) => ({ seq, ...release })), seq: 3 }],
    ],
    ['a line numbered beyond the count', ({ state }) => [state as object, { head: null, resources: {}, entries: [{ seq: 9, ...release }], seq: 3 }]],
    [
      'more resources than there may be',
      ({ state }) => [
        state as object,
        { head: null, resources: Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`a/b/${i}`, resource])), entries: [], seq: 1 },
      ],
    ],
  ])('S11: sealed under the right key, %s: refused', async (title, frames) => {
    const { header, sealFrame } = await import('../../src/enclave/broker/store/frames.ts')
    const state = { id: '0a'.repeat(16), head: null, resources: {}, audit: [{ seq: 1, ...release }], refusals: [], seq: 1 }
    const delta = { resources: { 'a/b/c': resource }, entries: [{ seq: 2, ...release }], seq: 2, head: { index: 1, nonce: 'ab'.repeat(16) } }
    const path = join(directory, `shape-${title.replaceAll(' ', '-')}`)
    const write = async (plains: readonly (string | object)[]): Promise<void> => {
      let previous = Buffer.alloc(0)
      const parts = [header(1)]
      for (const [i, plain] of plains.entries()) {
        const text = typeof plain === 'string' ? plain : JSON.stringify(plain)
        const { bytes, tag } = sealFrame(sealing.derive('veritee.broker.store.v1'), i + 1, previous, Buffer.from(text))
        parts.push(bytes)
        previous = Buffer.from(tag)
      }
      await writeFile(path, Buffer.concat(parts))
    }
    await write([state, delta])
    expect(await reopened(path)).toMatchObject({ resources: { 'a/b/c': resource }, seq: 2 })
    await write(frames({ state, delta }))
    await expect(openStore(path, sealing)).rejects.toMatchObject({ code: 'broker_store_invalid' })
  })

  it('S11: another key, a symbolic link, a file that is too large: refused', async () => {
    const path = join(directory, 'other-key')
    await written(path, 1)
    const other = await openFileSealingKey(join(directory, 'other'))
    await expect(openStore(path, other)).rejects.toMatchObject({ code: 'broker_store_invalid' })
    await symlink(path, join(directory, 'link'))
    await expect(openStore(join(directory, 'link'), sealing)).rejects.toMatchObject({ code: 'file_unavailable' })
    await writeFile(join(directory, 'large'), Buffer.alloc(70 << 20))
    await expect(openStore(join(directory, 'large'), sealing)).rejects.toMatchObject({ code: 'broker_store_invalid' })
  })

  it('S11: an old file put back is refused while the process runs; afterwards it opens, where no log tells', async () => {
    const path = join(directory, 'old')
    await written(path, 1)
    await copyFile(path, `${path}.1`)
    await written(path, 1)
    const store = await openStore(path, sealing)
    await copyFile(`${path}.1`, path)
    await expect(store.commit(one)).rejects.toMatchObject({ code: 'broker_store_rolled_back' })
    expect(store.state.audit).toHaveLength(2)
    await store.close()
    expect((await reopened(path)).audit).toHaveLength(1)
  })

  it('S11: a second broker that writes the same file is noticed by the first', async () => {
    const path = join(directory, 'two')
    const first = await openStore(path, sealing)
    await first.commit(one)
    const second = await openStore(path, sealing)
    await second.commit(one)
    await expect(first.commit(one)).rejects.toMatchObject({ code: 'broker_store_rolled_back' })
    await first.close()
    await second.close()
  })

  it('a commit that fails changes nothing, and the next one writes everything', async () => {
    const path = join(directory, 'failing')
    const store = await openStore(path, sealing)
    await store.commit(one)
    await rename(path, `${path}.away`)
    await expect(store.commit(one)).rejects.toMatchObject({ code: 'broker_store_rolled_back' })
    expect([store.generation, store.state.audit.length, store.failure]).toEqual([1, 1, 'broker_store_rolled_back'])
    await rename(`${path}.away`, path)
    store.note((state) => recorded(state, refusal))
    await store.commit(one)
    expect(store.failure).toBeNull()
    await store.close()
    expect(await reopened(path)).toMatchObject({ audit: [{ seq: 1 }, { seq: 3 }], refusals: [{ seq: 2 }] })
  })

  it('those that wait together are written together; one that throws is left out', async () => {
    const path = join(directory, 'together')
    const store = await openStore(path, sealing)
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) =>
        store.commit((state) => {
          if (i === 50) throw new Error('refused')
          return one(state)
        }),
      ),
    )
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1)
    expect(store.generation).toBeLessThan(10)
    await store.close()
    expect((await reopened(path)).audit.map(({ seq }) => seq)).toEqual(Array.from({ length: 99 }, (_, i) => i + 1))
  })

  it('notes of the time of a write are kept, and bounded', async () => {
    const path = join(directory, 'notes')
    const store = await openStore(path, sealing)
    const writing = store.commit(one)
    for (let i = 0; i < 1100; i++) {
      store.note((state) => recorded(state, refusal))
      if (i % 100 === 0) await Promise.resolve()
    }
    await writing
    await store.close()
    const state = await reopened(path)
    expect([state.audit.length, state.refusals.length, state.seq]).toEqual([1, 1024, 1101])
  })

  it('the file stays in proportion to the state, however much is written', async () => {
    const path = join(directory, 'long')
    const store = await openStore(path, sealing)
    let most = 0
    for (let i = 0; i < 150; i++) {
      // Of the size of a policy.
      await store.commit((state) => one({ ...state, resources: { 'a/b/c': { ...resource, version: i + 1, policy: 'x'.repeat(20_000) } } }))
      most = Math.max(most, (await stat(path)).size)
    }
    await store.close()
    expect(most).toBeLessThan(1_200_000)
    expect(await reopened(path)).toMatchObject({ resources: { 'a/b/c': { version: 150 } }, seq: 150 })
  })

  it('S11: killed in the middle of writing, it has every write that was acknowledged', async () => {
    for (const round of [1, 2, 3]) {
      const path = join(directory, `killed-${round}`)
      const at = new URL('../../src/enclave/', import.meta.url).href
      const program = `
        import { openStore, recorded } from '${at}broker/store/index.ts'
        import { openFileSealingKey } from '${at}runtime/sealing-key.ts'
        const store = await openStore(process.argv[1], await openFileSealingKey(process.argv[2]))
        const entry = ${JSON.stringify(release)}
        for (;;) { const { seq } = await store.commit((state) => recorded(state, entry)); process.stdout.write(seq + '\\n') }`
      const child = spawn(process.execPath, ['--conditions=@veritee/source', '--input-type=module', '-e', program, path, join(directory, 'key')])
      let out = ''
      let err = ''
      const { promise, resolve } = Promise.withResolvers<void>()
      child.stderr.on('data', (part) => {
        err += String(part)
      })
      child.stdout.on('data', (part) => {
        out += String(part)
        if (out.split('\n').length > 20 * round) child.kill('SIGKILL')
      })
      child.on('close', () => resolve())
      await promise
      const acknowledged = Number(out.trimEnd().split('\n').at(-1))
      expect(acknowledged, err).toBeGreaterThan(10)
      expect((await reopened(path)).audit.length).toBeGreaterThanOrEqual(acknowledged)
    }
  })
})

describe('what a store in memory does', () => {
  it('is the same, and keeps nothing', async () => {
    const { createMemoryStore } = await import('../../src/enclave/broker/store/index.ts')
    const store: BrokerStore = createMemoryStore()
    await store.commit(one)
    expect([store.source, store.generation, store.state.seq]).toEqual(['memory', 1, 1])
    await store.close()
  })
})
