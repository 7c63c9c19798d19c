import type { AdmissionTrust } from '../../admission/trust.ts'
import { utf8 } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import type { Json } from '../../bytes/jcs.ts'
import { fail, VeriteeError } from '../../errors.ts'
import type { AuditRecord } from '../audit/record.ts'
import { parseScoringPolicy } from '../policy/parse.ts'
import { epochWindow, type ScoringPolicy } from '../policy/policy.ts'
import { verifyScoringPolicy } from '../policy/verify.ts'
import type { EpochScores } from '../score.ts'
import { parseState } from '../state/json.ts'
import type { ScoringState } from '../state/state.ts'
import { compareWithLog, type EpochLogSource } from './against-log.ts'
import { canaryCommitment } from './commitments.ts'
import {
  type Accusation,
  accusationsFromJson,
  canariesFromJson,
  dutiesFromJson,
  epochLogFromJson,
  parseOpening,
  type Roster,
  rosterFromJson,
  roundsFromJson,
} from './documents.ts'
import { type EpochFacts, type Missed, missedDuty, verifyFacts } from './duties.ts'
import { EpochFault } from './fault.ts'
import { Bundle, canariesPath, dutiesPath, openingsPath, type ReadFile, recordsPath, signaturesName, verifySignatures } from './files.ts'
import { epochOutcome } from './outcome.ts'
import { readRecords } from './records.ts'
import { nothingHandedIn, parseLeaves } from './write.ts'

/** Whom a fraud proof accuses, as its verifier found. */
export interface VerifiedAccusation {
  readonly keyset: string
  readonly operator: string
  readonly platform: string | null
}

/** What the verifier brings. What is null is not judged, and listed as waived. */
export interface EpochContext {
  /** Whose scoring policies count. */
  readonly trust: AdmissionTrust | null
  /** Verifies a fraud proof as of `at`; `salt` names machines. Throws where it proves nothing. */
  readonly verifyProof: ((text: string, context: { readonly salt: string; readonly at: Date }) => Promise<VerifiedAccusation>) | null
  /** What the admission manifest in force says: see `rosterOf`. `operators` null where it lists none, and then who takes part is not judged. */
  readonly roster: (Omit<Roster, 'operators'> & { readonly operators: readonly string[] | null }) | null
  /** Digest of `after.json` of the epoch before. */
  readonly previous: string | null
  /** The log itself, beside the extract that the bundle holds. */
  readonly log?: EpochLogSource | null
}

export interface EpochCheck {
  readonly id:
    | 'manifest'
    | 'policy'
    | 'roster'
    | 'previous'
    | 'records'
    | 'beacon'
    | 'log'
    | 'log-itself'
    | 'duties'
    | 'canaries'
    | 'proofs'
    | 'scores'
    | 'signatures'
  readonly status: 'pass' | 'fail' | 'waived'
  readonly detail: string
}

export interface EpochVerdict {
  readonly verdict: 'verified' | 'rejected'
  readonly network: string | null
  readonly epoch: number | null
  readonly checks: readonly EpochCheck[]
  /** The first thing that is wrong: its file, and in a file of records the line, from 0, and whose it is. */
  readonly first: {
    readonly file: string
    readonly record: { readonly validator: string; readonly line: number } | null
    readonly code: string
    readonly message: string
  } | null
  readonly missed: readonly (Missed & { readonly validator: string })[]
  /** Validators that signed the bundle, by rising key; none where it is rejected. */
  readonly signers: readonly string[]
  readonly scores: EpochScores | null
}

/**
 * Verifies the bundle of an epoch (spec/epoch.md, "Verifying"): every signature, commitment, round, checkpoint, leaf and duty, every fraud proof, and recomputes every
 * number of scores, state and weights. It ends at the first thing that is wrong and names it. It never throws for what a bundle holds; it throws what `read` throws
 * for a file that cannot be had (`unavailable`).
 *
 * It cannot tell what a validator was answered, nor whether all validators saw the same bundle.
 */
