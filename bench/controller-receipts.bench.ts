// The receipts that a controller reads and writes for one answer: CPU of each way, in alternating rounds of one process. Reading by a template and as any other
// reader does; the whole check of a worker's receipt, and of that the signature alone; the controller's own receipt before its signature, member by member and as
// any other document.
import { randomBytes } from 'node:crypto'
import { type Json, jcs, toHex, utf8 } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { type Keyset, parseReceipt, type ReceiptEvent, receiptKeyCommitment, type UnsignedReceipt } from 'veritee/receipt'
import type { AdmittedWorker } from '../packages/services/src/controller/registry.ts'
import { checkUpstream, type Forwarded } from '../packages/services/src/controller/upstream.ts'
import { ReceiptReader } from '../packages/services/src/controller/worker-receipts/reader.ts'
import { receiptText } from '../packages/services/src/enclave/runtime/receipts/receipt-text.ts'
import { type Contestant, perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const count = 500
const zeros = `sha256:${'0'.repeat(64)}`
const keysetDigest = zeros
const key = new Uint8Array(randomBytes(32))
const weights = { name: 'bench', files: [{ name: 'bench.gguf', sha256: zeros, size: 1_000_000 }] }
const engine = { name: 'llama.cpp', version: 'b6881', build: zeros, cpu_variant: 'haswell' }
const parameters = { temperature: '0.7', top_p: '1', min_p: '0', top_k: 1024, max_tokens: 256, stop: [], seed_source: 'enclave' }

const digest = (): string => `sha256:${randomBytes(32).toString('hex')}`
const hex = (): string => randomBytes(32).toString('hex')

/** A receipt of 2.1 KB, as long as that of a plain answer. */
async function workerReceipt(sequence: number, signer: Awaited<ReturnType<typeof generateEd25519>>): Promise<{ text: string; forwarded: Forwarded }> {
  const [requestHash, responseHash, clientNonce] = [digest(), digest(), hex()]
  const unsigned = unsignedReceipt(sequence, [
    { type: 'request.received', body_hash: requestHash },
    { type: 'request.forwarded', body_hash: requestHash },
    { type: 'veritee.request', client_nonce: clientNonce },
    { type: 'veritee.model', ...weights, format: 'gguf', sealed: false, chat_template_digest: zeros, provenance: 'hashed_while_loading' },
    {
      type: 'veritee.inference',
      engine,
      profile: 'default',
      prompt_tokens: 12,
      completion_tokens: 64 + (sequence % 100),
      prompt_tokens_hmac: hex(),
      completion_tokens_hmac: hex(),
      parameters,
      seed: hex().slice(32),
      ignored_parameters: [],
      outcome: 'complete',
    },
    { type: 'response.returned', body_hash: responseHash },
    { type: 'veritee.receipt_key', commitment: await receiptKeyCommitment(key) },
    { type: 'veritee.chain', sequence, previous: digest() },
  ])
  const signature = await signer.sign(utf8(jcs(unsigned as unknown as Json)))
  const text = jcs({ ...unsigned, signature: toHex(signature) } as unknown as Json)
  return { text, forwarded: { requestHash, responseHash, clientNonce, complete: true, stream: null, receiptKey: key, offered: { text } } }
}

function unsignedReceipt(sequence: number, events: readonly ReceiptEvent[]): UnsignedReceipt {
  return {
    api_version: 'aci/1',
    receipt_id: `rcpt-${String(sequence).padStart(12, '0')}`,
    chat_id: `chatcmpl-${String(sequence).padStart(12, '0')}`,
    model: 'bench',
    workload_keyset_digest: keysetDigest,
    endpoint: '/v1/chat/completions',
    method: 'POST',
    served_at: 1_700_000_000 + sequence,
    event_log: events,
    key_id: 'receipt-1',
  }
}

/** A controller's receipt of a plain answer. */
function ownReceipt(sequence: number): UnsignedReceipt {
  return unsignedReceipt(sequence, [
    { type: 'request.received', body_hash: digest() },
    { type: 'veritee.request', client_nonce: hex() },
    { type: 'request.forwarded', body_hash: digest() },
    { type: 'upstream.verified', result: 'verified', required: true, model_id: 'bench', session_id: hex() },
    { type: 'veritee.upstream_receipt', digest: digest(), result: 'match', reason: null },
    { type: 'veritee.outcome', outcome: 'complete' },
    { type: 'response.returned', body_hash: digest() },
    { type: 'veritee.chain', sequence, previous: digest() },
  ])
}

export async function run(): Promise<Figure[]> {
  const signer = await generateEd25519()
  const keyset: Keyset = {
    not_after: Number.MAX_SAFE_INTEGER,
    receipt_signing_keys: [{ key_id: 'receipt-1', algo: 'ed25519', public_key: toHex(signer.publicKey) }],
    e2ee_public_keys: [],
    tls_public_keys: [],
  }
  // What the check asks of a worker.
  const worker = { service: { report: { keyset, keysetDigest, descriptor: { models: [weights] } } } } as unknown as AdmittedWorker
  const theirs = await Promise.all(Array.from({ length: count }, (_, i) => workerReceipt(i, signer)))
  const own = Array.from({ length: count }, (_, i) => ownReceipt(i))
  const reader = new ReceiptReader(keyset)
  for (const { text, forwarded } of theirs) {
    const { receipt, strict } = reader.read(text)
    if (strict !== null) reader.learn(strict)
    const { event } = await checkUpstream(worker, receipt.receiptId, forwarded)
    if (event.result !== 'match') throw new Error(`a receipt that matches was found to be a ${event.result}: ${event.reason}`)
  }
  if (reader.counts.strict !== 1) throw new Error('receipts of one form were not read by one template')

  const of = <T>(name: string, items: readonly T[], operation: (item: T) => unknown): Contestant => ({
    name,
    operations: items.map((item) => () => operation(item)),
  })
  const signed = theirs.map(({ text, forwarded }) => {
    const { receiptId, signature, document } = parseReceipt(text)
    const { signature: _, ...rest } = document
    return { receiptId, signature, message: utf8(jcs(rest)), forwarded }
  })
  const contestants = [
    of("a worker's receipt read as any reader does", theirs, ({ text }) => parseReceipt(text)),
    of('read by a template', theirs, ({ text }) => reader.read(text)),
    of('its signature alone', signed, ({ signature, message }) => reader.keys.verify('receipt-1', signature, message)),
    of('read, verified and compared', signed, ({ receiptId, forwarded }) => checkUpstream(worker, receiptId, forwarded)),
    of('a receipt in its canonical form, as any document', own, (receipt) => jcs(receipt as unknown as Json)),
    of('member by member', own, receiptText),
  ]
  const perSecond = await perCpuSecond(contestants)
  return contestants.map(({ name }) => ({ name, value: 1e6 / (perSecond.get(name) ?? Number.NaN), unit: 'us CPU', target: null }))
}
