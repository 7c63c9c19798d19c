import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { fromHex, leafHash, merkleRoot, toBase64, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import {
  advance,
  type Checkpoint,
  cosign,
  forkText,
  inclusionProof,
  type LogTrust,
  noteSigner,
  noteText,
  parseAddCheckpoint,
  parseCheckpoint,
  parseCosignatures,
  parseEntryBundle,
  parseLogTrust,
  parseNote,
  parseTilePath,
  parseTlogProof,
  parseVerifierKey,
  signatureLine,
  signCheckpoint,
  tileHashes,
  tilePath,
  verifierKey,
  verifierKeyText,
  verifyCheckpoint,
  verifyCheckpointOfLog,
  verifyFork,
  verifyInclusionProof,
  verifyTlogProof,
} from '../../src/log/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { c2spNote } from './published.ts'
import { entry, vectors, vectorTrust } from './vectors.ts'

let trust: LogTrust
beforeAll(async () => {
  trust = await vectorTrust()
})
const [proof] = vectors.proofs.filter(({ index }) => index === 300).map(({ text }) => text) as [string]
const sig = 'Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM='

describe('hostile inputs', () => {
  it.each([
    ['nothing', ''],
    ['no signatures', 'text\n\n'],
    ['no empty line', `text\n— a ${sig}\n`],
    ['no final newline', `text\n\n— a ${sig}`],
    ['a hyphen for the dash', `text\n\n- a ${sig}\n`],
    ['two spaces', `text\n\n—  a ${sig}\n`],
    ['a plus in the name', `text\n\n— a+b ${sig}\n`],
    ['a no-break space in the name', `text\n\n— a\u00a0b ${sig}\n`],
    ['white space that ECMAScript does not know as such', `text\n\n— a\u0085b ${sig}\n`],
    ['something behind the signature', `text\n\n— a ${sig} x\n`],
    ['base64 without padding', `text\n\n— a ${sig.slice(0, -1)}\n`],
    ['base64 with bits that are not zero', 'text\n\n— a AAAAAAF=\n'],
    ['a key id without signature', 'text\n\n— a AAAAAA==\n'],
    ['a carriage return', `text\r\n\n— a ${sig}\n`],
    ['a tab', `te\txt\n\n— a ${sig}\n`],
    ['half a surrogate pair', `te\ud800xt\n\n— a ${sig}\n`],
    ['65 signatures', `text\n\n${`— a ${sig}\n`.repeat(65)}`],
    ['too long', `${'x'.repeat(1 << 18)}\n\n— a ${sig}\n`],
  ])('note: %s', async (_, text) => {
    expect(await refusal(() => parseNote(text))).toBe('note_malformed')
  })

  it('a note: 64 signatures, empty lines in the text, and names in any script are read', () => {
    expect(parseNote(`a\n\nb\n\n${`— имя/1 ${sig}\n`.repeat(64)}`)).toMatchObject({ text: 'a\n\nb\n', signatures: { length: 64 } })
  })

  it.each([
    ['nothing', ''],
    ['another id', c2spNote.vkey.replace('530d903a', '530d903b')],
    ['an id in upper case', c2spNote.vkey.replace('530d903a', '530D903A')],
    ['another name', c2spNote.vkey.replace('foo', 'fop')],
    ['ECDSA', 'a+00000000+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'],
    ['31 bytes', 'a+00000000+AQ=='],
    ['two parts', 'a+00000000'],
    ['a space', `a ${c2spNote.vkey}`],
  ])('verifier key: %s', async (_, text) => {
    expect(await refusal(() => parseVerifierKey(text))).toBe('log_key_malformed')
  })

  const root = toBase64(new Uint8Array(32))
  it.each([
    ['two lines', 'a\n1\n'],
    ['an empty origin', `\n1\n${root}\n`],
    ['a leading zero', `a\n01\n${root}\n`],
    ['a sign', `a\n+1\n${root}\n`],
    ['2^53', `a\n9007199254740992\n${root}\n`],
    ['31 bytes', `a\n1\n${toBase64(new Uint8Array(31))}\n`],
    ['no newline at the end', `a\n1\n${root}`],
    ['an empty extension', `a\n1\n${root}\n\nx\n`],
  ])('checkpoint: %s', async (_, text) => {
    expect(await refusal(() => parseCheckpoint(text))).toBe('checkpoint_malformed')
  })

  it.each([
    ['another version', proof.replace('@v1', '@v2')],
    ['no index', proof.replace(/index 300\n/, '')],
    ['a leading zero', proof.replace('index 300', 'index 0300')],
    ['a negative index', proof.replace('index 300', 'index -300')],
    ['extra behind the index', proof.replace('index 300', 'index 300\nextra AA==')],
    ['a short hash', proof.replace(/index 300\n.+\n/, 'index 300\nAAAA\n')],
    ['64 hashes', proof.replace('index 300\n', `index 300\n${`${root}\n`.repeat(64)}`)],
    ['no checkpoint', proof.slice(0, proof.indexOf('\n\n'))],
    ['no end', 'c2sp.org/tlog-proof@v1\nindex 0\n'],
  ])('proof: %s', async (_, text) => {
    expect(await refusal(() => parseTlogProof(text))).toBe('tlog_proof_malformed')
  })

  it.each(['', 'old 1', 'old 01\n\nx', 'old -1\n\nx', `old 1\n${'x\n'}\nx`, `old 1\n${`${root}\n`.repeat(64)}\nx`, 'size 1\n\nx'])(
    'request to a witness: %j',
    async (text) => {
      expect(await refusal(() => parseAddCheckpoint(text))).toBe('witness_request_malformed')
    },
  )

  it.each(['', '\n', `— a ${sig}`, `— a ${sig}\n\n`, `— a ${sig}\n`.repeat(17)])('answer of a witness: %j', async (text) => {
    expect(await refusal(() => parseCosignatures(text))).toBe('note_malformed')
  })

  it.each([
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000/000',
    'tile/0/x001',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/../000',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/000\n',
    'tile/0/x999/x999/x999/x999/x999/999',
  ])('path of a tile: %j', (path) => {
    expect(parseTilePath(path)).toBeNull()
  })

  it('tiles and bundles of another length', async () => {
    expect(await refusal(() => tileHashes(new Uint8Array(33), 1))).toBe('tile_malformed')
    for (const [bytes, width] of [
      ['', 1],
      ['00', 1],
      ['0002aa', 1],
      ['0001aa0001bb', 1],
      ['0001aa', 2],
    ] as const)
      expect(await refusal(() => parseEntryBundle(fromHex(bytes), width))).toBe('tile_malformed')
    expect(parseEntryBundle(fromHex('00000001aa'), 2)).toEqual([new Uint8Array(0), fromHex('aa')])
  })
})

describe('trust', () => {
  const { key, witnesses } = vectors.trust
  const same = async (): Promise<string> => {
    const [witness] = trust.witnesses
    return verifierKeyText(await verifierKey('another.example', 'cosignature', witness?.publicKey as Uint8Array))
  }
  const log = async (): Promise<string> => verifierKeyText(await verifierKey('w.example', 'cosignature', trust.key.publicKey))
  it.each<[string, () => Promise<object> | object, string]>([
    ['a witness key for the log', () => ({ key: witnesses[0] }), 'policy_invalid'],
    ['a log of another name', () => ({ origin: 'other.example' }), 'policy_invalid'],
    ['a log key for a witness', () => ({ witnesses: [key] }), 'policy_invalid'],
    ['one witness twice', () => ({ witnesses: [witnesses[0], witnesses[0]] }), 'policy_invalid'],
    ['one witness under two names', async () => ({ witnesses: [witnesses[0], await same()] }), 'policy_invalid'],
    ['the log as its own witness', async () => ({ witnesses: [await log(), witnesses[0]] }), 'policy_invalid'],
    ['no witnesses', () => ({ witnesses: [], quorum: 0 }), 'policy_invalid'],
    ['a quorum of none', () => ({ quorum: 0 }), 'policy_invalid'],
    ['a quorum that cannot be reached', () => ({ quorum: 4 }), 'policy_invalid'],
    ['something that is no key', () => ({ key: 'x' }), 'log_key_malformed'],
  ])('S21: refused: %s', async (_, change, code) => {
    const changed = await change()
    expect(await refusal(() => parseLogTrust({ ...vectors.trust, ...changed }))).toBe(code)
  })
})

describe('what is changed is refused', () => {
  it('S21: too few witnesses, and one that signed twice, are no quorum', async () => {
    expect(await refusal(() => verifyCheckpoint(vectors.one_witness, trust))).toBe('log_quorum_missing')
    const [line] = vectors.one_witness.split('\n').slice(-2)
    expect(await refusal(() => verifyCheckpoint(`${vectors.one_witness}${line}\n`, trust))).toBe('log_quorum_missing')
  })

  it('S21: signatures of strangers count for nothing, wrong ones of a witness end it', async () => {
    const stranger = await noteSigner('witness2.example', 'cosignature', await generateEd25519())
    const note = parseNote(vectors.one_witness)
    const line = await cosign(note.text, stranger, 1_700_000_000)
    expect(await refusal(() => verifyCheckpoint(`${vectors.one_witness}${signatureLine(line)}`, trust))).toBe('log_quorum_missing')
    const claimed = { ...line, keyId: trust.witnesses[1]?.keyId as string }
    expect(await refusal(() => verifyCheckpoint(`${vectors.checkpoint}${signatureLine(claimed)}`, trust))).toBe('note_signature_invalid')
  })

  it('a checkpoint of another log, one that the log did not sign, and an empty tree with a root', async () => {
    const key = await noteSigner('other.example', 'ed25519', await generateEd25519())
    const head: Checkpoint = { origin: 'other.example', size: 0, root: new Uint8Array(32), extensions: [] }
    const note = await signCheckpoint(head, key)
    expect(await refusal(() => verifyCheckpointOfLog(note, trust))).toBe('log_origin_mismatch')
    expect(await refusal(() => verifyCheckpointOfLog(note, { origin: 'other.example', key: key.verifier }))).toBe('checkpoint_malformed')
    const { text, signatures } = parseNote(vectors.checkpoint)
    expect(await refusal(() => verifyCheckpoint(noteText({ text, signatures: signatures.slice(1) }), trust))).toBe('note_signature_missing')
  })

  it('property: no bit of a checkpoint or a proof can be flipped', async () => {
    const note = utf8(vectors.checkpoint)
    // The first two signatures are needed; what comes behind them is one more.
    await fc.assert(
      fc.asyncProperty(fc.nat(note.length * 8 - 1), async (bit) => {
        const changed = note.slice()
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
        let text: string
        try {
          text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(changed)
        } catch {
          return
        }
        expect(await refusal(() => verifyCheckpoint(text, trust))).not.toBe('accepted')
      }),
      { numRuns: 400 },
    )
    await fc.assert(
      fc.asyncProperty(fc.nat(proof.length - 1), fc.constantFrom('A', 'b', '0', '9', '\n', ' '), async (at, by) => {
        if (proof[at] === by) return
        const text = proof.slice(0, at) + by + proof.slice(at + 1)
        expect(await refusal(() => verifyTlogProof(text, entry(300), trust))).not.toBe('accepted')
      }),
      { numRuns: 400 },
    )
  })

  it('a proof is for its entry only', async () => {
    expect(await refusal(() => verifyTlogProof(proof, entry(301), trust))).toBe('log_inclusion_invalid')
  })

  it('property: a path holds for its leaf, place, size and root, and for nothing else', async () => {
    const leaves = await Promise.all(Array.from({ length: 70 }, (_, i) => leafHash(Uint8Array.of(i))))
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.nat(69),
        fc.nat(69),
        fc.integer({ min: 1, max: 70 }),
        async (size, i, other, otherSize) => {
          const index = i % size
          const path = await inclusionProof(leaves.slice(0, size), index)
          const root = await merkleRoot(leaves.slice(0, size))
          const leaf = leaves[index] as Uint8Array
          expect(await verifyInclusionProof(index, size, leaf, root, path)).toBe(true)
          if (other !== index) expect(await verifyInclusionProof(other, size, leaf, root, path)).toBe(false)
          if (otherSize !== size) {
            const otherRoot = await merkleRoot(leaves.slice(0, otherSize))
            expect(await verifyInclusionProof(index, otherSize, leaf, otherRoot, path)).toBe(false)
          }
          expect(await verifyInclusionProof(index, size, leaf, root, [...path, root])).toBe(false)
          expect(await verifyInclusionProof(index, size, leaf, root, path.slice(1))).toBe(path.length === 0)
        },
      ),
    )
  })

  it('places beyond 2^32 are not cut to 32 bits', async () => {
    // A tree of 2^40 + 1 leaves whose last leaf is the sibling of everything before it.
    const [last, rest] = [await leafHash(utf8('last')), await leafHash(utf8('rest'))]
    const root = await merkleRoot([rest, last])
    expect(await verifyInclusionProof(2 ** 40, 2 ** 40 + 1, last, root, [rest])).toBe(true)
    expect(await verifyInclusionProof(0, 2 ** 40 + 1, last, root, [rest])).toBe(false)
    expect(tilePath({ level: 0, index: 2 ** 40, width: 256 })).toBe('tile/0/x001/x099/x511/x627/776')
    expect(parseTilePath('tile/0/x001/x099/x511/x627/776')).toEqual({ level: 0, index: 2 ** 40, width: 256 })
  })

  it('S21: one log with two faces: a root changed behind the seen size is a fork, and the two notes convict the log', async () => {
    const seen = await advance(null, await verifyCheckpoint(vectors.checkpoint, trust), [])
    const other = await verifyCheckpoint(vectors.fork, trust)
    expect(await refusal(() => advance(seen, other, []))).toBe('log_fork')
    expect(await verifyFork(forkText([vectors.checkpoint, vectors.fork]), trust)).toMatchObject({ size: 600 })
    expect(await refusal(() => verifyFork(forkText([vectors.checkpoint, vectors.checkpoint]), trust))).toBe('log_fork_unproven')
    expect(await refusal(() => verifyFork(forkText([vectors.checkpoint, vectors.fork.replace('600', '601')]), trust))).toBe('note_signature_invalid')
    const smaller = parseTlogProof(vectors.proofs.find(({ size }) => size === 257)?.text as string).checkpoint
    expect(await refusal(() => verifyFork(forkText([vectors.checkpoint, smaller]), trust))).toBe('log_fork_unproven')
    expect(await refusal(() => verifyFork('{}', trust))).toBe('log_fork_unproven')
  })

  it('S21: property: for every two sizes, the same history advances and another one does not', async () => {
    const signer = await noteSigner('p.example', 'ed25519', await generateEd25519())
    const log = { origin: 'p.example', key: signer.verifier }
    const honest = await Promise.all(Array.from({ length: 40 }, (_, i) => leafHash(Uint8Array.of(i))))
    const head = async (leaves: readonly Uint8Array[], size: number) =>
      verifyCheckpointOfLog(
        await signCheckpoint({ origin: 'p.example', size, root: await merkleRoot(leaves.slice(0, size)), extensions: [] }, signer),
        log,
      )
    const { consistencyProof } = await import('../../src/bytes/index.ts')
    await fc.assert(
      fc.asyncProperty(fc.nat(40), fc.nat(40), fc.nat(39), async (a, b, changed) => {
        const [first, second] = a < b ? [a, b] : [b, a]
        const path = first === 0 ? [] : await consistencyProof(honest.slice(0, second), first)
        const seen = await advance(null, await head(honest, a), [])
        expect((await advance(seen, await head(honest, b), path)).size).toBe(second)
        if (changed >= first) return
        const forked = honest.with(changed, await leafHash(utf8('forged')))
        const theirs = await consistencyProof(forked.slice(0, second), first)
        for (const offered of [path, theirs])
          expect(await refusal(async () => advance(seen, await head(forked, b), offered))).toBe(a === b ? 'log_fork' : 'log_consistency_invalid')
      }),
      { numRuns: 60 },
    )
  })
})
