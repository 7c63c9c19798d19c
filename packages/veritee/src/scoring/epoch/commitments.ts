import * as crypto from '#crypto'
import { utf8 } from '../../bytes/bytes.ts'
import { jcsDigest, sha256Digest } from '../../bytes/digest.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'

/** Commitments of validators (rules S16 and S20). The one to a seed is `seedCommitment` of `veritee/beacon`. Normative: spec/epoch.md, "Duties". */

/**
 * The commitment of a validator to its records of an epoch. Its scores follow from them, so that whoever commits to the records has committed to the scores.
 * `salt` is 32 bytes hex; records are lines without their ends, in the order of their index.
 */
export async function recordsCommitment(
  of: { readonly epoch: number; readonly validator: string; readonly salt: string },
  records: readonly string[],
): Promise<string> {
  return recordsFileCommitment(of, await sha256Digest(utf8(recordsText(records))))
}

/** {@link recordsCommitment} from the digest of the file of records. */
export function recordsFileCommitment(
  { epoch, validator, salt }: { readonly epoch: number; readonly validator: string; readonly salt: string },
  records: string,
): Promise<string> {
  return jcsDigest({ epoch, purpose: 'veritee.records.v1', records, salt, validator })
}

/** `records.jsonl`: every line ends in LF. */
export function recordsText(records: readonly string[]): string {
  return records.map((record) => `${record}\n`).join('')
}

/** What a canary was, told after its epoch. `salt` is 32 bytes hex. */
export type CanaryOpening = {
  readonly prompt: string
  readonly parameters: { readonly [name: string]: Json }
  readonly expected: string
  readonly salt: string
}

/** The commitment to a canary, for the member `canary` of its record. */
export function canaryCommitment({ prompt, parameters, expected, salt }: CanaryOpening): Promise<string> {
  return jcsDigest({ expected, parameters, prompt, purpose: 'veritee.canary.v1', salt })
}

/**
 * The canaries of a validator in an epoch: their commitments, in any order, each once. Its seed is made from them ({@link seedOfCanaries}), so that whoever
 * commits to the seed before the epoch has committed to what they ask and expect. `entropy` is 32 bytes hex, from which no canary follows.
 */
export type Canaries = { readonly entropy: string; readonly commitments: readonly string[] }

/** The seed of an epoch with canaries, 32 bytes: nobody knows it without the entropy. */
export async function seedOfCanaries(
  { epoch, validator }: { readonly epoch: number; readonly validator: string },
  { entropy, commitments }: Canaries,
): Promise<Uint8Array> {
  return crypto.sha256(utf8(jcs({ canaries: [...commitments], entropy, epoch, purpose: 'veritee.canaries.v1', validator })))
}

/** What is logged of a commitment, 32 bytes: nothing of it can be told from that. */
export async function commitmentEntry(of: {
  readonly network: string
  readonly epoch: number
  readonly validator: string
  readonly purpose: 'seed' | 'records'
  readonly commitment: string
}): Promise<Uint8Array> {
  return crypto.sha256(utf8(`veritee.commitment.v1\n${jcs({ ...of })}`))
}
