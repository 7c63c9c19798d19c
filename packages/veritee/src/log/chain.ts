import type { Verified } from '../attestation/claims.ts'
import type { AuditView } from './audit-view.ts'
import type { ChainHead, SignedLogStatement } from './statement.ts'

/** What is wrong with the statements of one keyset in a log (rule S21). */
export type ChainFault = {
  readonly keyset: string
  /** Place in the chain of receipts. */
  readonly sequence: number
} & (
  | {
      /** Two receipts in one place, or one that names another predecessor than the one there is: both statements are signed by the accused, and together are evidence. */
      readonly fault: 'fork'
      readonly statements: readonly [SignedLogStatement, SignedLogStatement]
    }
  | {
      /** Nothing stands in this place, and a later statement is overdue. It shows an omission to whoever has read the whole log; `later` is that statement. */
      readonly fault: 'missing'
      readonly later: SignedLogStatement
    }
)

interface Chain {
  /** By sequence. */
  readonly views: Map<number, SignedLogStatement>
  readonly heads: { readonly head: ChainHead; readonly signed: SignedLogStatement }[]
}

/**
 * Looks for what the statements of a log contradict or leave out: of each keyset, every place of its chain from 0 to the last that is known of has one receipt, each names the one before, and heads name
 * the last. A place is missing only where a later statement should have been logged before `unixSeconds` (a witnessed time): until then, more may come.
 *
 * The statements must have been verified, and be all that the log has of these keysets up to that time: what is not passed in is missing. Faults by keyset and place. At most one fault a place.
 */
export function chainFaults(statements: readonly Verified<SignedLogStatement>[], unixSeconds: number): ChainFault[] {
  const chains = new Map<string, Chain>()
  const faults: ChainFault[] = []
  for (const signed of statements) {
    const { statement } = signed
    const keyset = statement.workload_keyset_digest
    let chain = chains.get(keyset)
    if (chain === undefined) {
      chain = { views: new Map(), heads: [] }
      chains.set(keyset, chain)
    }
    if (statement.version === 'veritee.chain-head.v1') chain.heads.push({ head: statement, signed })
    else {
      const other = chain.views.get(statement.sequence)
      if (other === undefined) chain.views.set(statement.sequence, signed)
      else if (digestOf(other) !== statement.receipt_digest)
        faults.push({ keyset, sequence: statement.sequence, fault: 'fork', statements: [other, signed] })
    }
  }
  for (const [keyset, chain] of chains) faults.push(...linkFaults(keyset, chain), ...missing(keyset, chain, unixSeconds))
  const seen = new Set<string>()
  return faults
    .sort((a, b) => (a.keyset === b.keyset ? a.sequence - b.sequence : a.keyset < b.keyset ? -1 : 1))
    .filter(({ keyset, sequence }) => !seen.has(`${keyset} ${sequence}`) && seen.add(`${keyset} ${sequence}`))
}

function linkFaults(keyset: string, { views, heads }: Chain): ChainFault[] {
  const faults: ChainFault[] = []
  for (const [sequence, signed] of views) {
    const { previous } = signed.statement as AuditView
    const before = views.get(sequence - 1)
    // A first receipt with a predecessor, and a later one without, contradict their own numbers.
    if (sequence === 0 ? previous !== null : previous === null) faults.push({ keyset, sequence, fault: 'fork', statements: [signed, signed] })
    else if (before !== undefined && digestOf(before) !== previous) faults.push({ keyset, sequence, fault: 'fork', statements: [before, signed] })
  }
  for (const { head, signed } of heads) {
    const last = views.get(head.receipts - 1)
    if (last !== undefined && digestOf(last) !== head.last)
      faults.push({ keyset, sequence: head.receipts - 1, fault: 'fork', statements: [last, signed] })
  }
  return faults
}

/** Places below the highest that an overdue statement tells of. */
function missing(keyset: string, { views, heads }: Chain, unixSeconds: number): ChainFault[] {
  let count = 0
  let later: SignedLogStatement | null = null
  const tell = (receipts: number, signed: SignedLogStatement): void => {
    if (signed.statement.log.promised_by >= unixSeconds || receipts <= count) return
    count = receipts
    later = signed
  }
  for (const [sequence, signed] of views) tell(sequence + 1, signed)
  for (const { head, signed } of heads) tell(head.receipts, signed)
  const faults: ChainFault[] = []
  if (later === null) return faults
  // What is claimed can be any number: beyond the first places nothing more is learnt.
  for (let sequence = 0; sequence < count && faults.length < maxMissing; sequence++)
    if (!views.has(sequence)) faults.push({ keyset, sequence, fault: 'missing', later })
  return faults
}

const maxMissing = 1000

function digestOf({ statement }: SignedLogStatement): string {
  return (statement as AuditView).receipt_digest
}
