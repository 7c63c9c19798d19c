import { type Json, jcs, toHex, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519, type SigningKey } from '../../src/crypto/index.ts'
import {
  type Keyset,
  keysetDigest,
  parseReceipt,
  type Receipt,
  type ReceiptEvent,
  ReceiptKeys,
  receiptDigest,
  receiptKeyCommitment,
  type UnsignedReceipt,
  verifyReceipt,
} from '../../src/receipt/index.ts'

/** An enclave that signs receipts, one after the other, and promises the log of `origin`. */
export class Enclave {
  readonly key: SigningKey
  readonly keyset: Keyset
  readonly keysetDigest: string
  readonly keys: ReceiptKeys
  #sequence = 0
  #previous: string | null = null

  private constructor(key: SigningKey, keyset: Keyset, digest: string) {
    this.key = key
    this.keyset = keyset
    this.keysetDigest = digest
    this.keys = new ReceiptKeys(keyset)
  }

  static async create(): Promise<Enclave> {
    const key = await generateEd25519()
    const keyset: Keyset = {
      subject: null,
      not_after: 2_000_000_000,
      receipt_signing_keys: [{ key_id: 'receipt-1', algo: 'ed25519', public_key: toHex(key.publicKey) }],
      e2ee_public_keys: [],
      tls_public_keys: [],
    }
    return new Enclave(key, keyset, await keysetDigest(keyset))
  }

  async receipt(
    origin: string | null,
    promisedBy: number,
    more: readonly ReceiptEvent[] = [],
    receiptKey: Uint8Array | null = null,
  ): Promise<Awaited<ReturnType<typeof verifyReceipt>>> {
    const digest = (byte: string): string => `sha256:${byte.repeat(32)}`
    const unsigned: UnsignedReceipt = {
      api_version: 'aci/1',
      receipt_id: `rcpt-${this.#sequence}`,
      chat_id: null,
      model: 'demo',
      workload_keyset_digest: this.keysetDigest,
      endpoint: '/v1/chat/completions',
      method: 'POST',
      served_at: promisedBy - 600,
      event_log: [
        { type: 'request.received', body_hash: digest('a1') },
        { type: 'request.forwarded', body_hash: digest('a2') },
        ...more,
        { type: 'response.returned', body_hash: digest('a3') },
        ...(receiptKey === null ? [] : [{ type: 'veritee.receipt_key' as const, commitment: await receiptKeyCommitment(receiptKey) }]),
        ...(origin === null ? [] : [{ type: 'veritee.log' as const, origin, promised_by: promisedBy }]),
        { type: 'veritee.chain', sequence: this.#sequence, previous: this.#previous },
      ],
      key_id: 'receipt-1',
    }
    const signature = toHex(await this.key.sign(utf8(jcs(unsigned as unknown as Json))))
    const receipt: Receipt = parseReceipt(JSON.stringify({ ...unsigned, signature }))
    this.#sequence++
    this.#previous = await receiptDigest(receipt)
    return verifyReceipt(receipt, this.keyset, this.keysetDigest, { requestHash: null, responseHash: null, clientNonce: null })
  }
}

/** How a worker says that it ran a model, with everything in it that a requester wrote. */
export const inference: readonly ReceiptEvent[] = [
  {
    type: 'veritee.model',
    name: 'demo',
    files: [{ name: 'demo.gguf', sha256: `sha256:${'b1'.repeat(32)}`, size: 1000 }],
    format: 'gguf',
    sealed: false,
    provenance: 'hashed_while_loading',
    chat_template_digest: null,
  },
  {
    type: 'veritee.inference',
    engine: { name: 'llama.cpp', version: '1', build: `sha256:${'b2'.repeat(32)}`, cpu_variant: 'x64-avx2' },
    profile: 'canonical',
    prompt_tokens: 37,
    completion_tokens: 1,
    prompt_tokens_hmac: 'c1'.repeat(32),
    completion_tokens_hmac: 'c2'.repeat(32),
    parameters: { temperature: '0.7', top_k: 40, stop: ['a secret of the requester'], logit_bias: ['12:1'], max_tokens: 475, seed_source: 'client' },
    seed: '000000000000002a',
    ignored_parameters: ['user'],
    outcome: 'complete',
  },
]
