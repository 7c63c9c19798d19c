import { sign } from 'node:crypto'
import { concatAll, leafHash, merkleRoot, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import {
  auditViewOf,
  type ChainHead,
  cosign,
  type GetLogFile,
  type LogPolicy,
  logEntry,
  type NoteSigner,
  noteSigner,
  parseNote,
  parseTilePath,
  signatureLine,
  signCheckpoint,
  signLogStatement,
  verifierKeyText,
} from '../../src/log/index.ts'
import { parseReceipt, receiptKeyCommitment } from '../../src/receipt/index.ts'
import { modelEvent, servedAt, sha, type TestEnclave } from '../receipt/enclaves.ts'
import { inferenceEvent } from './scenario.ts'

/** A log with two witnesses, and what enclaves sign for it. */

export const origin = 'log.example/receipts'
export const promisedBy: number = servedAt + 600

export interface TestLog {
  leaves: Uint8Array[]
  /** When the witnesses cosign, Unix seconds. */
  time: number
  readonly signer: NoteSigner
  readonly witnesses: readonly NoteSigner[]
  /** The member `log` of a policy. */
  readonly policy: LogPolicy
  readonly checkpoint: () => Promise<string>
  readonly get: GetLogFile
}

export async function createLog(): Promise<TestLog> {
  const signer = await noteSigner(origin, 'ed25519', await generateEd25519())
  const witnesses = await Promise.all(['w1.example', 'w2.example'].map(async (name) => noteSigner(name, 'cosignature', await generateEd25519())))
  const log: TestLog = {
    leaves: [],
    time: promisedBy + 60,
    signer,
    witnesses,
    policy: { origin, key: verifierKeyText(signer.verifier), witnesses: witnesses.map(({ verifier }) => verifierKeyText(verifier)), quorum: 2 },
    checkpoint: async () => {
      const note = await signCheckpoint({ origin, size: log.leaves.length, root: await merkleRoot(log.leaves), extensions: [] }, signer)
      const lines = await Promise.all(witnesses.map((witness) => cosign(parseNote(note).text, witness, log.time)))
      return note + lines.map(signatureLine).join('')
    },
    get: async (path) => {
      if (path === 'checkpoint') return utf8(await log.checkpoint())
      const tile = parseTilePath(path)
      if (tile === null || (tile.level !== 0 && tile.level !== 1)) throw new Error(`not in this log: ${path}`)
      const each = 256 ** tile.level
      const hashes = Array.from({ length: tile.width }, (_, i) => (256 * tile.index + i) * each)
      return concatAll(await Promise.all(hashes.map((from) => merkleRoot(log.leaves, from, from + each))))
    },
  }
  return log
}

export interface Logged {
  readonly receipt: string
  readonly key: Uint8Array | null
  /** The audit view, signed. */
  readonly view: string
  readonly leaf: Uint8Array
}

/** A receipt that promises the log, with what stands in it. */
export async function loggedReceipt(
  enclave: TestEnclave,
  place: number,
  {
    previous = place === 0 ? null : sha(`receipt ${place - 1}`),
    key = new Uint8Array(32).fill(place + 1),
    nonce = sha(`nonce ${place}`).slice(7),
    ...given
  }: {
    readonly previous?: string | null
    readonly key?: Uint8Array | null
    readonly nonce?: string | null
    readonly promisedBy?: number
    readonly origin?: string
    readonly answer?: string
    readonly model?: object
  } = {},
): Promise<Logged> {
  const receipt = enclave.receipt(
    [
      { type: 'request.received', body_hash: sha('request') },
      { type: 'veritee.request', client_nonce: nonce },
      (given.model ?? modelEvent) as typeof modelEvent,
      inferenceEvent('complete'),
      { type: 'response.returned', body_hash: sha(given.answer ?? 'answer') },
      ...(key === null ? [] : [{ type: 'veritee.receipt_key', commitment: await receiptKeyCommitment(key) } as const]),
      { type: 'veritee.log', origin: given.origin ?? origin, promised_by: given.promisedBy ?? promisedBy },
      { type: 'veritee.chain', sequence: place, previous },
    ],
    { receipt_id: `rcpt-${place}` },
  )
  const view = await auditViewOf(parseReceipt(receipt), key)
  return { receipt, key, view: await signedBy(enclave, view), leaf: await leafHash(await logEntry(view)) }
}

export async function headOf(enclave: TestEnclave, receipts: number, last: string | null): Promise<string> {
  const head: ChainHead = {
    version: 'veritee.chain-head.v1',
    log: { origin, promised_by: promisedBy },
    workload_keyset_digest: enclave.digest,
    key_id: 'receipt-1',
    at: servedAt,
    receipts,
    last,
  }
  return signedBy(enclave, head)
}

function signedBy(enclave: TestEnclave, statement: Parameters<typeof signLogStatement>[0]): Promise<string> {
  return signLogStatement(statement, (message) => new Uint8Array(sign(null, message, enclave.receiptKey)))
}