export async function verifyEpoch(read: ReadFile, context: EpochContext): Promise<EpochVerdict> {
  const progress = new Progress()
  try {
    await steps(read, context, progress)
  } catch (error) {
    const fault =
      error instanceof EpochFault
        ? error
        : error instanceof VeriteeError && error.kind !== 'unavailable'
          ? new EpochFault(progress.file, null, error)
          : null
    if (fault === null) throw error
    const { file, record, cause } = fault
    progress.checks.push({ id: progress.id, status: 'fail', detail: `${cause.code}: ${cause.message}` })
    return progress.verdict('rejected', { file, record, code: cause.code, message: cause.message })
  }
  return progress.verdict('verified', null)
}

/** How far a verification has come. */
class Progress {
  readonly checks: EpochCheck[] = []
  readonly missed = new Map<string, Missed>()
  id: EpochCheck['id'] = 'manifest'
  file = 'manifest.json'
  network: string | null = null
  epoch: number | null = null
  signers: readonly string[] = []
  scores: EpochScores | null = null

  begin(id: EpochCheck['id'], file: string): void {
    this.id = id
    this.file = file
  }

  pass(detail: string, status: 'pass' | 'waived' = 'pass'): void {
    this.checks.push({ id: this.id, status, detail })
  }

  verdict(verdict: EpochVerdict['verdict'], first: EpochVerdict['first']): EpochVerdict {
    const { network, epoch, checks, signers, scores } = this
    const missed = [...this.missed].map(([validator, what]) => ({ validator, ...what }))
    return { verdict, network, epoch, checks, first, missed, signers, scores: verdict === 'verified' ? scores : null }
  }
}

async function steps(read: ReadFile, context: EpochContext, progress: Progress): Promise<void> {
  const bundle = await Bundle.open(read)
  const { network, epoch, files } = bundle.manifest
  progress.network = network
  progress.epoch = epoch
  progress.pass(`${files.length} files of epoch ${epoch} of ${network}`)
  const policy = await policyOf(bundle, context, progress)
  const { roster, before } = await partiesOf(bundle, context, progress)
  // Before everything that is computed from them, so that a changed record is what is named.
  const { records, digests } = await recordsOf(bundle, policy, progress)
  const facts = await factsOf(bundle, policy, progress)
  await logItself(bundle, facts, records, context.log ?? null, progress)
  await dutiesOf(bundle, policy, records, digests, facts, progress)
  await canariesOf(bundle, policy, records, progress)
  const proven = await proofsOf(bundle, policy, roster, context, progress)
  progress.begin('scores', 'scores.json')
  const outcome = epochOutcome({ policy, epoch, before, roster, records: [...records.values()].flat(), proven, missed: progress.missed })
  for (const [path, expected] of outcome.files) {
    progress.begin('scores', path)
    const found = await bundle.text(path)
    if (found !== expected) throw fail('epoch_mismatch', differenceOf(expected, found))
  }
  progress.pass(
    `scores, state and weights of ${outcome.scores.network.workers.length} workers follow from ${[...records.values()].flat().length} records`,
  )
  progress.scores = outcome.scores
  progress.begin('manifest', 'manifest.json')
  for (const { path } of files)
    if (!isExpected(path, policy)) throw fail('epoch_malformed', `${path}: expected no file that nothing is computed from`)
  progress.begin('signatures', signaturesName)
  const validators = new Set(policy.validators.map(({ key }) => key))
  const signers = await verifySignatures(await bundle.unlisted(signaturesName), bundle.manifestBytes, validators)
  progress.signers = signers
  const signed = `${signers.length} of ${validators.size} validators signed`
  const framed = [...progress.missed.keys()].filter((validator) => !signers.includes(validator))
  if (framed.length === 0 || holdsMost(signers, policy)) progress.pass(signed)
  else progress.pass(`${signed}, without most of the weight: that ${framed.length} of the others missed a duty is their word alone`, 'waived')
}

