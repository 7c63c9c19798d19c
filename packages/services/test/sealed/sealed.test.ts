import { createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { copyFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { jcs, toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { parseManifest, type SignedManifest, signManifest } from 'veritee/seal'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readManifest } from '../../src/enclave/sealed/manifest.ts'
import { openSealedModel } from '../../src/enclave/sealed/open.ts'
import type { WeightSource } from '../../src/enclave/sealed/source.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { codeOf } from './code-of.ts'
import { sealOtherBytes } from './other-bytes.ts'

const chunkSize = 4096
const publisher = await generateEd25519()
const stranger = await generateEd25519()
const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
const modelKey = new Uint8Array(randomBytes(32))
// Across chunk borders, at one, below one, and nothing at all.
const contents = {
  'a.gguf': randomBytes(3 * chunkSize + 5),
  'b.gguf': randomBytes(2 * chunkSize),
  'c.gguf': randomBytes(10),
  'd.gguf': Buffer.alloc(0),
}

let root: string
let model: string
let copies = 0

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-sealed-'))
  for (const [name, bytes] of Object.entries(contents)) await writeFile(join(root, name), bytes)
  model = await seal({})
})
afterAll(() => rm(root, { recursive: true, force: true }))

async function seal(changes: Partial<Parameters<typeof sealModel>[0]>): Promise<string> {
  const directory = join(root, `sealed-${copies++}`)
  await sealModel({
    files: Object.keys(contents).map((name) => join(root, name)),
    out: directory,
    name: 'demo',
    modelVersion: 2,
    keyId: 'models/demo/2',
    modelKey,
    publisher,
    chatTemplateDigest: null,
    licence: 'Apache-2.0',
    created: 1_790_000_000,
    chunkSize,
    ...changes,
  })
  return directory
}

async function bytesOf(source: WeightSource): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of source.read()) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

async function readAll(directory: string, key = modelKey, by = trust): Promise<Record<string, Buffer>> {
  const { files } = await openSealedModel(directory, key, by)
  const read: Record<string, Buffer> = {}
  for (const file of files) read[file.name] = await bytesOf(file)
  return read
}

/** A copy of the sealed model with one of its files changed. */
async function altered(name: string, change: (bytes: Buffer) => Buffer): Promise<string> {
  const directory = join(root, `altered-${copies++}`)
  await cp(model, directory, { recursive: true })
  await writeFile(join(directory, name), change(await readFile(join(directory, name))))
  return directory
}

const sealedChunk = chunkSize + 16
const part = (bytes: Buffer, index: number): Buffer => bytes.subarray(index * sealedChunk, (index + 1) * sealedChunk)

