import { VeriteeError } from 'veritee/errors'
import { type FraudContext, type ProvenFraud, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
import { keysetDigest } from 'veritee/receipt'
import type { Reports } from '../organic/reports.ts'
import type { EpochStore } from '../store/epoch-store.ts'

export interface Naming {
  readonly store: Pick<EpochStore, 'keep' | 'fact'>
  readonly epoch: number
  /** Reports of the keyset that a proof accuses. */
  readonly reports: Pick<Reports, 'of'>
  readonly context: FraudContext
}

/**
 * Proofs of an epoch, by what they are about, each over a report that names its operator where there is one: only then it bans him, and not merely an enclave that is gone with its keys (rule S17). Whoever passed
 * on the report that came with an audit may have left the operator's signature out, which is under no quote. What came of it is kept, so that all processes of a validator publish the same.
 *
 * `context` is as of the end of the epoch, as of which everybody verifies its bundle. What then proves nothing, as over evidence whose collateral the accused chose to be over soon, is left out, unless another report of
 * the keyset carries it: one such proof would have the whole bundle refused.
 *
 * Controllers are asked for such reports: not before the epoch is over, as no ordinary client asks so (rule S20). Throws what the store throws.
 */
export async function namingOperators(naming: Naming, proofs: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
  const { store, epoch, context } = naming
  const found = new Map<string, string>()
  for (const [digest, text] of proofs) {
    const name = `accused ${digest}`
    const kept = (await store.fact(epoch, name)) ?? (await store.keep(epoch, name, (await withOperator(text, naming)) ?? ''))
    // Another manifest may have come into force since it was kept.
    if (kept !== '' && (await provenBy(kept, context)) !== null) found.set(digest, kept)
  }
  return found
}

/** The proof over the first report of the keyset that names an operator; where none does, as it is or over the first by which it holds; null where there is none. */
async function withOperator(text: string, { reports, context }: Naming): Promise<string | null> {
  const proven = await provenBy(text, context)
  if (proven !== null && proven.accused.operatorKey !== null) return text
  let found = proven === null ? null : text
  for await (const report of reports.of(await keysetDigest(parseFraudProof(text).report.keyset))) {
    const other = over(text, report)
    const again = other === null ? null : await provenBy(other, context)
    if (again === null) continue
    if (again.accused.operatorKey !== null) return other
    found ??= other
  }
  return found
}

/** Null where it proves nothing. */
async function provenBy(text: string, context: FraudContext): Promise<ProvenFraud | null> {
  try {
    return await verifyFraudProof(parseFraudProof(text), context)
  } catch (error) {
    if (error instanceof VeriteeError) return null
    throw error
  }
}

/** The proof over another report, which is of others and not verified so far; null for one that is no JSON. */
function over(proof: string, report: string): string | null {
  try {
    return JSON.stringify({ ...(JSON.parse(proof) as object), report: JSON.parse(report) as unknown })
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
