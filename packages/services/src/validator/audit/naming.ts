import { VeriteeError } from 'veritee/errors'
import { type FraudContext, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
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
 * Controllers are asked for such reports: not before the epoch is over, as no ordinary client asks so (rule S20). Throws what `verifyFraudProof` throws.
 */
export async function namingOperators(naming: Naming, proofs: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
  const { store, epoch } = naming
  const found = new Map<string, string>()
  for (const [digest, text] of proofs) {
    const name = `accused ${digest}`
    const kept = await store.fact(epoch, name)
    found.set(digest, kept ?? (await store.keep(epoch, name, await withOperator(text, naming))))
  }
  return found
}

/** The proof over the first report of the keyset that names an operator; as it is where none does. */
async function withOperator(text: string, { reports, context }: Naming): Promise<string> {
  const { accused } = await verifyFraudProof(parseFraudProof(text), context)
  if (accused.operatorKey !== null) return text
  for await (const report of reports.of(accused.keysetDigest)) {
    try {
      const other = JSON.stringify({ ...(JSON.parse(text) as object), report: JSON.parse(report) as unknown })
      if ((await verifyFraudProof(parseFraudProof(other), context)).accused.operatorKey !== null) return other
    } catch (error) {
      // Of others, and not verified so far.
      if (!(error instanceof VeriteeError) && !(error instanceof SyntaxError)) throw error
    }
  }
  return text
}
