import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { consistencyProof, fromHex, leafHash, merkleRoot, toHex, utf8, verifyConsistency } from '../../src/bytes/index.ts'
import {
  addCheckpointText,
  auditViewOf,
  entryBundle,
  inclusionProof,
  type LogTrust,
  logEntry,
  noteText,
  parseAddCheckpoint,
  parseCheckpoint,
  parseCosignatures,
  parseLogStatement,
  parseNote,
  parseTilePath,
  parseTlogProof,
  parseVerifierKey,
  signatureLine,
  type Tile,
  TileTree,
  tilePath,
  tileWidth,
  tlogProofText,
  verifierKey,
  verifierKeyText,
  verifyCheckpoint,
  verifyCheckpointOfLog,
  verifyLogStatement,
  verifyNote,
  verifyTlogProof,
  widthIn,
} from '../../src/log/index.ts'
import { keysetDigest, parseKeyset, parseReceipt, ReceiptKeys, verifyReceipt } from '../../src/receipt/index.ts'
import { c2spAddCheckpoint, c2spAnswer, c2spCosigned, c2spNote, litewitness } from './published.ts'
import { entry, vectors, vectorTrust } from './vectors.ts'

const script = fileURLToPath(new URL('make-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0
let trust: LogTrust
let leaves: Uint8Array[]
beforeAll(async () => {
  trust = await vectorTrust()
  leaves = await Promise.all(Array.from({ length: 600 }, (_, i) => leafHash(entry(i))))
})

describe('published examples, byte for byte', () => {
  it('the note of c2sp.org/signed-note verifies under its key', async () => {
    const key = await parseVerifierKey(c2spNote.vkey)
    expect(verifierKeyText(key)).toBe(c2spNote.vkey)
    const note = parseNote(c2spNote.note)
    expect(await verifyNote(note, [key])).toEqual([key])
    expect(noteText(note)).toBe(c2spNote.note)
  })

  it('the cosigned checkpoint of c2sp.org/tlog-cosignature is read, with the time of its witness', () => {
    const note = parseNote(c2spCosigned)
    expect(parseCheckpoint(note.text)).toMatchObject({ origin: 'example.com/behind-the-sofa', size: 20852163, extensions: [] })
    const cosignature = note.signatures[1]?.signature ?? new Uint8Array(0)
    expect(cosignature.length).toBe(72)
    expect(new DataView(cosignature.buffer).getBigUint64(0)).toBe(1679315147n)
    expect(noteText(note)).toBe(c2spCosigned)
  })

  it('the messages of c2sp.org/tlog-witness are read and written again', () => {
    const request = parseAddCheckpoint(c2spAddCheckpoint)
    expect({ ...request, consistency: request.consistency.length }).toMatchObject({ oldSize: 20852014, consistency: 4 })
    expect(addCheckpointText(request)).toBe(c2spAddCheckpoint)
    expect(parseCosignatures(c2spAnswer).map(signatureLine).join('')).toBe(c2spAnswer)
  })

  it('the checkpoints and consistency proofs of the tests of litewitness hold, or do not, as they say', async () => {
    const key = await verifierKey(litewitness.origin, 'ed25519', fromHex(litewitness.publicKey))
    let seen: { size: number; root: Uint8Array } = { size: 0, root: await merkleRoot([]) }
    for (const [text, status] of litewitness.requests) {
      const { oldSize, consistency, checkpoint } = parseAddCheckpoint(text)
      const next = await verifyCheckpointOfLog(checkpoint, { origin: litewitness.origin, key }).catch((error: { code: string }) => error.code)
      if (typeof next === 'string') {
        // Its base64 is not canonical, so this note is not read at all; litewitness finds a wrong signature in it.
        expect([status, next]).toEqual([403, 'note_malformed'])
        continue
      }
      const consistent = seen.size === 0 ? consistency.length === 0 : await verifyConsistency(seen.size, seen.root, next.size, next.root, consistency)
      const found = oldSize !== seen.size ? 409 : consistent ? 200 : 422
      expect(found).toBe(status)
      if (found === 200) seen = next
    }
    expect(seen.size).toBe(5)
  })

  it('paths of tiles are those of c2sp.org/tlog-tiles', () => {
    expect(tilePath({ level: 0, index: 1234067, width: 256 })).toBe('tile/0/x001/x234/067')
    expect(tilePath({ level: 'entries', index: 5, width: 17 })).toBe('tile/entries/005.p/17')
    // Its example: a tree of 70,000 leaves.
    expect(
      [0, 1, 2].map((level) => [Math.floor(70_000 / 256 ** (level + 1)), widthIn(70_000, level, Math.floor(70_000 / 256 ** (level + 1)))]),
    ).toEqual([
      [273, 112],
      [1, 17],
      [0, 1],
    ])
    expect([widthIn(256, 0, 0), widthIn(256, 0, 1), widthIn(256, 1, 0)]).toEqual([256, 0, 1])
  })
})

describe('vectors of the specification', () => {
  it.skipIf(!python)('are what an implementation in another language makes of it (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it('roots, inclusion and consistency proofs', async () => {
    for (const [size, root] of Object.entries(vectors.roots)) expect(toHex(await merkleRoot(leaves.slice(0, Number(size))))).toBe(root)
    for (const { first, second, proof } of vectors.consistency)
      expect((await consistencyProof(leaves.slice(0, second), first)).map(toHex)).toEqual(proof)
    for (const { index, size, text } of vectors.proofs)
      expect((await inclusionProof(leaves.slice(0, size), index)).map(toHex)).toEqual(parseTlogProof(text).path.map(toHex))
  })

  it('proofs of inclusion verify, and are written again as they are', async () => {
    for (const { index, size, text } of vectors.proofs) {
      expect(tlogProofText(parseTlogProof(text))).toBe(text)
      const { index: found, checkpoint } = await verifyTlogProof(text, entry(index), trust)
      expect([found, checkpoint.size, checkpoint.witnessedAt]).toEqual([index, size, vectors.witnessed_at])
    }
  })

  it('S21: the checkpoint counts with its quorum, and the time that a quorum vouches for is the earlier of the two', async () => {
    const { size, cosignatures, witnessedAt } = await verifyCheckpoint(vectors.checkpoint, trust)
    expect({ size, witnessedAt }).toEqual({ size: 600, witnessedAt: vectors.witnessed_at })
    expect(cosignatures.map(({ name }) => name)).toEqual(['witness1.example', 'witness3.example'])
  })

  it('S6: the view of a receipt, the head of a chain, their entries and leaves', async () => {
    const { keyset, receipt: text, receipt_key: key, view, head } = vectors.statements
    const keys = new ReceiptKeys(parseKeyset(keyset))
    const digest = await keysetDigest(keys.keyset)
    const receipt = await verifyReceipt(parseReceipt(text), keys, digest, { requestHash: null, responseHash: null, clientNonce: null })
    expect((await verifyLogStatement(parseLogStatement(view.text), keys, digest)).statement).toEqual(await auditViewOf(receipt, fromHex(key)))
    await verifyLogStatement(parseLogStatement(head.text), keys, digest)
    for (const one of [view, head]) {
      const entryOf = await logEntry(parseLogStatement(one.text).statement)
      expect([toHex(entryOf), toHex(await leafHash(entryOf))]).toEqual([one.entry, one.leaf])
    }
  })

  it('tiles: names and contents, and every proof from tiles is that from leaves', async () => {
    const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
    const read = async (tile: Tile): Promise<Uint8Array> => {
      const bytes = await tileBytes(tile)
      expect(hash(bytes)).toBe(vectors.tiles[tilePath(tile)])
      return bytes
    }
    const tree = new TileTree(600, read)
    expect(toHex(await tree.root())).toBe(vectors.roots['600'])
    for (const index of [0, 255, 256, 511, 599]) {
      expect((await tree.inclusion(index)).map(toHex)).toEqual((await inclusionProof(leaves, index)).map(toHex))
      expect(toHex(await tree.leaf(index))).toBe(toHex(leaves[index] as Uint8Array))
    }
    for (const first of [1, 2, 255, 256, 300, 512, 599, 600])
      expect((await tree.consistency(first)).map(toHex)).toEqual((await consistencyProof(leaves, first)).map(toHex))
    for (const path of Object.keys(vectors.tiles)) {
      const tile = parseTilePath(path)
      if (tile === null) throw new Error(`no tile: ${path}`)
      expect(hash(await tileBytes(tile))).toBe(vectors.tiles[path])
    }
  })
})

async function tileBytes({ level, index, width }: Tile): Promise<Uint8Array> {
  const from = index * tileWidth
  if (level === 'entries') return entryBundle(Array.from({ length: width }, (_, i) => entry(from + i)))
  let hashes = leaves
  for (let at = 0; at < level; at++) {
    const groups = Array.from({ length: Math.floor(hashes.length / tileWidth) }, (_, i) => hashes.slice(i * tileWidth, (i + 1) * tileWidth))
    hashes = await Promise.all(groups.map((group) => merkleRoot(group)))
  }
  return new Uint8Array(Buffer.concat(hashes.slice(from, from + width)))
}

it('texts are signed as UTF-8, with their final newline', async () => {
  const key = await parseVerifierKey(c2spNote.vkey)
  expect(utf8(parseNote(c2spNote.note).text).at(-1)).toBe(10)
  const cut = c2spNote.note.replace('message.\n', 'message.\n\n')
  await expect(verifyNote(parseNote(cut), [key])).rejects.toMatchObject({ code: 'note_signature_invalid' })
})
