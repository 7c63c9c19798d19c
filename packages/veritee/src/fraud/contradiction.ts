import { sha256Digest } from '../bytes/digest.ts'
import { fail } from '../errors.ts'
import type { LogTrust } from '../log/trust.ts'
import type { ServiceDescriptor } from '../receipt/descriptor.ts'
import { eventOf, type Receipt, receiptDigest } from '../receipt/receipt.ts'
import { isOne, type Links, linksOfReceipt, linksOfStatement } from './links.ts'
import { otherModel } from './model.ts'
import { checkOutcome } from './outcome.ts'
import { brokenPromise } from './promise.ts'
import type { FraudProof } from './proof.ts'

/** What a proof shows. */
export interface Contradiction {
  /** One sentence without content. */
  readonly sentence: string
  /** What it is about: digests of receipts; of a chain head, of what is signed. */
  readonly about: readonly string[]
}

/**
 * What the statements of a proof contradict. They must have been verified as signed by the keyset that binds `descriptor`; `log` is the log that the policy relies on, null where
 * it relies on none. Throws `fraud_not_shown` where they agree, or are not of the kind that the proof names, and what `brokenPromise` throws.
 */
export async function findContradiction(proof: FraudProof, descriptor: ServiceDescriptor, log: LogTrust | null): Promise<Contradiction> {
  const [receipt] = proof.receipts
  const [statement] = proof.statements
  switch (proof.kind) {
    case 'sequence_reused':
      return ofTwo(proof, reused)
    case 'chain_forked':
      return ofTwo(proof, forked)
    case 'model_contradicted': {
      if (receipt !== undefined) return ofReceipt(receipt, await otherModel(eventOf(receipt, 'veritee.model') ?? null, descriptor))
      if (statement?.statement.version !== 'veritee.audit-view.v1') throw notShown('a chain head names no model')
      const { name, digest } = await linksOfStatement(statement)
      return { sentence: `${name}: ${await otherModel(statement.statement.model, descriptor)}`, about: [digest] }
    }
    case 'outcome_contradicted':
      return ofReceipt(receipt, await otherOutcome(receipt, proof.response))
    case 'promise_broken':
      return ofReceipt(receipt, await brokenPromise(proof, log))
  }
}

async function ofReceipt(receipt: Receipt | undefined, what: string): Promise<Contradiction> {
  if (receipt === undefined) throw new TypeError('findContradiction: expected a receipt')
  return { sentence: `receipt ${receipt.receiptId}: ${what}`, about: [await receiptDigest(receipt)] }
}

async function ofTwo({ receipts, statements }: FraudProof, find: (a: Links, b: Links) => string): Promise<Contradiction> {
  const [a = null, b = null] = await Promise.all([...receipts.map(linksOfReceipt), ...statements.map(linksOfStatement)])
  if (a === null || b === null) throw notShown('a receipt has no place in a chain')
  if (isOne(a, b)) throw notShown('both are of one receipt')
  return { sentence: find(a, b), about: [a.digest, b.digest] }
}

function reused(a: Links, b: Links): string {
  for (const one of a.places) {
    const other = b.places.find(({ place }) => place === one.place)
    if (other !== undefined && other.digest !== one.digest)
      return `two receipts have the number ${one.place}: ${one.digest} by ${a.name}, ${other.digest} by ${b.name}`
  }
  const told = ({ places }: Links): string => places.map(({ place }) => place).join(' and ') || 'none'
  throw notShown(`no number has two receipts: ${a.name} tells of ${told(a)}, ${b.name} of ${told(b)}`)
}

function forked(a: Links, b: Links): string {
  if (a.own === null || b.own === null) throw notShown('a chain head has no predecessor')
  if (a.own.previous !== b.own.previous) throw notShown('the predecessors differ')
  return `two receipts follow ${a.own.previous ?? 'no receipt'}: ${a.name} and ${b.name}`
}

async function otherOutcome(receipt: Receipt | undefined, response: Uint8Array | null): Promise<string> {
  if (receipt === undefined || response === null) throw new TypeError('findContradiction: expected a receipt and a response')
  const returned = eventOf(receipt, 'response.returned')?.body_hash
  const found = await sha256Digest(response)
  // Anybody can put bytes beside a receipt.
  if (returned !== found) throw notShown(`the receipt is over other bytes: expected ${returned}, found ${found}`)
  const contradiction = await checkOutcome(receipt, response)
  if (contradiction === null) throw notShown('outcome and bytes agree, or cannot be compared')
  return contradiction
}

function notShown(why: string): Error {
  return fail('fraud_not_shown', why)
}