/** What others handed in, whoever publishes can leave out: only more than half of the weight may say that nothing came of them. */
function holdsMost(signers: readonly string[], { validators }: ScoringPolicy): boolean {
  const weight = (of: ScoringPolicy['validators']): bigint => of.reduce((sum, one) => sum + one.weight, 0n)
  return 2n * weight(validators.filter(({ key }) => signers.includes(key))) > weight(validators)
}

async function policyOf(bundle: Bundle, { trust }: EpochContext, progress: Progress): Promise<ScoringPolicy> {
  progress.begin('policy', 'policy.json')
  const text = await bundle.text('policy.json')
  const signed = await parseScoringPolicy(text)
  const { network, epoch } = bundle.manifest
  if (signed.policy.network !== network) throw fail('epoch_malformed', `expected a policy of ${network}, found one of ${signed.policy.network}`)
  // What comes after the last time that there is would be judged as of no time.
  if (epochWindow(signed.policy, epoch).closes > maxSeconds) throw fail('epoch_malformed', `expected an epoch that ends by ${maxSeconds}`)
  if (trust === null) {
    progress.pass(`${signed.digest}; whose policies count was not said: its signatures were not judged`, 'waived')
    return signed.policy
  }
  await verifyScoringPolicy(text, trust, new Date(epochWindow(signed.policy, epoch).opens * 1000))
  progress.pass(signed.digest)
  return signed.policy
}

async function partiesOf(
  bundle: Bundle,
  context: EpochContext,
  progress: Progress,
): Promise<{ readonly roster: Roster; readonly before: ScoringState }> {
  progress.begin('roster', 'roster.json')
  const roster = rosterFromJson(await bundle.json('roster.json'))
  judgeRoster(roster, context.roster, progress)
  progress.begin('previous', 'before.json')
  const text = await bundle.text('before.json')
  const before = parseState(text, bundle.manifest.network)
  const digest = await sha256Digest(utf8(text))
  if (context.previous !== null && context.previous !== digest)
    throw fail('epoch_mismatch', `expected the state ${context.previous}, found ${digest}`)
  if (before.epoch === null && context.previous === null && bundle.manifest.epoch > 0)
    progress.pass('it begins from nothing, as if there had been no bans and no scores; that it may was not shown', 'waived')
  else if (before.epoch === null) progress.pass('the first epoch of the network')
  else {
    const left = bundle.manifest.epoch - before.epoch - 1
    const told = left > 0 ? `${digest}, after epoch ${before.epoch}: the ${left} since then were left out` : digest
    if (context.previous === null) progress.pass(`${told}; the epoch before was not given`, 'waived')
    else progress.pass(told)
  }
  return { roster, before }
}

function judgeRoster(roster: Roster, expected: EpochContext['roster'], progress: Progress): void {
  const found = `${roster.operators.length} operators of manifest ${roster.manifest}`
  if (expected === null) {
    progress.pass(`${found}; the manifest itself was not given`, 'waived')
    return
  }
  const same = (a: readonly string[], b: readonly string[]): boolean => a.toSorted().join() === b.join()
  const { manifest, salt, operators, shared } = expected
  if (
    manifest !== roster.manifest ||
    salt !== roster.salt ||
    !same(shared, roster.shared) ||
    (operators !== null && !same(operators, roster.operators))
  )
    throw fail('epoch_mismatch', `expected salt, operators and shared machines of manifest ${manifest}`)
  if (operators === null) progress.pass(`${found}, which lists no operators: who takes part was not judged`, 'waived')
  else progress.pass(found)
}

/** Records and digest of the file by validator. */
async function recordsOf(
  bundle: Bundle,
  policy: ScoringPolicy,
  progress: Progress,
): Promise<{ readonly records: ReadonlyMap<string, AuditRecord[]>; readonly digests: ReadonlyMap<string, string> }> {
  const records = new Map<string, AuditRecord[]>()
  const digests = new Map<string, string>()
  for (const { key: validator } of policy.validators) {
    const path = recordsPath(validator)
    if (!bundle.has(path)) continue
    progress.begin('records', path)
    const { bytes, check, digest } = await bundle.bytes(path)
    records.set(validator, await readRecords(path, bytes, { ...bundle.manifest, validator }))
    await check()
    digests.set(validator, digest)
  }
  progress.begin('records', 'manifest.json')
  progress.pass(`${[...records.values()].reduce((sum, { length }) => sum + length, 0)} records of ${records.size} validators, each signed by its own`)
  return { records, digests }
}

