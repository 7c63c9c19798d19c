import { utf8 } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import type { SigningKey } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import { parseAuditRecord } from '../audit/parse.ts'
import { parseScoringPolicy } from '../policy/parse.ts'
import { stateToJson } from '../state/json.ts'
import type { ScoringState } from '../state/state.ts'
import { type Canaries, type CanaryOpening, recordsText } from './commitments.ts'
import type { Duties, EpochLog, Roster, Rounds } from './documents.ts'
import { type Missed, missedDuty, verifyFacts } from './duties.ts'
import {
  canariesPath,
  dutiesPath,
  manifestName,
  manifestText,
  openingsPath,
  recordsPath,
  signaturesName,
  signaturesText,
  signManifest,
  withFile,
} from './files.ts'
import { type EpochOutcome, epochOutcome } from './outcome.ts'

/** What one validator hands in after an epoch. */
export interface ValidatorPart {
  /** 32 bytes hex. */
  readonly validator: string
  readonly duties: Duties
  /** Signed records, in the order of their index. */
  readonly records: readonly string[]
  /** What its seed commits to; null for a validator without canaries. */
  readonly canaries: Canaries | null
  readonly openings: readonly CanaryOpening[]
}

/** Everything a bundle is made of. Documents are as their owners published them. */
export interface EpochParts {
  /** The signed scoring policy. */
  readonly policy: string
  readonly epoch: number
  readonly roster: Roster
  readonly before: ScoringState
  readonly rounds: Rounds
  readonly log: (EpochLog & { readonly leaves: readonly Uint8Array[] }) | null
  readonly validators: readonly ValidatorPart[]
  /** Fraud proofs, verified by the caller, and whom each accuses. */
  readonly proofs: readonly { readonly text: string; readonly keyset: string; readonly operator: string; readonly platform: string | null }[]
}

export interface WrittenEpoch extends EpochOutcome {
  /** Path to text, manifest and signatures included. */
  readonly bundle: ReadonlyMap<string, string>
  /** By validator, those that missed a duty and have no weight for it. */
  readonly missed: ReadonlyMap<string, Missed>
}

/**
 * Makes the bundle of an epoch (spec/epoch.md): computes duties, scores, state and weights, and signs the manifest with `keys`, at least one of a validator of
 * the policy. A validator of the policy that hands in nothing has missed its duties. It writes no file: see `veriteed`'s publishing for that.
 * Throws what its readers throw, and `epoch_malformed` for a part of an unknown validator.
 */
export async function writeEpoch(parts: EpochParts, keys: readonly SigningKey[]): Promise<WrittenEpoch> {
  const { policy } = await parseScoringPolicy(parts.policy)
  const { epoch, rounds, log } = parts
  const facts = await verifyFacts(policy, epoch, rounds, log, log?.leaves ?? [])
  const files = new Map<string, string>([
    ['policy.json', parts.policy],
    ['roster.json', jcs({ version: 'veritee.roster.v1', ...parts.roster })],
    ['before.json', jcs(stateToJson(policy.network, parts.before) as Json)],
    ['beacon.json', jcs({ version: 'veritee.epoch-beacon.v1', ...rounds } as unknown as Json)],
  ])
  if (log !== null) {
    files.set('log.json', jcs({ version: 'veritee.epoch-log.v1', opens: log.opens, closes: log.closes, before: log.before }))
    files.set('leaves.txt', log.leaves.map((leaf) => `${toHex(leaf)}\n`).join(''))
  }
  const missed = new Map<string, Missed>()
  const records = []
  for (const { key } of policy.validators) if (!parts.validators.some(({ validator }) => validator === key)) missed.set(key, nothingHandedIn)
  for (const { validator, duties, records: own, canaries, openings } of parts.validators) {
    if (!policy.validators.some(({ key }) => key === validator))
      throw fail('epoch_malformed', `expected validators of the policy, found ${validator}`)
    const text = recordsText(own)
    const parsed = own.map(parseAuditRecord)
    files.set(dutiesPath(validator), jcs({ version: 'veritee.duties.v1', validator, ...duties } as Json))
    files.set(recordsPath(validator), text)
    if (canaries !== null) files.set(canariesPath(validator), jcs({ version: 'veritee.canaries.v1', validator, ...canaries }))
    if (openings.length > 0) files.set(openingsPath(validator), openingsText(openings))
    const of = { network: policy.network, epoch, validator }
    const failed = await missedDuty(of, duties, { records: parsed, file: await sha256Digest(utf8(text)), canaries }, facts, policy)
    if (failed !== null) missed.set(validator, failed)
    records.push(...parsed)
  }
  const proven = parts.proofs.map(({ text, ...accused }, i) => {
    const file = `proofs/${String(i).padStart(5, '0')}.json`
    files.set(file, text)
    return { file, ...accused }
  })
  files.set('proven.json', jcs({ version: 'veritee.proven.v1', proven }))
  const outcome = epochOutcome({ policy, epoch, before: parts.before, roster: parts.roster, records, proven, missed })
  for (const [path, text] of outcome.files) files.set(path, text)
  const manifest = await manifestText(policy.network, epoch, files)
  const signatures = await Promise.all(keys.map((key) => signManifest(utf8(manifest), key)))
  return { ...outcome, missed, bundle: new Map([...files, [manifestName, manifest], [signaturesName, signaturesText(signatures)]]) }
}

/** `openings.jsonl`: every line ends in LF. */
function openingsText(openings: readonly CanaryOpening[]): string {
  return openings.map((one) => `${jcs(one as unknown as Json)}\n`).join('')
}

/**
 * The files by which a bundle that was published without them is published again with the openings of a validator's canaries: those, the manifest, and the signatures
 * of `keys`, which take the place of all that there were. What is opened is not compared with the records: `verifyEpoch` does. Throws `epoch_malformed` for a text
 * that is no manifest, and for one that lists openings already.
 */
export async function openCanaries(
  manifest: string,
  { validator, openings }: { readonly validator: string; readonly openings: readonly CanaryOpening[] },
  keys: readonly SigningKey[],
): Promise<ReadonlyMap<string, string>> {
  const path = openingsPath(validator)
  const text = openingsText(openings)
  const again = await withFile(utf8(manifest), path, text)
  const signatures = await Promise.all(keys.map((key) => signManifest(utf8(again), key)))
  return new Map([
    [path, text],
    [manifestName, again],
    [signaturesName, signaturesText(signatures)],
  ])
}

export const nothingHandedIn: Missed = { duty: 'seed_opened', record: null, detail: 'nothing was handed in' }

/** Leaf hashes from the lines of `leaves.txt`. Throws `epoch_malformed`. */
export function parseLeaves(text: string): Uint8Array[] {
  const refused = (): Error => fail('epoch_malformed', 'leaves.txt: expected lines of 64 lower-case hex digits')
  if (text.length % 65 !== 0) throw refused()
  const leaves: Uint8Array[] = []
  // Line by line: one expression over millions of lines takes more stack than there is.
  for (let at = 0; at < text.length; at += 65) {
    const line = text.slice(at, at + 65)
    if (!/^[0-9a-f]{64}\n$/.test(line)) throw refused()
    leaves.push(fromHex(line.slice(0, 64)))
  }
  return leaves
}
