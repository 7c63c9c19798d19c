import { sha256Digest } from '../bytes/digest.ts'
import { fail } from '../errors.ts'
import type { ServiceDescriptor } from '../receipt/descriptor.ts'
import { eventOf, type Receipt } from '../receipt/receipt.ts'
import { checkOutcome } from './outcome.ts'
import type { FraudProof } from './proof.ts'

/**
 * What the statements of a proof contradict, in one sentence without content. The statements must have been verified as signed by the keyset that
 * binds `descriptor`. Throws `fraud_not_shown` where they agree, or are not of the kind that the proof names.
 */
export async function findContradiction(proof: FraudProof, descriptor: ServiceDescriptor): Promise<string> {
  const [first, second] = proof.receipts
  if (first === undefined) throw new TypeError('findContradiction: expected a receipt')
  switch (proof.kind) {
    case 'sequence_reused':
      return reused(first, second ?? first)
    case 'chain_forked':
      return forked(first, second ?? first)
    case 'model_contradicted':
      return otherModel(first, descriptor)
    case 'outcome_contradicted':
      return otherOutcome(first, proof.response ?? new Uint8Array(0))
  }
}

function reused(a: Receipt, b: Receipt): string {
  const [one, other] = twoChains(a, b)
  if (one.sequence !== other.sequence) throw notShown(`the numbers differ: ${one.sequence} and ${other.sequence}`)
  return `two receipts have the number ${one.sequence}: ${a.receiptId} and ${b.receiptId}`
}

function forked(a: Receipt, b: Receipt): string {
  const [one, other] = twoChains(a, b)
  if (one.previous !== other.previous) throw notShown('the predecessors differ')
  return `two receipts follow ${one.previous ?? 'no receipt'}: ${a.receiptId} and ${b.receiptId}`
}

type Chain = { readonly sequence: number; readonly previous: string | null }

/**
 * Two receipts are two where what was signed differs. The signature itself does not count: of one message there may be several encodings of one
 * signature, or several signatures, and neither says anything new.
 */
function twoChains(a: Receipt, b: Receipt): [Chain, Chain] {
  const unsigned = ({ canonical }: Receipt): string => canonical.replace(/,"signature":"[0-9a-f]{128}"(?=,"workload_keyset_digest":"[^"]*"}$)/, '')
  if (unsigned(a) === unsigned(b)) throw notShown('both receipts say the same')
  const [one, other] = [eventOf(a, 'veritee.chain'), eventOf(b, 'veritee.chain')]
  if (one === undefined || other === undefined) throw notShown('a receipt has no place in a chain')
  return [one, other]
}

/** By name, weights, format, sealing and template, as relying parties compare them; file names are for people. */
function otherModel(receipt: Receipt, { role, models }: ServiceDescriptor): string {
  if (role !== 'worker') throw notShown(`a ${role} runs no model`)
  const event = eventOf(receipt, 'veritee.model')
  if (event === undefined) throw notShown('the receipt names no model')
  const same = models.some(
    (model) =>
      model.name === event.name &&
      model.format === event.format &&
      model.sealed === event.sealed &&
      model.chat_template_digest === event.chat_template_digest &&
      model.files.length === event.files.length &&
      model.files.every((file, i) => file.sha256 === event.files[i]?.sha256 && file.size === event.files[i]?.size),
  )
  if (same) throw notShown('the receipt names a model that the keyset binds')
  const bound = models.filter(({ name }) => name === event.name)
  const weights = (files: readonly { readonly sha256: string }[]): string => files.map(({ sha256 }) => sha256).join(', ') || 'no files'
  const announced = bound.length === 0 ? 'no model of that name' : bound.map(({ files }) => weights(files)).join('; ')
  return `receipt ${receipt.receiptId} says that ${JSON.stringify(event.name)} ran with ${weights(event.files)}; the keyset binds ${announced}`
}

async function otherOutcome(receipt: Receipt, response: Uint8Array): Promise<string> {
  const returned = eventOf(receipt, 'response.returned')?.body_hash
  const found = await sha256Digest(response)
  // Anybody can put bytes beside a receipt.
  if (returned !== found) throw notShown(`the receipt is over other bytes: expected ${returned}, found ${found}`)
  const contradiction = await checkOutcome(receipt, response)
  if (contradiction === null) throw notShown('outcome and bytes agree, or cannot be compared')
  return `receipt ${receipt.receiptId}: ${contradiction}`
}

function notShown(why: string): Error {
  return fail('fraud_not_shown', why)
}
