import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { containerHead, containerLayout, parseManifest } from 'veritee/seal'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readManifestText, readSealedModel } from '../../src/enclave/sealed/manifest.ts'
import { openSealedModel } from '../../src/enclave/sealed/open.ts'
import { type SealOptions, sealModel } from '../../src/models/sealing/seal.ts'
import { codeOf } from './code-of.ts'

const chunkSize = 4096
const sealedChunk = chunkSize + 16
const publisher = await generateEd25519()
const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
const modelKey = new Uint8Array(randomBytes(32))
const contents = {
  'a.gguf': randomBytes(9 * chunkSize + 5),
  'b.gguf': randomBytes(2 * chunkSize),
  'c.gguf': Buffer.alloc(0),
  'd.gguf': randomBytes(10),
}

let root: string
let whole: Buffer
let starts: readonly number[]
let headLength: number
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-container-'))
  for (const [name, bytes] of Object.entries(contents)) await writeFile(at(name), bytes)
  const out = await seal()
  whole = await readFile(out)
  const text = await readManifestText(out)
  ;({ starts } = containerLayout(parseManifest(text), Buffer.byteLength(text)))
  headLength = 32 + Buffer.byteLength(text)
})
afterAll(() => rm(root, { recursive: true, force: true }))

const at = (name: string): string => join(root, name)
const fresh = (): string => at(`made-${count++}`)

async function seal(changes: Partial<SealOptions> = {}): Promise<string> {
  const out = fresh()
  const names = { name: 'demo', modelVersion: 2, keyId: 'models/demo/2', chatTemplateDigest: null, licence: 'Ä, 文', created: 1_790_000_000 }
  await sealModel({ files: Object.keys(contents).map(at), out, form: 'file', ...names, modelKey, publisher, chunkSize, ...changes })
  return changes.out ?? out
}

async function readAll(path: string): Promise<Record<string, Buffer>> {
  const { files } = await openSealedModel(path, modelKey, trust)
  const read: Record<string, Buffer> = {}
  for (const file of files) {
    const parts: Buffer[] = []
    for await (const part of file.read()) parts.push(Buffer.from(part))
    read[file.name] = Buffer.concat(parts)
  }
  return read
}

async function made(bytes: Uint8Array): Promise<string> {
  const path = fresh()
  await writeFile(path, bytes)
  return path
}

const flipped = (bytes: Buffer, place: number, bits = 1): Buffer => Buffer.from(bytes).fill((bytes[place] as number) ^ bits, place, place + 1)
const start = (index: number): number => starts[index] as number

