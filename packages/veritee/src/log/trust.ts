import { fail } from '../errors.ts'
import { parseVerifierKey, sameKey, type VerifierKey } from './key.ts'

/** Which log is relied on, and how many of which witnesses must have seen what it shows (rule S21). */
export interface LogTrust {
  readonly origin: string
  /** Type `ed25519`. */
  readonly key: VerifierKey
  /** Type `cosignature`, no two with the same key. */
  readonly witnesses: readonly VerifierKey[]
  /** How many of the witnesses, 1 at least. */
  readonly quorum: number
}

/** The member `log` of a policy: keys as verifier keys. */
export interface LogPolicy {
  readonly origin: string
  readonly key: string
  readonly witnesses: readonly string[]
  readonly quorum: number
}

const maxWitnesses = 64

/**
 * Takes in the keys of a `log` of a policy. The key of the log is of type 0x01 and named as its origin; witnesses are of type 0x04; no key stands
 * twice, under whatever names, and the log's is none of the witnesses'. That witnesses are of other operators than the log, as rule S21
 * demands, no key can show: it is for whoever writes the policy to see to it. Throws `log_key_malformed`, `policy_invalid`.
 */
export async function parseLogTrust(policy: LogPolicy): Promise<LogTrust> {
  const { origin, quorum } = policy
  const key = await parseVerifierKey(policy.key)
  if (key.type !== 'ed25519' || key.name !== origin) throw refuse('key', `a key of type 0x01 with the name ${JSON.stringify(origin)}`)
  if (policy.witnesses.length > maxWitnesses) throw refuse('witnesses', `at most ${maxWitnesses}`)
  const witnesses: VerifierKey[] = []
  for (const [i, text] of policy.witnesses.entries()) {
    const witness = await parseVerifierKey(text)
    if (witness.type !== 'cosignature') throw refuse(`witnesses[${i}]`, 'a key of type 0x04')
    // One witness under two names would be two of a quorum; the log as its own witness is none.
    if (sameKey(witness, key) || witnesses.some((other) => sameKey(witness, other) || other.name === witness.name))
      throw refuse(`witnesses[${i}]`, "a key and a name that are no other witness's, and not the log's")
    witnesses.push(witness)
  }
  if (!Number.isSafeInteger(quorum) || quorum < 1 || quorum > witnesses.length) throw refuse('quorum', `1 to ${witnesses.length}`)
  return { origin, key, witnesses, quorum }
}

function refuse(at: string, expected: string): Error {
  return fail('policy_invalid', `log.${at}: expected ${expected}`)
}
