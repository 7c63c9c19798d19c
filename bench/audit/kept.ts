// What somebody keeps to audit later: whole exchanges with a controller and a worker, each with keys, nonces and receipts of its own, and where its receipt stands in a log.
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { fromBase64, fromHex, type Json, jcs, leafHash, merkleRoot, utf8 } from 'veritee/bytes'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import {
  auditViewOf,
  checkpointText,
  cosign,
  inclusionProof,
  type LogTrust,
  logEntry,
  noteSigner,
  noteText,
  parseLogTrust,
  parseNote,
  signCheckpoint,
  tlogProofText,
  verifierKeyText,
} from 'veritee/log'
import { parseReceipt, type ReceiptEvent } from 'veritee/receipt'
import { bundleOf, type Kept, keepExchange } from '../../packages/veritee/test/bundle/service.ts'
import { servedAt } from '../../packages/veritee/test/receipt/enclaves.ts'

export interface KeptAudit {
  /** An evidence bundle (spec/evidence-bundle.md), as text. */
  readonly bundle: string
  /** A tlog-proof of the worker's receipt. */
  readonly proof: string
  /** Of controller and worker. */
  readonly quotes: readonly [Uint8Array, Uint8Array]
  /** The Ed25519 signatures in it: those of the receipts, under keys that come with the evidence, and of the checkpoint, under keys that are known. */
  readonly signatures: readonly Signed[]
}

interface Signed {
  readonly message: Uint8Array
  readonly signature: Uint8Array
  readonly spki: Buffer
  readonly known: KeyObject | null
}

export interface KeptAudits {
  readonly audits: readonly KeptAudit[]
  readonly log: LogTrust
  readonly kept: readonly [Kept, ...Kept[]]
}

const origin = 'log.example/bench'

/** A log over all of them, with a checkpoint that two witnesses have signed. */
export async function keepAudits(count: number): Promise<KeptAudits> {
  const checkpointSignatures: Signed[] = []
  const recording = async (): Promise<SigningKey> => {
    const key = await generateEd25519()
    const spki = spkiOf(key.publicKey)
    const known = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    const sign = async (message: Uint8Array): Promise<Uint8Array> => {
      const signature = await key.sign(message)
      checkpointSignatures.push({ message, signature, spki, known })
      return signature
    }
    return { publicKey: key.publicKey, sign }
  }
  const log = await noteSigner(origin, 'ed25519', await recording())
  const witnesses = await Promise.all(['w1.example', 'w2.example'].map(async (name) => noteSigner(name, 'cosignature', await recording())))
  const promised: readonly ReceiptEvent[] = [
    { type: 'veritee.log', origin, promised_by: servedAt + 600 },
    { type: 'veritee.chain', sequence: 0, previous: null },
  ]
  const [first, ...others] = await Promise.all(
    Array.from({ length: count }, () => keepExchange({ workerEvents: (events) => [...events, ...promised] })),
  )
  if (first === undefined) throw new TypeError('bench: expected an exchange')
  const kept = [first, ...others] as const
  const leaves = await Promise.all(
    kept.map(async ({ workerReceipt }) => leafHash(await logEntry(await auditViewOf(parseReceipt(workerReceipt), null)))),
  )
  const head = { origin, size: leaves.length, root: await merkleRoot(leaves, 0, leaves.length), extensions: [] }
  const { text, signatures } = parseNote(await signCheckpoint(head, log))
  const lines = await Promise.all(witnesses.map((witness) => cosign(checkpointText(head), witness, servedAt + 60)))
  const checkpoint = noteText({ text, signatures: [...signatures, ...lines] })
  const witnessKeys = witnesses.map(({ verifier }) => verifierKeyText(verifier))
  return {
    kept,
    log: await parseLogTrust({ origin, key: verifierKeyText(log.verifier), witnesses: witnessKeys, quorum: 2 }),
    audits: await Promise.all(
      kept.map(async (one, index) => ({
        bundle: bundleOf(one),
        proof: tlogProofText({ extra: null, index, path: await inclusionProof(leaves, index), checkpoint }),
        quotes: [quoteOf(one.report), quoteOf(one.workerReport)] as const,
        signatures: [receiptSignature(one.receipt, one.controller), receiptSignature(one.workerReceipt, one.worker), ...checkpointSignatures],
      })),
    ),
  }
}

/** All of an audit's Ed25519 signatures and nothing else, with one import of each key that is not known. Throws `TypeError` where one does not verify. */
export function verifySignaturesOf({ signatures }: KeptAudit): void {
  for (const { message, signature, spki, known } of signatures)
    if (!verify(null, message, known ?? createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature))
      throw new TypeError('bench: a signature of the floor does not verify')
}

function quoteOf(report: string): Uint8Array {
  return fromBase64((JSON.parse(report) as { attestation: { evidence: { quote_b64: string } } }).attestation.evidence.quote_b64)
}

function receiptSignature(text: string, { keyset }: Kept['worker']): Signed {
  const { signature, ...unsigned } = JSON.parse(text) as { signature: string; [name: string]: Json }
  const [key] = keyset.receipt_signing_keys
  return { message: utf8(jcs(unsigned)), signature: fromHex(signature), spki: spkiOf(fromHex(key?.public_key ?? '')), known: null }
}

function spkiOf(key: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key])
}