describe('a sealed model in one file', () => {
  it('gives back every byte; its files begin at multiples of 4096, and it ends with the last', async () => {
    const path = await made(whole)
    expect(await readAll(path)).toEqual(contents)
    expect(starts.map((place) => place % 4096)).toEqual([0, 0, 0, 0])
    expect(whole.length).toBe(start(3) + 10 + 16)
  })

  it('S12: holds no run of the plain bytes', () => {
    for (const bytes of Object.values(contents))
      for (let place = 0; place + 8 <= bytes.length; place += 8) expect(whole.includes(bytes.subarray(place, place + 8))).toBe(false)
  })

  it.each<[string, () => Buffer, string]>([
    ['nothing', () => Buffer.alloc(0), 'sealed_container_malformed'],
    ['a plain model', () => Buffer.from('GGUF'.repeat(100)), 'sealed_container_malformed'],
    ['the beginning alone', () => whole.subarray(0, 32), 'sealed_container_malformed'],
    ['cut within the manifest', () => whole.subarray(0, headLength - 1), 'sealed_container_malformed'],
    [
      'the length of the manifest one less',
      () => flipped(whole, 31, (whole[31] as number) ^ ((whole[31] as number) - 1)),
      'sealed_manifest_malformed',
    ],
    [
      'the length of the manifest 256 more',
      () => flipped(whole, 30, (whole[30] as number) ^ ((whole[30] as number) + 1)),
      'sealed_manifest_malformed',
    ],
    ['a manifest that is no UTF-8', () => flipped(whole, whole.indexOf('Ä'), 0x40), 'sealed_manifest_malformed'],
    ['a sign of the manifest changed', () => flipped(whole, whole.indexOf('"demo"') + 1), 'sealed_manifest_signature_invalid'],
    ['a byte after the manifest', () => flipped(whole, headLength + 2), 'sealed_container_malformed'],
    ['a byte before the second file', () => flipped(whole, start(1) - 1), 'sealed_container_malformed'],
    ['a byte after the second file', () => flipped(whole, start(1) + 2 * sealedChunk), 'sealed_container_malformed'],
    ['a byte more', () => Buffer.concat([whole, Buffer.alloc(1)]), 'sealed_file_size'],
    ['a byte less', () => whole.subarray(0, -1), 'sealed_file_size'],
    ['cut before the last file', () => whole.subarray(0, start(3)), 'sealed_file_size'],
    ['everything twice', () => Buffer.concat([whole, whole]), 'sealed_file_size'],
    ['without what lies between', () => Buffer.concat([whole.subarray(0, start(1) - 1), whole.subarray(start(1))]), 'sealed_file_size'],
    ['a chunk changed', () => flipped(whole, start(0) + 7), 'sealed_chunk_invalid'],
    [
      'two chunks exchanged',
      () => {
        const [one, two] = [start(0) + sealedChunk, start(0) + 2 * sealedChunk]
        return Buffer.concat([
          whole.subarray(0, one),
          whole.subarray(two, two + sealedChunk),
          whole.subarray(one, two),
          whole.subarray(two + sealedChunk),
        ])
      },
      'sealed_chunk_invalid',
    ],
    [
      'a chunk of one file in another',
      () => Buffer.concat([whole.subarray(0, start(1)), whole.subarray(start(0), start(0) + sealedChunk), whole.subarray(start(1) + sealedChunk)]),
      'sealed_chunk_invalid',
    ],
  ])('S12: %s is refused', async (_, bytes, code) => {
    expect(await codeOf(async () => readAll(await made(bytes())))).toBe(code)
  })

  it('S12: whatever byte is changed, it is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (place, bits) => {
        expect(await codeOf(async () => readAll(await made(flipped(whole, place, bits))))).not.toBe('accepted')
      }),
      { numRuns: 150 },
    )
  })

  it('S12: files under the head of another version, or of another sealing of the same bytes, do not open', async () => {
    for (const changes of [{ modelVersion: 3 }, {}]) {
      const other = await readFile(await seal(changes))
      expect(other.length).toBe(whole.length)
      const mixed = Buffer.concat([other.subarray(0, start(0)), whole.subarray(start(0))])
      expect(await codeOf(async () => readAll(await made(mixed)))).toBe('sealed_chunk_invalid')
    }
  })

  it('without a key its manifest, its length and what lies between are checked, and S11, S13: publisher and version', async () => {
    const path = await made(whole)
    expect((await readSealedModel(path, trust)).manifest.model_version).toBe(2)
    expect(await codeOf(() => readSealedModel(path, { ...trust, minimumVersion: 3 }))).toBe('sealed_version_rolled_back')
    expect(await codeOf(() => readSealedModel(path, { ...trust, publishers: [] }))).toBe('sealed_publisher_unknown')
    expect(await codeOf(async () => readSealedModel(await made(whole.subarray(0, -1)), trust))).toBe('sealed_file_size')
  })

  it.skipIf(process.platform !== 'linux')('what has no end or is no file is refused (needs /dev/zero of Linux)', async () => {
    const path = fresh()
    await symlink('/dev/zero', path)
    expect(await codeOf(() => readAll(path))).toBe('model_unavailable')
    expect(await codeOf(() => readAll(fresh()))).toBe('model_unavailable')
  })

  it('S12: is refused where it changes while it is read', async () => {
    const path = await made(whole)
    const { files } = await openSealedModel(path, modelKey, trust)
    await writeFile(path, Buffer.concat([whole, Buffer.alloc(1)]))
    expect(await codeOf(async () => files[0]?.read()[Symbol.asyncIterator]().next())).toBe('sealed_file_size')
  })
})

