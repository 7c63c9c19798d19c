import { spawnSync } from 'node:child_process'
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex, utf8 } from '../../src/bytes/index.ts'
import {
  checkContainerPadding,
  checkContainerText,
  checkKey,
  chunkCount,
  chunkPlace,
  containerHead,
  containerLayout,
  fileKey,
  keyCheck,
  openChunk,
  readContainerPrefix,
  sealChunk,
  sealedSize,
  signManifest,
  verifyManifest,
} from '../../src/seal/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly model_key: string
  readonly publisher_seed: string
  readonly manifest: string
  readonly file_keys: readonly string[]
  readonly nonce_prefixes: readonly string[]
  readonly plain: readonly string[]
  readonly sealed_sha256: readonly string[]
  readonly container: {
    readonly starts: readonly string[]
    readonly size: string
    readonly sha256: string
    readonly refused_heads: readonly { readonly why: string; readonly head: string; readonly code: string }[]
  }
  readonly refused: readonly { readonly why: string; readonly manifest: string; readonly code: string }[]
}

const path = new URL('../../../../spec/vectors/sealed-model.json', import.meta.url)
const vectors = JSON.parse(readFileSync(path, 'utf8')) as Vectors
const modelKey = fromHex(vectors.model_key)
// The plain files are given by their length: byte i is i modulo 251.
const plain = vectors.plain.map((length) => Uint8Array.from({ length: Number(length) }, (_, i) => i % 251))
const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(vectors.publisher_seed, 'hex')])
const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
const publicKey = new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).subarray(-32))
const publisher = { publicKey, sign: (message: Uint8Array) => new Uint8Array(sign(null, message, privateKey)) }
const trust = { publishers: [toHex(publicKey)], minimumVersion: 1 }