describe('sealed models', () => {
  it('give back every byte, of files of every length around a chunk', async () => {
    expect(await readAll(model)).toEqual(contents)
    expect((await readManifest(model, trust)).files.map(({ sha256 }) => sha256)).toEqual(
      Object.values(contents).map((bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`),
    )
  })

  it('S12: what lies on disk holds no run of the plain bytes', async () => {
    const disk = Buffer.concat(await Promise.all((await readdir(model)).map((name) => readFile(join(model, name)))))
    for (const bytes of Object.values(contents))
      for (let at = 0; at + 8 <= bytes.length; at += 8) expect(disk.includes(bytes.subarray(at, at + 8))).toBe(false)
  })

  it('a part is gone when the next one is asked for', async () => {
    const [source] = (await openSealedModel(model, modelKey, trust)).files
    const seen: Uint8Array[] = []
    for await (const bytes of (source as WeightSource).read()) {
      expect(seen.every(({ length }) => length === 0)).toBe(true)
      expect(bytes.length).toBeGreaterThan(0)
      seen.push(bytes)
    }
    expect(seen).toHaveLength(4)
    expect(seen.every(({ length }) => length === 0)).toBe(true)
  })

  it('open as their specification says, by an implementation of its own', async () => {
    const manifest = parseManifest(await readFile(join(model, 'manifest.json'), 'utf8'))
    for (const [index, file] of manifest.files.entries()) {
      const info = `{"chunk_size":${chunkSize},"cipher":"aes-256-gcm-stream","file":"${file.name}","index":${index},"model":"demo","model_version":2,"purpose":"file","sha256":"${file.sha256}","size":${file.size},"version":"veritee.sealed-model.v1"}`
      const derived = Buffer.from(hkdfSync('sha256', modelKey, Buffer.from(manifest.salt, 'hex'), info, 39))
      const [key, prefix] = [derived.subarray(0, 32), derived.subarray(32)]
      const sealed = await readFile(join(model, `${file.name}.sealed`))
      const plain: Buffer[] = []
      for (let n = 0, at = 0; at < sealed.length; n++, at += sealedChunk) {
        const chunk = sealed.subarray(at, at + sealedChunk)
        const counter = Buffer.alloc(5)
        counter.writeUInt32BE(n)
        counter[4] = at + sealedChunk >= sealed.length ? 1 : 0
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.concat([prefix, counter]))
        decipher.setAuthTag(chunk.subarray(-16))
        plain.push(decipher.update(chunk.subarray(0, -16)), decipher.final())
      }
      expect(Buffer.concat(plain)).toEqual(contents[file.name as keyof typeof contents])
    }
  })

  it.each<[string, string, (bytes: Buffer) => Buffer, string]>([
    ['a byte of the first chunk changed', 'a.gguf.sealed', (b) => Buffer.from(b).fill((b[7] as number) ^ 1, 7, 8), 'sealed_chunk_invalid'],
    ['cut at the end of a chunk', 'a.gguf.sealed', (b) => b.subarray(0, 2 * sealedChunk), 'sealed_file_size'],
    ['cut inside a chunk', 'a.gguf.sealed', (b) => b.subarray(0, sealedChunk + 9), 'sealed_file_size'],
    ['emptied', 'a.gguf.sealed', () => Buffer.alloc(0), 'sealed_file_size'],
    ['a chunk added', 'b.gguf.sealed', (b) => Buffer.concat([b, part(b, 1)]), 'sealed_file_size'],
    ['two chunks exchanged', 'a.gguf.sealed', (b) => Buffer.concat([part(b, 1), part(b, 0), b.subarray(2 * sealedChunk)]), 'sealed_chunk_invalid'],
    ['a chunk repeated', 'a.gguf.sealed', (b) => Buffer.concat([part(b, 0), part(b, 0), b.subarray(2 * sealedChunk)]), 'sealed_chunk_invalid'],
    ['a chunk in the place of the last', 'b.gguf.sealed', (b) => Buffer.concat([part(b, 0), part(b, 0)]), 'sealed_chunk_invalid'],
    ['the last chunk in another place', 'b.gguf.sealed', (b) => Buffer.concat([part(b, 1), part(b, 1)]), 'sealed_chunk_invalid'],
    ['the tag of an empty file changed', 'd.gguf.sealed', (b) => Buffer.from(b).fill((b[0] as number) ^ 1, 0, 1), 'sealed_chunk_invalid'],
  ])('S12: %s', async (_, name, change, code) => {
    expect(await codeOf(async () => readAll(await altered(name, change)))).toBe(code)
  })

  it('S12: a chunk of the same place from another file, version, model or sealing does not open', async () => {
    const others = [
      await seal({ modelVersion: 1 }),
      await seal({ name: 'other' }),
      await seal({}),
      await seal({ files: ['b.gguf', 'a.gguf', 'c.gguf', 'd.gguf'].map((name) => join(root, name)) }),
    ]
    for (const other of others) {
      const directory = await altered('c.gguf.sealed', (bytes) => bytes)
      await copyFile(join(other, 'a.gguf.sealed'), join(directory, 'a.gguf.sealed'))
      expect(await codeOf(() => readAll(directory))).toBe('sealed_chunk_invalid')
    }
  })

  it('S12: any flipped bit of a sealed file is refused', async () => {
    const length = (await readFile(join(model, 'a.gguf.sealed'))).length
    await fc.assert(
      fc.asyncProperty(fc.nat(8 * length - 1), async (bit) => {
        const flip = (bytes: Buffer): Buffer => {
          const changed = Buffer.from(bytes)
          changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
          return changed
        }
        expect(await codeOf(async () => readAll(await altered('a.gguf.sealed', flip)))).toBe('sealed_chunk_invalid')
      }),
      { numRuns: 60 },
    )
  })

  it('a missing file is told, by name', async () => {
    const directory = await altered('a.gguf.sealed', (bytes) => bytes)
    await rm(join(directory, 'b.gguf.sealed'))
    expect(await codeOf(() => readAll(directory))).toBe('model_unavailable')
  })

  it('another key is told before anything is opened', async () => {
    expect(await codeOf(() => openSealedModel(model, new Uint8Array(32), trust))).toBe('sealed_key_wrong')
    expect(await codeOf(() => openSealedModel(model, new Uint8Array(16), trust))).toBe('sealed_key_wrong')
    expect(await codeOf(() => openSealedModel(model, new Uint8Array(0), trust))).toBe('sealed_key_wrong')
  })

  it('S13: another publisher is refused, however well it signs', async () => {
    const other = await seal({ publisher: stranger })
    expect(await codeOf(() => readAll(other))).toBe('sealed_publisher_unknown')
  })

  it('S11: a version below the floor is refused', async () => {
    expect(await codeOf(() => readAll(model, modelKey, { ...trust, minimumVersion: 2 }))).toBe('accepted')
    expect(await codeOf(() => readAll(model, modelKey, { ...trust, minimumVersion: 3 }))).toBe('sealed_version_rolled_back')
  })

  const edit = (change: (manifest: SignedManifest) => object) => (bytes: Buffer) => {
    const manifest = parseManifest(bytes.toString())
    return Buffer.from(jcs({ ...manifest, ...change(manifest) } as never))
  }
  const firstFile = (change: object) => edit(({ files }) => ({ files: [{ ...files[0], ...change }, ...files.slice(1)] }))
  it.each<[string, (bytes: Buffer) => Buffer, string]>([
    ['the version raised', edit(() => ({ model_version: 9 })), 'sealed_manifest_signature_invalid'],
    ['a file left out', edit(({ files }) => ({ files: files.slice(1) })), 'sealed_manifest_signature_invalid'],
    ['another hash', firstFile({ sha256: `sha256:${'0'.repeat(64)}` }), 'sealed_manifest_signature_invalid'],
    ['the template digest changed', edit(() => ({ chat_template_digest: `sha256:${'0'.repeat(64)}` })), 'sealed_manifest_signature_invalid'],
    ['a path in a name', firstFile({ name: '../a.gguf' }), 'sealed_manifest_malformed'],
    ['an absolute path', firstFile({ name: '/etc/passwd' }), 'sealed_manifest_malformed'],
    ['a hidden name', firstFile({ name: '.a' }), 'sealed_manifest_malformed'],
    ['a name twice', firstFile({ name: 'B.gguf' }), 'sealed_manifest_malformed'],
    ['no file', edit(() => ({ files: [] })), 'sealed_manifest_malformed'],
    ['a size beyond all chunks', firstFile({ size: chunkSize * 2 ** 32 + 1 }), 'sealed_manifest_malformed'],
    ['a negative size', firstFile({ size: -1 }), 'sealed_manifest_malformed'],
    ['chunks of one byte', edit(() => ({ chunk_size: 1 })), 'sealed_manifest_malformed'],
    ['version 0', edit(() => ({ model_version: 0 })), 'sealed_manifest_malformed'],
    ['another cipher', edit(() => ({ cipher: 'none' })), 'sealed_manifest_malformed'],
    ['a key id that leaves its repository', edit(() => ({ key_id: 'a/../b' })), 'sealed_manifest_malformed'],
    ['an unknown member', edit(() => ({ more: 1 })), 'sealed_manifest_malformed'],
    ['no JSON', () => Buffer.from('manifest'), 'sealed_manifest_malformed'],
    ['no UTF-8', () => Buffer.from([0xff, 0xfe]), 'sealed_manifest_malformed'],
    ['4 MiB', () => Buffer.alloc(1 << 22), 'sealed_manifest_malformed'],
  ])('a manifest with %s is refused', async (_, change, code) => {
    expect(await codeOf(async () => readAll(await altered('manifest.json', change)))).toBe(code)
  })

  it('the hash is part of the key: a publisher who signs another one makes a model that does not open', async () => {
    const directory = await seal({})
    const { publisher: _, signature: __, ...manifest } = parseManifest(await readFile(join(directory, 'manifest.json'), 'utf8'))
    const files = manifest.files.map((file) => ({ ...file, sha256: `sha256:${'0'.repeat(64)}` }))
    await writeFile(join(directory, 'manifest.json'), await signManifest({ ...manifest, files }, publisher))
    expect(await codeOf(() => readAll(directory))).toBe('sealed_chunk_invalid')
  })

  it('the hash of the whole file is checked: bytes that were sealed under the key of another hash are caught', async () => {
    const directory = await seal({})
    await sealOtherBytes(directory, modelKey, 0)
    expect(await codeOf(() => readAll(directory))).toBe('model_hash_mismatch')
  })

  it('an existing directory is left as it is; a file that cannot be read leaves nothing behind', async () => {
    expect(await codeOf(() => seal({ out: model }))).toBe('file_unavailable')
    expect(await readAll(model)).toEqual(contents)
    const directory = join(root, 'never')
    expect(await codeOf(() => seal({ out: directory, files: [join(root, 'absent.gguf')] }))).toBe('model_unavailable')
    await expect(readdir(directory)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('an abort ends sealing and opening, with its reason', async () => {
    const aborted = AbortSignal.abort(new Error('enough'))
    const directory = join(root, 'aborted')
    await expect(seal({ out: directory, signal: aborted })).rejects.toThrow('enough')
    await expect(readdir(directory)).rejects.toMatchObject({ code: 'ENOENT' })
    const [source] = (await openSealedModel(model, modelKey, trust)).files
    const read = async (): Promise<void> => {
      for await (const _ of (source as WeightSource).read(aborted)) break
    }
    await expect(read()).rejects.toThrow('enough')
  })
})