describe('sealing into one file', () => {
  const interrupted = async (after: number): Promise<string> => {
    const out = fresh()
    const controller = new AbortController()
    const onProgress: SealOptions['onProgress'] = ({ receivedBytes }) => receivedBytes >= after && controller.abort(new Error('enough'))
    await expect(seal({ out, onProgress, signal: controller.signal })).rejects.toThrow('enough')
    return out
  }
  const left = async (out: string): Promise<string[]> => (await readdir(root)).filter((name) => at(name).startsWith(out))

  it('goes on where it was interrupted: the same salt, chunks that open are kept, and the name appears with the last byte', async () => {
    const out = await interrupted(7 * chunkSize)
    expect((await left(out)).sort()).toEqual([`${out}.part`, `${out}.sealing.json`].map((path) => path.slice(root.length + 1)))
    const { salt } = parseManifest(await readFile(`${out}.sealing.json`, 'utf8'))
    const before = await readFile(`${out}.part`)
    expect(before.length).toBeGreaterThan(start(0) + sealedChunk)
    const part = openSync(`${out}.part`, 'r+')
    writeSync(part, Buffer.alloc(9), 0, 9, start(0) + 20)
    closeSync(part)
    await seal({ out })
    expect(await readAll(out)).toEqual(contents)
    expect(parseManifest(await readManifestText(out)).salt).toBe(salt)
    expect((await readFile(out)).subarray(start(0), before.length)).toEqual(before.subarray(start(0)))
    expect(await left(out)).toEqual([out.slice(root.length + 1)])
  })

  it('of files that are shorter now leaves nothing of what was sealed before', async () => {
    const out = await interrupted(9 * chunkSize + 100)
    await writeFile(at('a.gguf'), contents['a.gguf'].subarray(0, chunkSize))
    try {
      await seal({ out })
      expect(await readAll(out)).toEqual({ ...contents, 'a.gguf': contents['a.gguf'].subarray(0, chunkSize) })
      expect((await stat(out)).size).toBeLessThan(whole.length)
    } finally {
      await writeFile(at('a.gguf'), contents['a.gguf'])
    }
  })

  it('does not go on with another model, another key or the other form, and stays as it is', async () => {
    const out = await interrupted(7 * chunkSize)
    const before = await readFile(`${out}.part`)
    expect(await codeOf(() => seal({ out, modelVersion: 3 }))).toBe('usage')
    expect(await codeOf(() => seal({ out, modelKey: new Uint8Array(32) }))).toBe('sealed_key_wrong')
    expect(await readFile(`${out}.part`)).toEqual(before)
    const directory = await seal({ out: fresh(), form: 'directory' })
    expect(await codeOf(() => seal({ out: directory }))).toBe('file_unavailable')
    expect(await codeOf(async () => seal({ out: await seal(), form: 'directory' }))).toBe('file_unavailable')
  })

  it.each(['', '.part'])('leaves a file that is there already as it is: FILE%s', async (ending) => {
    const out = fresh()
    await writeFile(`${out}${ending}`, 'mine')
    expect(await codeOf(() => seal({ out }))).toBe('file_unavailable')
    expect(await readFile(`${out}${ending}`, 'utf8')).toBe('mine')
  })

  it('takes no file that appears meanwhile away, and follows no link', async () => {
    const out = fresh()
    const onProgress: SealOptions['onProgress'] = () => closeSync(openSync(out, 'a'))
    expect(await codeOf(() => seal({ out, onProgress }))).toBe('file_unavailable')
    expect((await stat(out)).size).toBe(0)
    const linked = fresh()
    const victim = await made(Buffer.from('mine'))
    await symlink(victim, `${linked}.sealing.json.part`)
    expect(await codeOf(() => seal({ out: linked }))).toBe('file_unavailable')
    expect(await readFile(victim, 'utf8')).toBe('mine')
  })
})

it('the head is a function of the manifest', async () => {
  const text = await readManifestText(await made(whole))
  expect(Buffer.from(containerHead(text))).toEqual(whole.subarray(0, start(0)))
})