const script = fileURLToPath(new URL('make-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0

describe('the vectors of the specification', () => {
  it.skipIf(!python)('are what an implementation in another language makes of the specification (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it('a key is of one content: another digest, name, place or size gives another key and another prefix', async () => {
    const manifest = await verifyManifest(vectors.manifest, trust)
    const [file] = manifest.files
    if (file === undefined) throw new TypeError('no file')
    const others = [{ sha256: `sha256:${'0'.repeat(64)}` }, { name: 'other.gguf' }, { size: 1 }].map((change) => ({ ...file, ...change }))
    const keys = [await fileKey(modelKey, manifest, 0, file), await fileKey(modelKey, manifest, 1, file)]
    for (const other of others) keys.push(await fileKey(modelKey, manifest, 0, other))
    expect(new Set(keys.map(({ key }) => toHex(key))).size).toBe(5)
    expect(new Set(keys.map(({ noncePrefix }) => toHex(noncePrefix))).size).toBe(5)
  })

  it('the manifest verifies, and signing it again gives the same text', async () => {
    const { publisher: _, ...manifest } = await verifyManifest(vectors.manifest, trust)
    expect(await signManifest(manifest, publisher)).toBe(vectors.manifest)
  })

  it('keys, chunks and files are those that are written there', async () => {
    const manifest = await verifyManifest(vectors.manifest, trust)
    const { starts, size } = containerLayout(manifest, vectors.manifest.length)
    expect([starts.map(String), String(size)]).toEqual([vectors.container.starts, vectors.container.size])
    const container = Buffer.alloc(size)
    container.set(containerHead(vectors.manifest))
    await checkKey(modelKey, manifest)
    expect(await keyCheck(modelKey, manifest.salt)).toBe(manifest.key_check)
    for (const [index, file] of manifest.files.entries()) {
      const bytes = plain[index] as Uint8Array
      expect(file.sha256).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
      const { key, noncePrefix } = await fileKey(modelKey, manifest, index, file)
      expect(toHex(key)).toBe(vectors.file_keys[index])
      expect(toHex(noncePrefix)).toBe(vectors.nonce_prefixes[index])
      const sealed = Buffer.alloc(sealedSize(file.size, manifest.chunk_size))
      for (let n = 0; n < chunkCount(file.size, manifest.chunk_size); n++) {
        const { start, length, last } = chunkPlace(n, file.size, manifest.chunk_size)
        const part = bytes.subarray(n * manifest.chunk_size, n * manifest.chunk_size + length - 16)
        const chunk = await sealChunk(key, noncePrefix, n, last, part)
        sealed.set(chunk, start)
        expect(await openChunk(key, noncePrefix, n, !last, chunk)).toBeNull()
        expect(await openChunk(key, noncePrefix, n + 1, last, chunk)).toBeNull()
      }
      expect(createHash('sha256').update(sealed).digest('hex')).toBe(vectors.sealed_sha256[index])
      container.set(sealed, starts[index])
    }
    expect(createHash('sha256').update(container).digest('hex')).toBe(vectors.container.sha256)
    expect(readContainerPrefix(container)).toBe(vectors.manifest.length)
  })

  it.each(vectors.refused)('refused: $why', async ({ manifest, code }) => {
    expect(await refusal(() => verifyManifest(manifest, trust))).toBe(code)
  })

  it.each(vectors.container.refused_heads)('refused as a single file: $why', async ({ head, code }) => {
    expect(await refusal(() => readContainerPrefix(fromHex(head)))).toBe(code)
  })

  it.each<[string, (text: string) => string, string]>([
    ['a space', (text) => text.replace(':', ': '), 'sealed_container_malformed'],
    ['a line end', (text) => `${text}\n`, 'sealed_container_malformed'],
    ['another order of members', (text) => text.replace(/^\{("chat_template_digest":null),(.*)\}$/, '{$2,$1}'), 'sealed_container_malformed'],
    ['a letter in an escape', (text) => text.replace('"Apache-2.0"', '"\\u0041pache-2.0"'), 'sealed_container_malformed'],
    ['a byte order mark', (text) => `\ufeff${text}`, 'sealed_manifest_malformed'],
    ['an unknown member', (text) => text.replace('{', '{"a":0,'), 'sealed_manifest_malformed'],
  ])('as a single file a manifest with %s is refused, whose signature would hold without', async (_, change, code) => {
    expect(await refusal(() => checkContainerText(vectors.manifest))).toBe('accepted')
    const changed = change(vectors.manifest)
    expect(changed).not.toBe(vectors.manifest)
    expect(await refusal(() => checkContainerText(changed))).toBe(code)
  })

  it('files whose places would be beyond 2^53 are refused, and nothing but zeros lies between files', async () => {
    const file = (size: number): { name: string; sha256: string; size: number } => ({ name: `${size}`, sha256: '', size })
    const most = Number.MAX_SAFE_INTEGER
    expect(await refusal(() => containerLayout({ files: [file(most)], chunk_size: 1 << 22 }, 2))).toBe('sealed_container_malformed')
    expect(await refusal(() => containerLayout({ files: [file(2 ** 52), file(2 ** 52)], chunk_size: 1 << 22 }, 2))).toBe('sealed_container_malformed')
    expect(await refusal(() => containerLayout({ files: [file(2 ** 51), file(2 ** 51)], chunk_size: 1 << 22 }, 2))).toBe('accepted')
    expect(await refusal(() => checkContainerPadding(Uint8Array.of(0, 0, 1), 0))).toBe('sealed_container_malformed')
    expect(await refusal(() => checkContainerPadding(new Uint8Array(3), 0))).toBe('accepted')
  })

  it('a signature without the prefix of this format is none', async () => {
    const { signature: _, ...unsigned } = JSON.parse(vectors.manifest) as Record<string, unknown>
    const signature = toHex(publisher.sign(utf8(JSON.stringify(unsigned))))
    const forged = JSON.stringify({ ...unsigned, signature })
    expect(await refusal(() => verifyManifest(forged, trust))).toBe('sealed_manifest_signature_invalid')
  })
})
