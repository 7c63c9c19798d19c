import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { parseManifest, sealedSize } from 'veritee/seal'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openSealedModel } from '../../src/enclave/sealed/open.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { codeOf } from './code-of.ts'

const chunkSize = 4096
const chunks = 64
const size = chunkSize * chunks
const publisher = await generateEd25519()
const stranger = await generateEd25519()
const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
const modelKey = new Uint8Array(randomBytes(32))

let root: string
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-interrupted-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

type Options = Parameters<typeof sealModel>[0]
const facts = { name: 'demo', modelVersion: 1, keyId: 'models/demo/1', chatTemplateDigest: null, licence: null, created: 1_790_000_000, chunkSize }
const options = (changes: Partial<Options>): Options => ({ ...facts, files: [], out: join(root, 'none'), modelKey, publisher, ...changes })

async function plainFile(bytes: Uint8Array, name = 'm.gguf'): Promise<string> {
  const directory = join(root, `plain-${count++}`)
  await mkdir(directory)
  await writeFile(join(directory, name), bytes)
  return join(directory, name)
}

async function read(directory: string): Promise<Buffer> {
  const { files } = await openSealedModel(directory, modelKey, trust)
  const parts: Buffer[] = []
  for (const file of files) for await (const part of file.read()) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

/** A sealing that ended when so many bytes of both readings were done. */
async function interrupted(files: readonly string[], after: number): Promise<string> {
  const directory = join(root, `sealed-${count++}`)
  const controller = new AbortController()
  const onProgress: Options['onProgress'] = ({ receivedBytes }) => receivedBytes >= after && controller.abort(new Error('enough'))
  await expect(sealModel(options({ files, out: directory, onProgress, signal: controller.signal }))).rejects.toThrow('enough')
  return directory
}

const stateOf = async (directory: string): Promise<string> => parseManifest(await readFile(join(directory, 'sealing.json'), 'utf8')).salt
const sealedOf = (directory: string): Promise<Buffer> => readFile(join(directory, 'm.gguf.sealed'))

describe('an interrupted sealing', () => {
  it('goes on where it is repeated: same salt, same bytes, chunks that do not open are sealed again', async () => {
    const plain = randomBytes(size + 5)
    const file = await plainFile(plain)
    const directory = await interrupted([file], (size * 3) / 4)
    const salt = await stateOf(directory)
    const before = await sealedOf(directory)
    expect(before.length).toBeGreaterThan(0)
    expect(before.length).toBeLessThan(sealedSize(plain.length, chunkSize))
    expect(await readdir(directory)).not.toContain('manifest.json')
    // What a crash of the machine may leave: a hole.
    const damaged = await open(join(directory, 'm.gguf.sealed'), 'r+')
    await damaged.write(Buffer.alloc(chunkSize), 0, chunkSize, chunkSize)
    await damaged.close()
    const manifest = parseManifest(await sealModel(options({ files: [file], out: directory, created: 1_790_000_001 })))
    expect(manifest).toMatchObject({ salt, created: facts.created })
    expect(await read(directory)).toEqual(plain)
    expect((await sealedOf(directory)).subarray(0, before.length)).toEqual(before)
    expect((await readdir(directory)).sort()).toEqual(['m.gguf.sealed', 'manifest.json'])
  })

  it('S12: of a file that changed meanwhile seals all anew under another key: no keystream is used for two texts', async () => {
    const plain = randomBytes(size)
    const other = randomBytes(size)
    const file = await plainFile(plain)
    const directory = await interrupted([file], (size * 3) / 4)
    const salt = await stateOf(directory)
    const before = await sealedOf(directory)
    await writeFile(file, other)
    expect(parseManifest(await sealModel(options({ files: [file], out: directory }))).salt).toBe(salt)
    expect(await read(directory)).toEqual(other)
    const after = await sealedOf(directory)
    const pairs = Math.floor(before.length / (chunkSize + 16))
    expect(pairs).toBeGreaterThan(10)
    for (let n = 0; n < pairs; n++) {
      const xor = (a: Uint8Array, b: Uint8Array, at: number): Uint8Array =>
        Uint8Array.from({ length: 64 }, (_, i) => (a[at + i] as number) ^ (b[at + i] as number))
      // Two texts under one keystream would differ as their ciphertexts do.
      expect(xor(before, after, n * (chunkSize + 16))).not.toEqual(xor(plain, other, n * chunkSize))
    }
  })

  it('of a file that is longer or shorter now is sealed as it is now', async () => {
    for (const length of [size / 2, size * 2, 0]) {
      const file = await plainFile(randomBytes(size))
      const directory = await interrupted([file], (size * 7) / 8)
      const now = randomBytes(length)
      await writeFile(file, now)
      await sealModel(options({ files: [file], out: directory }))
      expect(await read(directory)).toEqual(now)
    }
  })

  it('of several files keeps those that are done', async () => {
    const contents = [randomBytes(size), randomBytes(size)]
    const files = await Promise.all(contents.map((bytes, i) => plainFile(bytes, `m-${i}.gguf`)))
    const directory = await interrupted(files, (size * 7) / 4)
    const { ino, mtimeMs } = await stat(join(directory, 'm-0.gguf.sealed'))
    await sealModel(options({ files, out: directory }))
    expect(await read(directory)).toEqual(Buffer.concat(contents))
    expect(await stat(join(directory, 'm-0.gguf.sealed'))).toMatchObject({ ino, mtimeMs: expect.closeTo(mtimeMs, -4) })
  })

  it('by kill -9 goes on too', async () => {
    const plain = randomBytes(48_000_000)
    const file = await plainFile(plain)
    const directory = join(root, `sealed-${count++}`)
    const key = join(root, 'model.key')
    const pem = join(root, 'publisher.pem')
    const veriteed = (...args: string[]): ReturnType<typeof spawn> =>
      spawn(process.execPath, [
        '--conditions=@veritee/source',
        new URL('../../src/bin/veriteed.ts', import.meta.url).pathname,
        'model',
        ...args,
        '--json',
      ])
    const end = (child: ReturnType<typeof spawn>): Promise<unknown> => new Promise((resolve) => child.on('close', resolve))
    await end(veriteed('keygen', '--model-key', key))
    await end(veriteed('keygen', '--publisher', pem))
    const seal = [
      'seal',
      file,
      '--out',
      directory,
      '--name',
      'demo',
      '--model-version',
      '1',
      '--key-id',
      'a/b/1',
      '--key',
      key,
      '--publisher-key',
      pem,
    ]
    const first = veriteed(...seal)
    await vi.waitFor(async () => expect((await stat(join(directory, 'm.gguf.sealed'))).size).toBeGreaterThan(1_000_000), {
      timeout: 20_000,
      interval: 1,
    })
    first.kill('SIGKILL')
    await end(first)
    const salt = await stateOf(directory).catch(() => null)
    expect(await end(veriteed(...seal))).toBe(salt === null ? 3 : 0)
    const manifest = parseManifest(await readFile(join(directory, 'manifest.json'), 'utf8'))
    if (salt !== null) expect(manifest.salt).toBe(salt)
    const { files } = await openSealedModel(directory, await readFile(key), { publishers: [manifest.publisher], minimumVersion: 1 })
    let at = 0
    for (const source of files)
      for await (const part of source.read()) {
        if (!plain.subarray(at, at + part.length).equals(part)) throw new TypeError(`other bytes at ${at}`)
        at += part.length
      }
    expect(at).toBe(plain.length)
  })

  it.each<[string, Partial<Options>, string]>([
    ['another name', { name: 'other' }, 'usage'],
    ['another version', { modelVersion: 2 }, 'usage'],
    ['another chunk size', { chunkSize: 8192 }, 'usage'],
    ['another key id', { keyId: 'models/demo/2' }, 'usage'],
    ['another licence', { licence: 'MIT' }, 'usage'],
    ['another publisher', { publisher: stranger }, 'usage'],
    ['another model key', { modelKey: new Uint8Array(32) }, 'sealed_key_wrong'],
  ])('does not go on with %s, and stays as it is', async (_, changes, code) => {
    const plain = randomBytes(size)
    const file = await plainFile(plain)
    const directory = await interrupted([file], (size * 3) / 4)
    const before = await sealedOf(directory)
    expect(await codeOf(() => sealModel(options({ files: [file], out: directory, ...changes })))).toBe(code)
    expect(await sealedOf(directory)).toEqual(before)
    await sealModel(options({ files: [file], out: directory }))
    expect(await read(directory)).toEqual(plain)
  })

  it('does not go on with other files', async () => {
    const file = await plainFile(randomBytes(size))
    const directory = await interrupted([file], (size * 3) / 4)
    expect(await codeOf(async () => sealModel(options({ files: [file, await plainFile(randomBytes(9), 'n.gguf')], out: directory })))).toBe('usage')
  })

  it.each([
    ['nothing', null, 'file_unavailable'],
    ['text', 'sealing', 'sealed_manifest_malformed'],
    ['a document of another kind', '{}', 'sealed_manifest_malformed'],
  ])('whose state is %s is refused', async (_, text, code) => {
    const directory = join(root, `sealed-${count++}`)
    await mkdir(directory)
    if (text !== null) await writeFile(join(directory, 'sealing.json'), text)
    expect(await codeOf(async () => sealModel(options({ files: [await plainFile(randomBytes(9))], out: directory })))).toBe(code)
  })

  it('S12: a salt that somebody put back from an earlier sealing leads to no second text under one key', async () => {
    const [plain, other] = [randomBytes(size), randomBytes(size)]
    const first = await plainFile(plain)
    const earlier = join(root, `sealed-${count++}`)
    await sealModel(options({ files: [first], out: earlier }))
    const second = await plainFile(other)
    const directory = await interrupted([second], (size * 3) / 4)
    const state = parseManifest(await readFile(join(directory, 'sealing.json'), 'utf8'))
    const { salt, key_check } = parseManifest(await readFile(join(earlier, 'manifest.json'), 'utf8'))
    await writeFile(join(directory, 'sealing.json'), JSON.stringify({ ...state, salt, key_check }))
    await copyFile(join(earlier, 'm.gguf.sealed'), join(directory, 'm.gguf.sealed'))
    await sealModel(options({ files: [second], out: directory }))
    expect(await read(directory)).toEqual(other)
    const [a, b] = [await sealedOf(earlier), await sealedOf(directory)]
    const same = Array.from({ length: 64 }, (_, i) => ((a[i] as number) ^ (b[i] as number)) === ((plain[i] as number) ^ (other[i] as number)))
    expect(same.every((one) => one)).toBe(false)
  })
})

describe('a file that changes while it is sealed', () => {
  it('S12: is refused before anything of the change is sealed, and is sealed under another key afterwards', async () => {
    const plain = randomBytes(size)
    const file = await plainFile(plain)
    const directory = join(root, `sealed-${count++}`)
    const changedChunk = 50
    const secret = randomBytes(chunkSize)
    let changed = false
    const onProgress: Options['onProgress'] = ({ receivedBytes }) => {
      // All was read once.
      if (changed || receivedBytes < size / 2) return
      changed = true
      const handle = openSync(file, 'r+')
      writeSync(handle, secret, 0, chunkSize, changedChunk * chunkSize)
      closeSync(handle)
    }
    expect(await codeOf(() => sealModel(options({ files: [file], out: directory, onProgress })))).toBe('model_unavailable')
    const sealed = await sealedOf(directory)
    const start = changedChunk * (chunkSize + 16)
    expect(sealed.subarray(start, start + chunkSize + 16).every((byte) => byte === 0)).toBe(true)
    await sealModel(options({ files: [file], out: directory }))
    secret.copy(plain, changedChunk * chunkSize)
    expect(await read(directory)).toEqual(plain)
  })

  it('is refused where it became shorter or longer', async () => {
    for (const length of [size - 1, size + 1]) {
      const file = await plainFile(randomBytes(size))
      const directory = join(root, `sealed-${count++}`)
      let changed = false
      const onProgress: Options['onProgress'] = () => {
        if (changed) return
        changed = true
        truncateSync(file, length)
      }
      expect(await codeOf(() => sealModel(options({ files: [file], out: directory, onProgress })))).toBe('model_unavailable')
      await expect(readdir(directory)).rejects.toMatchObject({ code: 'ENOENT' })
      await truncate(file, size)
    }
  })
})
