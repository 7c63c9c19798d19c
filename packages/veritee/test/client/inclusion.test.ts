import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { concatAll, fromHex, leafHash, merkleRoot, toHex, utf8 } from '../../src/bytes/index.ts'
import {
  type Connection,
  connect,
  diskSeen,
  type Inclusion,
  type InclusionOptions,
  included,
  memorySeen,
  type Proof,
  type SeenKeep,
} from '../../src/client/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import { fail } from '../../src/errors.ts'
import {
  auditViewOf,
  cosign,
  inclusionProof,
  type LogPolicy,
  logEntry,
  type NoteSigner,
  noteSigner,
  parseLogTrust,
  parseNote,
  parseTilePath,
  signatureLine,
  signCheckpoint,
  tlogProofText,
  verifierKeyText,
  verifyFork,
} from '../../src/log/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import { parseReceipt, type ReceiptEvent } from '../../src/receipt/index.ts'
import { sha, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { tlsIdentity } from './servers.ts'
import { type FakeService, fakeService, request } from './service.ts'

/** The client before a log that misbehaves: what it must say in each case, and what it keeps to show. */

const origin = 'log.example/receipts'
const promisedBy = 1_800_000_000
const receiptKey = '5a'.repeat(32)

let signer: NoteSigner
let witnesses: NoteSigner[]
let policy: LogPolicy
beforeAll(async () => {
  signer = await noteSigner(origin, 'ed25519', await generateEd25519())
  witnesses = await Promise.all(['w1.example', 'w2.example'].map(async (name) => noteSigner(name, 'cosignature', await generateEd25519())))
  policy = { origin, key: verifierKeyText(signer.verifier), witnesses: witnesses.map((w) => verifierKeyText(w.verifier)), quorum: 2 }
})

/** A log in memory that shows all of its leaves under a checkpoint of its time. */
class FakeLog {
  leaves: Uint8Array[] = []
  time = promisedBy - 100
  asked: string[] = []
  signer = signer
  origin = origin
  cosigners = witnesses
  /** In the place of a file; undefined for the right one. */
  instead: (path: string) => Promise<Uint8Array | null | undefined> = async () => undefined

  readonly get = async (path: string): Promise<Uint8Array | null> => {
    this.asked.push(path)
    const instead = await this.instead(path)
    if (instead !== undefined) return instead
    if (path === 'checkpoint') return utf8(await this.checkpoint())
    const tile = parseTilePath(path)
    if (tile !== null) return concatAll(this.leaves.slice(0, tile.width))
    return this.proof(this.leaves.findIndex((leaf) => path === `proof/${toHex(leaf)}`))
  }

  async proof(index: number): Promise<Uint8Array | null> {
    if (index < 0) return null
    const path = await inclusionProof(this.leaves, index)
    return utf8(tlogProofText({ extra: null, index, path, checkpoint: await this.checkpoint() }))
  }

  async checkpoint(): Promise<string> {
    const { leaves } = this
    const note = await signCheckpoint({ origin: this.origin, size: leaves.length, root: await merkleRoot(leaves), extensions: [] }, this.signer)
    const lines = await Promise.all(this.cosigners.map((witness) => cosign(parseNote(note).text, witness, this.time)))
    return note + lines.map(signatureLine).join('')
  }
}

const keyed = {
  type: 'veritee.receipt_key',
  commitment: sha(Buffer.from(`${Buffer.from('veritee.receipt-key.v1\n').toString('hex')}${receiptKey}`, 'hex')),
}
const promising = (events: readonly ReceiptEvent[] | readonly unknown[]) =>
  [...events, { type: 'veritee.log', origin, promised_by: promisedBy }, { type: 'veritee.chain', sequence: 0, previous: null }] as never

interface Setting {
  readonly fake: FakeService
  readonly c: Connection
  readonly log: FakeLog
  readonly seen: SeenKeep
  /** An answer, its proof, and the leaves of its receipts: the service's, then the worker's. */
  readonly answer: () => Promise<{ readonly proof: Proof; readonly leaves: readonly Uint8Array[] }>
  readonly look: (proof: Proof, changes?: Partial<InclusionOptions>) => Promise<Inclusion>
}

async function open(named: Policy = policyOf({ log: policy }, { log: policy, channel: 'attested' }), promises = true): Promise<Setting> {
  const texts = new Map<string, string>()
  const sealing = promises ? { controllerEvents: promising, workerEvents: (events: readonly unknown[]) => promising([...events, keyed]) } : {}
  const document = (path: string, text: string): string => {
    texts.set(path, text)
    return text
  }
  const fake = await fakeService({ sealing, document, receiptKey }, await tlsIdentity())
  const c = await connect(fake.url, { policy: named, trust: await trust() })
  const log = new FakeLog()
  const seen = memorySeen()
  const leafOf = async (path: string, key: Uint8Array | null): Promise<Uint8Array> =>
    leafHash(await logEntry(await auditViewOf(parseReceipt(texts.get(path) ?? ''), key)))
  return {
    fake,
    c,
    log,
    seen,
    answer: async () => {
      const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: new Uint8Array(request) })
      await response.text()
      const proof = await c.proofOf(response)
      const paths = ['/v1/aci/receipts/rcpt-1', '/v1/veritee/receipts/rcpt-1/upstream'] as const
      return { proof, leaves: [await leafOf(paths[0], null), await leafOf(paths[1], fromHex(receiptKey))] }
    },
    look: (proof, changes) => included(proof, { logs: { [origin]: log.get }, seen, ...changes }),
  }
}