async function factsOf(bundle: Bundle, policy: ScoringPolicy, progress: Progress): Promise<EpochFacts> {
  progress.begin('beacon', 'beacon.json')
  const rounds = roundsFromJson(await bundle.json('beacon.json'))
  const log = bundle.has('log.json') ? epochLogFromJson(await bundle.json('log.json')) : null
  const leaves = log === null ? [] : parseLeaves(await bundle.text('leaves.txt'))
  const facts = await verifyFacts(policy, bundle.manifest.epoch, rounds, log, leaves)
  progress.pass(`${facts.chain.metadata.beaconID}: rounds ${[rounds.opened, rounds.closed].flatMap((one) => one?.round ?? []).join(' and ')}`)
  progress.begin('log', 'log.json')
  if (facts.log === null) progress.pass('the policy names no log: when commitments were made is not shown, and nothing was chosen', 'waived')
  else progress.pass(`${facts.log.trust.origin}: ${leaves.length} leaves from ${facts.log.from}`)
  return facts
}

async function logItself(
  bundle: Bundle,
  { log }: EpochFacts,
  records: ReadonlyMap<string, readonly AuditRecord[]>,
  source: EpochLogSource | null,
  progress: Progress,
): Promise<void> {
  if (log === null) return
  progress.begin('log-itself', 'log.json')
  if (source === null) progress.pass('the log itself was not given: that it shows others the same was not looked at', 'waived')
  else progress.pass(await compareWithLog(source, epochLogFromJson(await bundle.json('log.json')), log, records))
}

async function dutiesOf(
  bundle: Bundle,
  policy: ScoringPolicy,
  records: ReadonlyMap<string, AuditRecord[]>,
  digests: ReadonlyMap<string, string>,
  facts: EpochFacts,
  progress: Progress,
): Promise<void> {
  const { network, epoch } = bundle.manifest
  for (const { key: validator } of policy.validators) {
    const path = dutiesPath(validator)
    progress.begin('duties', path)
    const own = records.get(validator)
    if (own === undefined) {
      progress.missed.set(validator, nothingHandedIn)
      continue
    }
    const duties = dutiesFromJson(await bundle.json(path), validator)
    const file = digests.get(validator) ?? ''
    const listed = canariesPath(validator)
    if (bundle.has(listed)) progress.begin('duties', listed)
    const canaries = bundle.has(listed) ? canariesFromJson(await bundle.json(listed), validator) : null
    const missed = await missedDuty({ network, epoch, validator }, duties, { records: own, file, canaries }, facts, policy)
    if (missed !== null) progress.missed.set(validator, missed)
  }
  progress.begin('duties', 'missed.json')
  progress.pass(
    progress.missed.size === 0
      ? 'all validators did theirs'
      : `${progress.missed.size} of ${policy.validators.length} validators did not do theirs, and count for nothing`,
  )
}

async function canariesOf(bundle: Bundle, policy: ScoringPolicy, records: ReadonlyMap<string, AuditRecord[]>, progress: Progress): Promise<void> {
  let opened = 0
  let all = 0
  for (const { key: validator } of policy.validators) {
    const committed = new Set((records.get(validator) ?? []).flatMap(({ canary }) => canary ?? []))
    all += committed.size
    const path = openingsPath(validator)
    if (!bundle.has(path)) continue
    progress.begin('canaries', path)
    const lines = (await bundle.text(path)).split('\n')
    if (lines.pop() !== '') throw fail('epoch_malformed', 'expected lines that end in a line feed')
    for (const [i, line] of lines.entries())
      if (!committed.delete(await canaryCommitment(parseOpening(line))))
        throw fail('epoch_mismatch', `line ${i}: expected the opening of a canary of this epoch, each once`)
    opened += lines.length
  }
  progress.begin('canaries', 'manifest.json')
  progress.pass(`${opened} of ${all} opened`)
}

