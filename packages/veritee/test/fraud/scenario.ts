import type { Json } from '../../src/bytes/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import type { InferenceEvent, Outcome, ReceiptEvent } from '../../src/receipt/index.ts'
import { engine, modelEvent, sha, type TestEnclave } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'

/** Answers and receipts for fraud proofs: those of an honest enclave, and those that only a dishonest one signs. */

export const policy: Policy = policyOf({ maxAttestationAge: 300 }, { maxAttestationAge: 300 })

export function answerText(finishReason: string): string {
  return JSON.stringify({ id: 'chatcmpl-1', choices: [{ index: 0, message: { role: 'assistant', content: 'yes' }, finish_reason: finishReason }] })
}

export function inferenceEvent(outcome: Outcome): InferenceEvent {
  return {
    type: 'veritee.inference',
    engine,
    profile: 'canonical',
    prompt_tokens: 3,
    completion_tokens: 2,
    prompt_tokens_hmac: '0'.repeat(64),
    completion_tokens_hmac: '1'.repeat(64),
    parameters: { temperature: '0', seed_source: 'client' },
    seed: '07',
    ignored_parameters: [],
    outcome,
  }
}

export interface Signed {
  readonly sequence?: number
  readonly previous?: string | null
  readonly model?: ReceiptEvent
  readonly outcome?: Outcome
  readonly answer?: string
  readonly stream?: ReceiptEvent
  readonly changes?: { readonly [name: string]: Json }
}

/** A receipt as a worker signs it. */
export function receiptOf(enclave: TestEnclave, signed: Signed = {}): string {
  const { sequence = 0, previous = sequence === 0 ? null : sha(`receipt ${sequence - 1}`), model = modelEvent, outcome = 'complete' } = signed
  return enclave.receipt(
    [
      { type: 'request.received', body_hash: sha('request') },
      model,
      inferenceEvent(outcome),
      ...(signed.stream === undefined ? [] : [signed.stream]),
      { type: 'response.returned', body_hash: sha(signed.answer ?? answerText('stop')) },
      { type: 'veritee.chain', sequence, previous },
    ],
    { receipt_id: `rcpt-${sequence}`, ...signed.changes },
  )
}
