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
  /** That the commitments to seed and records were logged (tlog-proofs); null without a log, and for what was not in time. */
  readonly logged: { readonly seed: string | null; readonly records: string | null }
  /** The signed parameters of scoring. */
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
export async function concludeEpoch({ records, logged, policy, roster, before, context, key }: Conclusion): Promise<Concluded> {
  const texts = [...records.proofs.values()]
  const frauds = await Promise.all(texts.map(async (text) => ({ text, proven: await verifyFraudProof(parseFraudProof(text), context) })))
  const accused = await Promise.all(frauds.map(async ({ text, proven }) => ({ text, by: await accusedOf(proven, roster.salt) })))
  const written = await writeEpoch(
    {
      policy,
      epoch: records.epoch,
      roster,
      before,
      rounds: { opened: records.opened, closed: records.log?.closed ?? null },
      log: records.log,
      validators: [
        { validator: records.validator, duties: await dutiesOf(records, logged), records: records.records, canaries: records.canaries, openings: [] },
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

/** What commits a validator to its records, before anything of them is shown. */
export function commitmentTo({ epoch, validator, salt, records }: EpochRecords): Promise<string> {
  return recordsCommitment({ epoch, validator, salt }, records)
}

/** The seed, and the salt under which it commits to its records. */
async function dutiesOf(records: EpochRecords, logged: Conclusion['logged']): Promise<Duties> {
  const { commitment, seed, salt } = records
  return {
    seed: { commitment, seed, proof: logged.seed },
    records: { commitment: await commitmentTo(records), salt, proof: logged.records },
  }
}
