import { signOperatorStatement } from 'veritee/admission'
import { fromUtf8, leafHash, toHex, utf8 } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import {
  advance,
  auditViewOf,
  inclusionProof,
  logEntry,
  parseTlogProof,
  signLogStatement,
  TileTree,
  tilePath,
  verifyCheckpoint,
  verifyInclusion,
  verifyTlogProof,
} from 'veritee/log'
import { describe, expect, it } from 'vitest'
import { Enclave, inference } from '../../../veritee/test/log/signed-receipt.ts'
import { Publisher } from '../../src/log/publisher.ts'
import { Sequencer } from '../../src/log/sequencer.ts'
import { submissionText } from '../../src/log/submission.ts'
import { filesIn, logSigner, numbered, origin, scratch } from './logs.ts'
import { clock, forks, now, system, token } from './served-log.ts'

describe('a log that is served', () => {
  it('a requester finds its receipt by the tiles and by the proof, under two of three witnesses, and the next head continues the last', async () => {
    const { publisher, trust, get, post, witnesses } = await system()
    const enclave = await Enclave.create()
    const receiptKey = new Uint8Array(32).fill(9)
    const receipts = [
      await enclave.receipt(origin, 1_700_000_600, inference, receiptKey),
      await enclave.receipt(origin, 1_700_000_600, inference, receiptKey),
    ]
    const statements = await Promise.all(
      receipts.map(async (one) => signLogStatement(await auditViewOf(one, receiptKey), (message) => enclave.key.sign(message))),
    )
    const body = (some: readonly string[]): Uint8Array =>
      submissionText({ version: 'veritee.log-submission.v1', keyset: enclave.keyset, operator: null, statements: some })
    const none = await get('checkpoint')
    expect(none.status).toBe(404)
    expect((await post('add', body(statements.slice(0, 1)))).answer.indices).toEqual([0])
    // What no witness has seen is shown to nobody.
    expect((await get('checkpoint')).status).toBe(404)
    expect((await get('tile/0/000.p/1')).status).toBe(404)
    if (witnesses[2] !== undefined) witnesses[2].state.away = true
    await publisher.round()
    const first = await verifyCheckpoint(fromUtf8((await get('checkpoint')).bytes), trust)
    expect([first.size, first.cosignatures.length, first.witnessedAt]).toEqual([1, 2, 1_700_000_000])
    const seen = await advance(null, first, [])

    expect((await post('add', body(statements))).answer.indices).toEqual([0, 1])
    await publisher.round()
    const next = await verifyCheckpoint(fromUtf8((await get('checkpoint')).bytes), trust)
    const tree = new TileTree(next.size, async (tile) => (await get(tilePath(tile))).bytes)
    const [, second] = receipts
    if (second === undefined) throw new Error('receipts')
    const entry = await logEntry(await auditViewOf(second, receiptKey))
    const proof = await get(`proof/${toHex(await leafHash(entry))}`)
    const found = await verifyInclusion(second, receiptKey, { proof: fromUtf8(proof.bytes), consistency: await tree.consistency(1) }, trust, seen)
    expect([found.index, found.seen.size]).toEqual([1, 2])
    const leaves = [await tree.leaf(0), await tree.leaf(1)]
    expect((await inclusionProof(leaves, 1)).map(toHex)).toEqual(parseTlogProof(fromUtf8(proof.bytes)).path.map(toHex))
    // Entries are hashes; views go to who has the credential.
    expect(toHex((await get('tile/entries/000.p/2')).bytes.slice(-32))).toBe(toHex(entry))
    expect((await get('views/0')).status).toBe(401)
    expect(
      fromUtf8((await get('views/0', token)).bytes)
        .trimEnd()
        .split('\n'),
    ).toEqual(statements)
  })

  it('S21: without a quorum readers see the last head that had one, and the operator why', async () => {
    const { publisher, sequencer, get, witnesses } = await system()
    await sequencer.append(numbered(0, 3))
    await publisher.round()
    for (const { state } of witnesses.slice(0, 2)) state.away = true
    await sequencer.append(numbered(3, 3))
    await publisher.round()
    expect(fromUtf8((await get('checkpoint')).bytes)).toContain('\n3\n')
    expect(publisher.failures.join()).toContain('w1.example: service_refused')
    for (const { state } of witnesses) state.away = false
    await publisher.round()
    expect(fromUtf8((await get('checkpoint')).bytes)).toContain('\n6\n')
    expect(publisher.failures).toEqual([])
  })

  it('S11: while nothing comes, witnesses vouch for a later time', async () => {
    const { publisher, trust, get } = await system()
    await publisher.round()
    clock.time += 59_000
    await publisher.round()
    expect((await verifyCheckpoint(fromUtf8((await get('checkpoint')).bytes), trust)).witnessedAt).toBe(1_700_000_000)
    clock.time += 1_000
    await publisher.round()
    expect((await verifyCheckpoint(fromUtf8((await get('checkpoint')).bytes), trust)).witnessedAt).toBe(1_700_000_060)
    clock.time -= 60_000
  })

  it('S21: a log whose files were put back gets no cosignature for another history', async () => {
    const { publisher, sequencer, witnesses, trust, get, signer } = await system()
    await sequencer.append(numbered(0, 10))
    await publisher.round()
    const before = fromUtf8((await get('checkpoint')).bytes)
    const { files, state } = filesIn(await scratch())
    // The same key on empty files: fewer leaves than the witnesses have seen, then more.
    const fresh = await Sequencer.open({ files, state, signer })
    await fresh.append(numbered(100, 5))
    const other = await Publisher.open({
      sequencer: fresh,
      files,
      signer,
      witnesses: witnesses.map(({ peer }) => peer),
      quorum: 2,
      intervalMs: 10,
      renewMs: 60_000,
      now,
    })
    await other.round()
    expect(other.published).toBeNull()
    expect(other.failures.join()).toContain('log_fork')
    await fresh.append(numbered(105, 5))
    await other.round()
    await fresh.append(numbered(110, 10))
    await other.round()
    expect(other.published).toBeNull()
    expect(other.failures.join()).toContain('status 422')
    // At the size that both have had, the two roots convict the log.
    expect(forks).toEqual([origin, origin, origin])
    expect((await verifyCheckpoint(before, trust)).size).toBe(10)
  })

  it('a tile is of the history that is published, whatever else lies on the disk', async () => {
    const { files, get, sequencer, publisher } = await system()
    // As a process leaves it that is killed between tiles and head.
    const foreign = new Uint8Array(64).fill(7)
    await files.write(
      new Map([
        ['tile/0/000.p/2', foreign],
        ['tile/entries/000.p/2', foreign],
      ]),
    )
    await sequencer.append(numbered(0, 3))
    await publisher.round()
    const [tile, bundle] = [(await get('tile/0/000.p/3')).bytes, (await get('tile/entries/000.p/3')).bytes]
    expect(toHex((await get('tile/0/000.p/2')).bytes)).toBe(toHex(tile.slice(0, 64)))
    expect(toHex((await get('tile/entries/000.p/2')).bytes)).toBe(toHex(bundle.slice(0, 18)))
  })

  it('a log whose state is older than what readers were shown does not start', async () => {
    const { files, state } = filesIn(await scratch())
    const signer = await logSigner()
    const open = async (of: typeof state) => {
      const sequencer = await Sequencer.open({ files, state: of, signer })
      return {
        sequencer,
        publisher: () => Publisher.open({ sequencer, files, signer, witnesses: [], quorum: 0, intervalMs: 10, renewMs: 60_000, now }),
      }
    }
    const first = await open(state)
    await first.sequencer.append(numbered(0, 3))
    await (await first.publisher()).round()
    await expect((await open(state)).publisher()).resolves.toBeDefined()
    const older = filesIn(await scratch()).state
    const back = await open(older)
    await expect(back.publisher()).rejects.toMatchObject({ code: 'log_store_invalid' })
    await back.sequencer.append(numbered(50, 5))
    await expect(back.publisher()).rejects.toMatchObject({ code: 'log_store_invalid' })
  })

  it('takes statements of operators that it knows only, signed by the keyset that they name', async () => {
    const operator = await generateEd25519()
    const { post } = await system([toHex(operator.publicKey)])
    const enclave = await Enclave.create()
    const receipt = await enclave.receipt(origin, 1_700_000_600)
    const statement = await signLogStatement(await auditViewOf(receipt, null), (message) => enclave.key.sign(message))
    const submit = (operatorOf: { key: string; signature: string } | null, statements: readonly string[], keyset: unknown = enclave.keyset) =>
      post('add', submissionText({ version: 'veritee.log-submission.v1', keyset, operator: operatorOf, statements }))
    const named = { key: toHex(operator.publicKey), signature: await signOperatorStatement(enclave.keysetDigest, operator) }
    expect((await submit(null, [statement])).answer.error?.code).toBe('log_refused')
    const stranger = await generateEd25519()
    const other = { key: toHex(stranger.publicKey), signature: await signOperatorStatement(enclave.keysetDigest, stranger) }
    expect((await submit(other, [statement])).answer.error?.code).toBe('log_refused')
    expect((await submit({ ...named, signature: other.signature }, [statement])).answer.error?.code).toBe('operator_signature_invalid')
    const foreign = await Enclave.create()
    const theirs = await signLogStatement(await auditViewOf(await foreign.receipt(origin, 1_700_000_600), null), (message) =>
      foreign.key.sign(message),
    )
    expect((await submit(named, [statement, theirs])).answer.error?.code).toBe('audit_view_keyset_mismatch')
    const elsewhere = await signLogStatement(await auditViewOf(await enclave.receipt('other', 1_700_000_600), null), (m) => enclave.key.sign(m))
    expect((await submit(named, [elsewhere])).answer.error?.code).toBe('log_refused')
    expect((await submit(named, ['{}'])).answer.error?.code).toBe('audit_view_malformed')
    expect((await post('add', utf8('x'))).answer.error?.code).toBe('malformed_json')
    expect((await submit(named, [statement])).answer.indices).toEqual([0])
  })

  it('takes documents of who has the credential, and proves them', async () => {
    const { post, publisher, get, trust } = await system()
    const document = utf8('{"version":"veritee.seed.v1"}')
    expect((await post('add-entry', document)).status).toBe(401)
    const { answer } = await post('add-entry', document, token)
    expect(answer.leaf).toBe(toHex(await leafHash(document)))
    await publisher.round()
    const proof = fromUtf8((await get(`proof/${answer.leaf}`)).bytes)
    expect((await verifyTlogProof(proof, document, trust)).index).toBe(0)
    // Wrong guesses are counted.
    await post('add-entry', document, 'x'.repeat(40))
    expect((await post('add-entry', document, 'y'.repeat(40))).status).toBe(429)
  })

  it('without credentials there is neither', async () => {
    const { post, get, sequencer, publisher } = await system('any', { write: null, read: null })
    await sequencer.append(numbered(0, 1))
    await publisher.round()
    expect((await post('add-entry', utf8('x'), token)).status).toBe(404)
    expect((await get('views/0', token)).status).toBe(404)
  })

  it.each([
    'tile/0/../../state/head',
    'tile/0/%2e%2e/001',
    'state/head',
    'tile/0/001',
    'tile/0/000.p/4',
    'tile/1/000.p/1',
    'proof/x',
    'views/-1',
    'nothing',
  ])('nothing else is served: %s', async (path) => {
    const { get, sequencer, publisher } = await system()
    await sequencer.append(numbered(0, 3))
    await publisher.round()
    expect((await get(path, token)).status).toBeGreaterThanOrEqual(400)
    expect((await get('tile/0/000.p/3')).status).toBe(200)
  })
})