const other = async (index = 0): Promise<Uint8Array> => leafHash(utf8(`another entry ${index}`))

describe('S21: whether receipts are in the log that they promised', () => {
  it('both are; the log is asked for nothing before, and the next answer must continue what was seen', async () => {
    const { log, answer, look, seen } = await open()
    const first = await answer()
    expect([first.proof.status, log.asked]).toEqual(['verified', []])
    log.leaves = [await other(), ...first.leaves]
    const found = await look(first.proof)
    const told = { origin, promisedBy, status: 'included', checkpoint: { size: 3, witnessedAt: promisedBy - 100 }, error: null, evidence: null }
    expect(found).toEqual({
      status: 'included',
      receipts: [
        { of: 'service', receiptId: first.proof.receipts.service?.id, index: 1, ...told },
        { of: 'worker', receiptId: first.proof.receipts.worker?.id, index: 2, ...told },
      ],
    })
    const second = await answer()
    log.leaves = [...log.leaves, ...second.leaves]
    expect((await look(second.proof)).receipts.map(({ index }) => index)).toEqual([3, 4])
    expect(JSON.parse((await seen.get(origin)) ?? '')).toMatchObject({ origin, size: 5 })
  })

  it('an entry that comes while it is looked for, after its promise, is there', async () => {
    const { log, answer, look } = await open()
    const { proof, leaves } = await answer()
    log.leaves = [await other()]
    log.time = promisedBy + 61
    log.instead = async (path) => {
      if (path === 'checkpoint') setTimeout(() => Object.assign(log, { leaves: [...log.leaves, ...leaves] }), 0)
      return undefined
    }
    const wait = async (path: string): Promise<Uint8Array | null> => {
      const bytes = await log.get(path)
      await new Promise((resolve) => setTimeout(resolve, 5))
      return bytes
    }
    expect((await look(proof, { logs: { [origin]: wait } })).status).toBe('included')
  })

  type Hostile = (setting: Setting, leaves: readonly Uint8Array[]) => unknown
  const changed =
    (changes: (log: FakeLog, leaves: readonly Uint8Array[]) => Partial<FakeLog> | Promise<Partial<FakeLog>>): Hostile =>
    async ({ log }, leaves) =>
      Object.assign(log, await changes(log, leaves))
  /** Another file in the place of those whose path begins so. */
  const instead = (prefix: string, make: (log: FakeLog) => Uint8Array | null | Promise<Uint8Array | null>): Hostile =>
    changed((log) => ({ instead: async (path) => (path.startsWith(prefix) ? make(log) : undefined) }))
  const withTiles =
    (hostile: Hostile): Hostile =>
    async (setting, leaves) => {
      await changed((log) => ({ leaves: [...log.leaves, ...leaves] }))(setting, leaves)
      await hostile(setting, leaves)
    }
  const newKey = async (name: string): Promise<NoteSigner> => noteSigner(name, 'ed25519', await generateEd25519())
  const over = promisedBy + 61
  const away = (): never => {
    throw fail('service_unavailable', 'the log is away')
  }
  it.each<[string, Hostile, string, string | null, string | null]>([
    ['absent, and the promise is not due', changed(() => ({ time: over - 1 })), 'pending', null, null],
    ['absent, and the promise is over', changed(() => ({ time: over })), 'rejected', 'log_promise_broken', 'broken-promise'],
    [
      'too few witnesses',
      changed((_, leaves) => ({ leaves: [...leaves], cosigners: witnesses.slice(0, 1) })),
      'rejected',
      'log_quorum_missing',
      null,
    ],
    ['too few of a head without the entry', changed(() => ({ time: over, cosigners: witnesses.slice(1) })), 'rejected', 'log_quorum_missing', null],
    ['a proof of another entry', instead('proof/', (log) => log.proof(0)), 'rejected', 'log_inclusion_invalid', null],
    ['no proof', instead('proof/', () => utf8('yes')), 'rejected', 'tlog_proof_malformed', null],
    [
      'another key',
      changed(async (_, leaves) => ({ leaves: [...leaves], signer: await newKey(origin) })),
      'rejected',
      'note_signature_missing',
      null,
    ],
    [
      'another log',
      changed(async (_, leaves) => ({ leaves: [...leaves], origin: 'other', signer: await newKey('other') })),
      'rejected',
      'log_origin_mismatch',
      null,
    ],
    [
      'another past',
      changed(async (_, leaves) => ({ leaves: [await other(7), await other(8), ...leaves] })),
      'rejected',
      'log_consistency_invalid',
      'two-histories',
    ],
    ['two roots of one size', changed((_, leaves) => ({ leaves: [...leaves].reverse() })), 'rejected', 'log_fork', 'two-histories'],
    [
      'a head of another past, without the entry',
      changed(async () => ({ leaves: [await other(7), await other(8), await other(9)] })),
      'rejected',
      'log_consistency_invalid',
      'two-histories',
    ],
    ['a tile is missing', withTiles(instead('tile/', () => null)), 'unproven', 'log_entry_missing', null],
    ['a tile of another length', withTiles(instead('tile/', () => new Uint8Array(31))), 'rejected', 'tile_malformed', null],
    ['no checkpoint', instead('checkpoint', () => null), 'unproven', 'service_unavailable', null],
    ['no answer', instead('', away), 'unproven', 'service_unavailable', null],
    ['what was seen is damaged', ({ seen }) => seen.put(origin, '{}'), 'rejected', 'malformed_document', null],
  ])('%s', async (_, change, status, code, kind) => {
    const setting = await open()
    const { log, seen, answer, look } = setting
    const before = await answer()
    log.leaves = [...before.leaves]
    expect((await look(before.proof)).status).toBe('included')
    const kept = await seen.get(origin)
    const { proof, leaves } = await answer()
    await change(setting, leaves)
    const found = await look(proof)
    const [service] = found.receipts
    expect([found.status, service?.error?.code ?? null, service?.evidence?.kind ?? null]).toEqual([status, code, kind])
    // What did not hold is not what the next check goes on from.
    if (code !== 'malformed_document') expect(await seen.get(origin)).toBe(kept)
    if (service?.evidence?.kind === 'two-histories' && code === 'log_fork')
      expect(await verifyFork(service.evidence.document, await parseLogTrust(policy))).toMatchObject({ origin, size: 2 })
    if (service?.evidence?.kind === 'broken-promise') {
      expect(service.evidence.receipt).toMatchObject({ receipt_id: service.receiptId })
      expect(service.evidence.receiptKey).toBeNull()
      expect(found.receipts[1]?.evidence).toMatchObject({ kind: 'broken-promise', receiptKey })
    }
  })

  it('a receipt without the promise has no proof: log_promise_missing', async () => {
    const { c } = await open(undefined, false)
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: new Uint8Array(request) })
    await expect(response.text()).rejects.toMatchObject({ code: 'log_promise_missing', name: 'RejectedError' })
    const proof = await c.proofOf(response)
    expect([proof.status, proof.error?.code]).toEqual(['rejected', 'log_promise_missing'])
    await expect(included(proof, { logs: {}, seen: memorySeen() })).rejects.toMatchObject({ code: 'usage' })
  })

  it('what cannot be looked for is wrong usage: no log in the policy, a copy of a proof, a log that is nowhere, a key that is none', async () => {
    const { answer, look } = await open()
    const { proof } = await answer()
    await expect(look({ ...proof })).rejects.toMatchObject({ code: 'usage' })
    await expect(look(proof, { logs: {} })).rejects.toMatchObject({ code: 'usage' })
    await expect(look(proof, { logs: { [origin]: 'ftp://x' } })).rejects.toMatchObject({ code: 'usage' })
    const waived = await open(policyOf({}, { channel: 'attested' }))
    await expect(waived.look((await waived.answer()).proof)).rejects.toMatchObject({ code: 'usage' })
    const broken = { ...policy, key: 'k' }
    const unread = await open(policyOf({ log: broken }, { log: broken, channel: 'attested' }))
    await expect(unread.look((await unread.answer()).proof)).rejects.toMatchObject({ code: 'log_key_malformed' })
  })
})

describe('checkpoints kept in a directory', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'veritee-seen-'))
    return () => rm(directory, { recursive: true, force: true })
  })
  it('S21: another process goes on from what this one saw, and a log that changed its past meanwhile is told', async () => {
    const { log, answer, look } = await open()
    const first = await answer()
    log.leaves = [...first.leaves]
    const within = join(directory, 'cache')
    expect((await look(first.proof, { seen: diskSeen(within) })).status).toBe('included')
    const { proof, leaves } = await answer()
    log.leaves = [await other(), await other(1), ...leaves]
    expect((await look(proof, { seen: diskSeen(within) })).receipts[0]?.error?.code).toBe('log_consistency_invalid')
    expect((await look(proof, { seen: memorySeen() })).status).toBe('included')
  })
  it('no directory is nothing seen; what cannot be read or written is not', async () => {
    expect(await diskSeen(join(directory, 'none')).get(origin)).toBeNull()
    await writeFile(join(directory, 'file'), '')
    await expect(diskSeen(join(directory, 'file')).get(origin)).rejects.toMatchObject({ code: 'file_unavailable' })
    await expect(diskSeen(join(directory, 'file')).put(origin, '')).rejects.toMatchObject({ code: 'file_unavailable' })
  })
})
