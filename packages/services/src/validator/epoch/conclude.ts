import { platformId } from 'veritee/admission'
import type { SigningKey } from 'veritee/crypto'
import { type FraudContext, type ProvenFraud, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
import {
  type Duties,
  type Roster,
  recordsCommitment,
  type ScoringState,
  type VerifiedAccusation,
  type WrittenEpoch,
  writeEpoch,
} from 'veritee/scoring'
import type { EpochRecords } from './run.ts'

/** What an epoch of one validator comes to: its bundle, with scores, and the fraud that it shows. */
export interface Concluded {
  readonly written: WrittenEpoch
  readonly frauds: readonly { readonly text: string; readonly proven: ProvenFraud }[]
}

export interface Conclusion {
  readonly records: EpochRecords
  /** The signed parameters of scoring; they must name no log, since nothing here is put into one. */
  readonly policy: string
  readonly roster: Roster
  /** After the epoch before. */
  readonly before: ScoringState
  /** By which proofs are judged. */
  readonly context: FraudContext
  readonly key: SigningKey
}

/**
 * Opens what the validator committed to, verifies its fraud proofs once more as anybody would, computes scores, and makes the bundle (spec/epoch.md), in which
 * this validator is the only one. Throws what `writeEpoch` and `verifyFraudProof` throw.
 */
export async function concludeEpoch({ records, policy, roster, before, context, key }: Conclusion): Promise<Concluded> {
  const texts = [...records.proofs.values()]
  const frauds = await Promise.all(texts.map(async (text) => ({ text, proven: await verifyFraudProof(parseFraudProof(text), context) })))
  const accused = await Promise.all(frauds.map(async ({ text, proven }) => ({ text, by: await accusedOf(proven, roster.salt) })))
  const written = await writeEpoch(
    {
      policy,
      epoch: records.epoch,
      roster,
      before,
      rounds: { opened: records.opened, closed: null },
      log: null,
      validators: [
        { validator: records.validator, duties: await dutiesOf(records), records: records.records, canaries: records.canaries, openings: [] },
      ],
      proofs: accused.flatMap(({ text, by }) => (by === null ? [] : [{ text, ...by }])),
    },
    [key],
  )
  return { written, frauds }
}

/** Whom a proof convicts, by the network's names; null where the keyset names no operator, so that there is nobody to ban. */
export async function accusedOf({ accused }: ProvenFraud, salt: string): Promise<VerifiedAccusation | null> {
  const { keysetDigest, operatorKey, platform } = accused
  return operatorKey === null ? null : { keyset: keysetDigest, operator: operatorKey, platform: await platformId(salt, platform) }
}

/** The seed, and the salt under which it commits to its records. */
async function dutiesOf({ epoch, validator, commitment, seed, salt, records }: EpochRecords): Promise<Duties> {
  return {
    seed: { commitment, seed, proof: null },
    records: { commitment: await recordsCommitment({ epoch, validator, salt }, records), salt, proof: null },
  }
}
