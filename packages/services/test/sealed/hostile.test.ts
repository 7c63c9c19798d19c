import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { maxManifestLength, parseManifest } from 'veritee/seal'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readManifestText } from '../../src/enclave/sealed/manifest.ts'
import { openSealedModel } from '../../src/enclave/sealed/open.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { codeOf } from './code-of.ts'
import { sealOtherBytes } from './other-bytes.ts'

const chunkSize = 4096
const publisher = await generateEd25519()
const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
const modelKey = new Uint8Array(randomBytes(32))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0

let root: string
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-hostile-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const fresh = (): string => join(root, `made-${count++}`)

async function plainFile(name: string, bytes: Uint8Array): Promise<string> {
  const directory = fresh()
  await mkdir(directory)
  await writeFile(join(directory, name), bytes)
  return join(directory, name)
}

async function seal(files: readonly string[], changes: Partial<Parameters<typeof sealModel>[0]> = {}): Promise<string> {
  const directory = fresh()
  const names = { name: 'demo', modelVersion: 1, keyId: 'models/demo/1', chatTemplateDigest: null, licence: null, created: 1_790_000_000 }
  await sealModel({ files, out: directory, ...names, modelKey, publisher, chunkSize, ...changes })
  return directory
}

/** What a reader gave out, and how it ended. */
async function released(directory: string): Promise<{ readonly bytes: Buffer; readonly end: string }> {
  const parts: Buffer[] = []
  const end = await codeOf(async () => {
    const { files } = await openSealedModel(directory, modelKey, trust)
    for (const file of files) for await (const part of file.read()) parts.push(Buffer.from(part))
  })
  return { bytes: Buffer.concat(parts), end }
}

describe('reading', () => {
  it.each([1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, 20 * chunkSize])(
    'S12: of %i bytes that are not those of the digest the last chunk is never given out, so who counts bytes never has them all',
    async (size) => {
      const directory = await seal([await plainFile('m.gguf', randomBytes(size))])
      const other = await sealOtherBytes(directory, modelKey, 0)
      const { bytes, end } = await released(directory)
      expect(end).toBe('model_hash_mismatch')
      expect(bytes.equals(other.subarray(0, (Math.ceil(size / chunkSize) - 1) * chunkSize))).toBe(true)
    },
  )

  it('S12: whatever is done to a sealed file, what is given out is a beginning of the plain file, and the end is a refusal', async () => {
    const plain = randomBytes(4 * chunkSize + 77)
    const directory = await seal([await plainFile('m.gguf', plain)])
    const path = join(directory, 'm.gguf.sealed')
    const sealed = await readFile(path)
    const place = fc.nat(sealed.length - 1)
    const damage = fc.oneof(
      fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(([at, bits]) => Buffer.from(sealed).fill((sealed[at] as number) ^ bits, at, at + 1)),
      place.map((length) => sealed.subarray(0, length)),
      fc.uint8Array({ minLength: 1, maxLength: 2 * chunkSize }).map((more) => Buffer.concat([sealed, more])),
      fc.tuple(place, place, fc.integer({ min: 1, max: chunkSize })).map(([to, from, length]) => {
        const spliced = Buffer.from(sealed)
        sealed.copy(spliced, to, from, from + length)
        return spliced
      }),
    )
    await fc.assert(
      fc.asyncProperty(damage, async (bytes) => {
        fc.pre(!bytes.equals(sealed))
        await writeFile(path, bytes)
        const found = await released(directory)
        expect(['sealed_chunk_invalid', 'sealed_file_size']).toContain(found.end)
        expect(found.bytes.length).toBeLessThan(plain.length)
        expect(found.bytes.equals(plain.subarray(0, found.bytes.length))).toBe(true)
      }),
      { numRuns: 120 },
    )
    await writeFile(path, sealed)
    expect(await released(directory)).toEqual({ bytes: plain, end: 'accepted' })
  })

  /** In place: a file that is cut first and written then would be read at a moment when it is short. */
  async function overwrite(path: string, bytes: Uint8Array, position: number): Promise<void> {
    const file = await open(path, 'r+')
    await file.write(bytes, 0, bytes.length, position)
    await file.close()
  }

  it('S12: a file that changes while it is read is refused where it changed', async () => {
    const directory = await seal([await plainFile('m.gguf', randomBytes(24 * chunkSize))])
    const path = join(directory, 'm.gguf.sealed')
    const { files } = await openSealedModel(directory, modelKey, trust)
    let parts = 0
    const end = await codeOf(async () => {
      for (const file of files)
        for await (const _ of file.read()) if (++parts === 1) await overwrite(path, Buffer.alloc(chunkSize), 20 * (chunkSize + 16))
    })
    expect([end, parts]).toEqual(['sealed_chunk_invalid', 20])
  })

  it.skipIf(!existsSync('/dev/zero'))('a manifest without an end is refused after its bound, whatever size is stated (needs /dev/zero)', async () => {
    const directory = fresh()
    await mkdir(directory)
    await symlink('/dev/zero', join(directory, 'manifest.json'))
    expect(await codeOf(() => readManifestText(directory))).toBe('sealed_manifest_malformed')
  })

  it.each([
    ['at its bound', 0, 'accepted'],
    ['a byte beyond it', 1, 'sealed_manifest_malformed'],
  ])('a manifest %s', async (_, more, code) => {
    const directory = fresh()
    await mkdir(directory)
    await writeFile(join(directory, 'manifest.json'), ' '.repeat(4 * maxManifestLength + more))
    expect(await codeOf(() => readManifestText(directory))).toBe(code)
  })

  it('a directory in the place of the manifest is told', async () => {
    const directory = fresh()
    await mkdir(join(directory, 'manifest.json'), { recursive: true })
    expect(await codeOf(() => readManifestText(directory))).toBe('model_unavailable')
  })
})