async function proofsOf(
  bundle: Bundle,
  policy: ScoringPolicy,
  { salt }: Roster,
  { verifyProof }: EpochContext,
  progress: Progress,
): Promise<readonly Accusation[]> {
  progress.begin('proofs', 'proven.json')
  const proven = accusationsFromJson(await bundle.json('proven.json'))
  const listed = bundle.manifest.files.map(({ path }) => path).filter((path) => path.startsWith('proofs/'))
  // Each once: one named twice would leave room for a file that nobody reads.
  if (listed.join('\n') !== [...new Set(proven.map(({ file }) => file))].sort().join('\n') || listed.length !== proven.length)
    throw fail('epoch_malformed', 'expected one accusation for each file in proofs/, and no other')
  const at = new Date(epochWindow(policy, bundle.manifest.epoch).closes * 1000)
  for (const { file, keyset, operator, platform } of proven) {
    progress.begin('proofs', file)
    const text = await bundle.text(file)
    if (verifyProof === null) continue
    const accused = await verifyProof(text, { salt, at })
    if (accused.keyset !== keyset || accused.operator !== operator || accused.platform !== platform)
      throw fail('epoch_mismatch', `expected an accusation of ${accused.keyset}, operator ${accused.operator}, platform ${accused.platform}`)
  }
  progress.begin('proofs', 'proven.json')
  if (proven.length === 0 || verifyProof !== null) progress.pass(`${proven.length} verified`)
  else progress.pass(`${proven.length} not verified: which evidence counts was not said, and convictions rest on them`, 'waived')
  return proven
}

/** The last second of a `Date`. */
const maxSeconds = 8_640_000_000_000

const fixed = [
  'policy.json',
  'roster.json',
  'before.json',
  'beacon.json',
  'log.json',
  'leaves.txt',
  'proven.json',
  'scores.json',
  'after.json',
  'missed.json',
  'weights.json',
]

/** Files that nothing is computed from have no place in a bundle: somebody might take them for verified. */
function isExpected(path: string, { validators }: ScoringPolicy): boolean {
  if (fixed.includes(path) || path.startsWith('proofs/')) return true
  return validators.some(({ key }) => [recordsPath(key), openingsPath(key), canariesPath(key), dutiesPath(key)].includes(path))
}

/** The first member that differs, by its path in the document. */
function differenceOf(expected: string, found: string): string {
  const [a, b] = [expected, found].map((text): Json => {
    try {
      return JSON.parse(text) as Json
    } catch {
      return null
    }
  }) as [Json, Json]
  const at = pathOfDifference(a, b, '')
  return at === null ? 'expected its canonical form' : `${at.path}: expected ${short(at.expected)}, found ${short(at.found)}`
}

function pathOfDifference(
  a: Json | undefined,
  b: Json | undefined,
  path: string,
): { readonly path: string; readonly expected: unknown; readonly found: unknown } | null {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(a) !== Array.isArray(b))
    return a === b ? null : { path: path === '' ? 'the document' : path, expected: a, found: b }
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  for (const name of names) {
    const of = (value: object): Json | undefined => (value as { readonly [name: string]: Json })[name]
    const found = pathOfDifference(of(a), of(b), `${path}/${name}`)
    if (found !== null) return found
  }
  return null
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 120 ? `${text.slice(0, 120)}...` : text
}

/** A {@link ReadFile} over texts in memory. Throws `file_unavailable`. */
export function readFrom(files: ReadonlyMap<string, string | Uint8Array>): ReadFile {
  return async (path, maxBytes) => {
    const found = files.get(path)
    if (found === undefined) throw fail('file_unavailable', `no file ${path}`)
    const bytes = typeof found === 'string' ? utf8(found) : found
    return bytes.length > maxBytes ? bytes.subarray(0, maxBytes) : bytes
  }
}