describe('sealing', () => {
  it.each<[string, readonly string[], Partial<Parameters<typeof sealModel>[0]>]>([
    ['a file name with a space', ['my model.gguf'], {}],
    ['a hidden file', ['.m.gguf'], {}],
    ['two files of one name', ['m.gguf', 'm.gguf'], {}],
    ['two names that differ in case only', ['m.gguf', 'M.gguf'], {}],
    ['no file', [], {}],
    ['a model name with a space', ['m.gguf'], { name: 'x y' }],
    ['version 0', ['m.gguf'], { modelVersion: 0 }],
    ['chunks of one byte', ['m.gguf'], { chunkSize: 1 }],
    ['a template digest that is none', ['m.gguf'], { chatTemplateDigest: 'sha256:0' }],
    ['a licence without end', ['m.gguf'], { licence: 'x'.repeat(257) }],
  ])('%s is refused before a byte is read or a directory made', async (_, names, changes) => {
    const files = await Promise.all(names.map((name) => plainFile(name, randomBytes(10))))
    const before = await readdir(root)
    const read: unknown[] = []
    expect(await codeOf(() => seal(files, { ...changes, onProgress: (progress) => read.push(progress) }))).toBe('usage')
    expect(read).toEqual([])
    expect(await readdir(root)).toEqual(before)
  })

  it.skipIf(process.platform !== 'linux')(
    'a source that fails while it is read is a coded error, and nothing is left (needs /proc of Linux)',
    async () => {
      // A regular file of size 0 whose first byte cannot be read.
      const before = await readdir(root)
      expect(await codeOf(() => seal(['/proc/self/mem']))).toBe('file_unavailable')
      expect(await readdir(root)).toEqual(before)
    },
  )
})

// From spec/sealed-model.md alone, in another language and with another library.
const reader = `
import hashlib, json, os, sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
directory, key, publisher = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
canonical = lambda value: json.dumps(value, sort_keys=True, separators=(',', ':'), ensure_ascii=False).encode()
m = json.load(open(os.path.join(directory, 'manifest.json')))
signature = bytes.fromhex(m.pop('signature'))
Ed25519PublicKey.from_public_bytes(publisher).verify(signature, b'veritee.sealed-model.v1\\n' + canonical(m))
derive = lambda info, length: HKDF(hashes.SHA256(), length, bytes.fromhex(m['salt']), info).derive(key)
assert derive(b'veritee.sealed-model.v1 key check', 16).hex() == m['key_check']
for index, file in enumerate(m['files']):
    info = {'chunk_size': m['chunk_size'], 'cipher': m['cipher'], 'file': file['name'], 'index': index, 'model': m['name'],
            'model_version': m['model_version'], 'purpose': 'file', 'sha256': file['sha256'], 'size': file['size'], 'version': m['version']}
    derived = derive(canonical(info), 39)
    gcm, prefix = AESGCM(derived[:32]), derived[32:]
    sealed = open(os.path.join(directory, file['name'] + '.sealed'), 'rb').read()
    step, plain = m['chunk_size'] + 16, b''
    starts = list(range(0, len(sealed), step))
    for n, at in enumerate(starts):
        nonce = prefix + n.to_bytes(4, 'big') + (b'\\x01' if at == starts[-1] else b'\\x00')
        plain += gcm.decrypt(nonce, sealed[at:at + step], None)
    assert len(plain) == file['size'] and 'sha256:' + hashlib.sha256(plain).hexdigest() == file['sha256']
    print(file['name'], hashlib.sha256(plain).hexdigest())
`

it.skipIf(!python)('a sealed model opens in Python by the words of its specification (needs python3 with cryptography)', async () => {
  const sizes = [0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 5 * chunkSize, 9999]
  const files = await Promise.all(sizes.map((size, i) => plainFile(`part-${i}.gguf`, randomBytes(size))))
  const directory = await seal(files)
  const found = spawnSync('python3', ['-c', reader, directory, toHex(modelKey), toHex(publisher.publicKey)], { encoding: 'utf8' })
  expect(found.stderr).toBe('')
  const { files: sealed } = parseManifest(await readManifestText(directory))
  expect(found.stdout.trim().split('\n')).toEqual(sealed.map(({ name, sha256 }) => `${name} ${sha256.slice(7)}`))
})
