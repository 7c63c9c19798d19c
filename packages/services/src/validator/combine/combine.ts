import { createHash } from 'node:crypto'
import { equal, type Json, jcs, toHex, utf8 } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import {
  type CanaryOpening,
  type EpochContext,
  type EpochParts,
  type EpochSignature,
  epochSignaturesText,
  parseEpochSignatures,
  parseScoringPolicy,
  type ReadFile,
  readEpochParts,
  type ScoringState,
  stateToJson,
  type ValidatorPart,
  verifyEpoch,
  type WrittenEpoch,
  writeEpoch,
} from 'veritee/scoring'

/** A bundle that others may be combined with: a directory, or what a validator publishes. */
export interface Source {
  readonly name: string
  readonly read: ReadFile
}

/** What came of one source. */
export interface Judged {
  readonly name: string
  /** Why it was left out; null where it was not. */
  readonly refused: { readonly code: string; readonly message: string } | null
  /** Validators whose records were taken from it. */
  readonly validators: readonly string[]
}

export interface Combined {
  readonly written: WrittenEpoch
  /** With the signatures of all sources that are this very bundle. */
  readonly bundle: ReadonlyMap<string, string>
  /** By rising key. */
  readonly signers: readonly string[]
  readonly sources: readonly Judged[]
  /** Validators that signed two different accounts of the epoch: neither counts. By rising key. */
  readonly doubled: readonly string[]
}

export interface CombineOptions {
  /** How each source is judged, by itself. Its proofs become the combined bundle's, so that whose evidence counts must be said wherever there are any. */
  readonly context: Omit<EpochContext, 'previous'>
  /** The state after the epoch before; null for that of the sources, which then must be the same. What most of the weight has signed stands, whatever this is. */
  readonly before: ScoringState | null
  /** Of validators of the policy. Without any, only signatures that the sources have are put together. */
  readonly keys: readonly SigningKey[]
}

/**
 * Makes one bundle of several about the same epoch. Each is verified by itself, and one that does not hold, cannot be had or is about something else is left out without
 * stopping the others: the first that holds says which epoch, policy, roster, rounds and log. The records of a validator come only from bundles that it signed itself:
 * whoever publishes could leave out what another handed in. One that signed two different ones counts as if it had handed in nothing. A bundle that two or more
 * validators with more than half of the policy's weight have signed stands as it is, and gets the signatures of all sources that are it.
 *
 * The same sources, in any order that begins with the same facts, give the same bytes, so that validators who combine apart sign one manifest.
 *
 * Throws `usage` where no source holds, where they begin from different states and none was given, a key that is no validator's, and where nobody signs.
 */
export async function combineEpoch(sources: readonly Source[], { context, before, keys }: CombineOptions): Promise<Combined> {
  const found = await Promise.all(sources.map((source) => judge(source, context)))
  const held = found.filter((one) => 'parts' in one)
  const [first] = held
  if (first === undefined) throw fail('usage', `expected a bundle that holds; ${found.map((one) => refusalText(one)).join('; ')}`)
  const known = (await parseScoringPolicy(first.parts.policy)).policy.validators
  if (keys.some(({ publicKey }) => !known.some(({ key }) => key === toHex(publicKey))))
    throw fail('usage', 'expected keys of validators of the policy')
  const foreign = new Map(held.flatMap((one) => (one === first ? [] : differenceOf(one, first))))
  const taken = held.filter(({ name }) => !foreign.has(name))
  const standing = await standingOf(taken)
  const { parts, doubled } = standing === null ? partsOf(taken) : { parts: allOf(standing), doubled: [] }
  const validators = parts.map(({ part }) => part)
  const written = await writeEpoch(
    standing === null ? { ...first.parts, before: before ?? commonState(taken), validators, proofs: proofsOf(taken) } : standing.parts,
    keys,
  )
  const signatures = await signaturesOf(written, taken)
  if (signatures.length === 0) throw fail('usage', 'expected the key of a validator of the policy: nobody has signed this combination')
  return {
    written,
    bundle: new Map([...written.bundle, ['signatures.json', epochSignaturesText(signatures)]]),
    signers: signatures.map(({ validator }) => validator),
    sources: found.map((one) => ({
      name: one.name,
      refused: 'refused' in one ? one.refused : (foreign.get(one.name) ?? null),
      validators: parts.flatMap(({ from, part }) => (from.includes(one.name) ? [part.validator] : [])),
    })),
    doubled,
  }
}

export interface Settled {
  readonly bundle: ReadonlyMap<string, string>
  readonly signers: readonly string[]
  /** True where two or more validators with more than half of the weight have signed it. */
  readonly stands: boolean
}

/**
 * Which of several combinations of one epoch stands: the one that most of the weight has signed, whosever it is, else `own`. It gets the signatures of all sources that
 * are it. Throws `usage` where `own` does not hold.
 */
export async function settleEpoch(own: Source, others: readonly Source[], context: CombineOptions['context']): Promise<Settled> {
  const [first, ...found] = await Promise.all([own, ...others].map((source) => judge(source, context)))
  if (first === undefined || 'refused' in first) throw fail('usage', `expected a bundle that holds; ${first === undefined ? '' : refusalText(first)}`)
  const taken = [first, ...found.filter((one) => 'parts' in one).filter((one) => differenceOf(one, first).length === 0)]
  const standing = await standingOf(taken)
  const written = await writeEpoch((standing ?? first).parts, [])
  const signatures = await signaturesOf(written, taken)
  const signers = signatures.map(({ validator }) => validator)
  return { bundle: new Map([...written.bundle, ['signatures.json', epochSignaturesText(signatures)]]), signers, stands: standing !== null }
}

interface Held {
  readonly name: string
  readonly parts: EpochParts
  readonly signers: readonly string[]
  readonly signatures: readonly EpochSignature[]
  readonly manifest: Uint8Array
}
type Refused = { readonly name: string; readonly refused: NonNullable<Judged['refused']> }

async function judge({ name, read }: Source, context: CombineOptions['context']): Promise<Held | Refused> {
  const once = remembered(read)
  try {
    const { first, signers } = await verifyEpoch(once, { ...context, previous: null })
    if (first !== null) return { name, refused: { code: first.code, message: `${first.file}: ${first.message}` } }
    const parts = await readEpochParts(once)
    if (parts.proofs.length > 0 && context.verifyProof === null)
      throw fail('usage', 'a bundle has fraud proofs: expected a policy, which says whose evidence counts')
    const signatures = parseEpochSignatures(await once('signatures.json', 1 << 16))
    return { name, parts, signers, signatures, manifest: await once('manifest.json', 1 << 23) }
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.code === 'usage') throw error
    return { name, refused: { code: error.code, message: error.message } }
  }
}

function refusalText(one: Held | Refused): string {
  return 'refused' in one ? `${one.name}: ${one.refused.code}: ${one.refused.message}` : one.name
}

/** Each file once, so that what was verified is what is taken, whatever is served the second time. */
function remembered(read: ReadFile): ReadFile {
  const known = new Map<string, Promise<Uint8Array>>()
  return (path, maxBytes) => {
    const found = known.get(path) ?? read(path, maxBytes)
    known.set(path, found)
    return found
  }
}

/** What two bundles must share to be combined. */
function differenceOf({ name, parts }: Held, { parts: expected }: Held): [string, NonNullable<Judged['refused']>][] {
  const text = (value: unknown): string => jcs(value as Json)
  const same: readonly (readonly [what: string, of: (parts: EpochParts) => unknown])[] = [
    ['epoch', ({ epoch }) => epoch],
    ['policy.json', ({ policy }) => policy],
    ['roster.json', ({ roster }) => text(roster)],
    ['beacon.json', ({ rounds }) => text(rounds)],
    ['log.json', ({ log }) => (log === null ? null : text({ ...log, leaves: log.leaves.length }))],
  ]
  const other = same.find(([, of]) => of(parts) !== of(expected))
  return other === undefined ? [] : [[name, { code: 'epoch_mismatch', message: `${other[0]}: expected that of the first bundle that holds` }]]
}

/** The bundle that two or more validators with more than half of the weight have signed, over all sources that are it; null where there is none. */
async function standingOf(taken: readonly Held[]): Promise<Held | null> {
  for (const one of taken) {
    const { validators } = (await parseScoringPolicy(one.parts.policy)).policy
    const signers = new Set(taken.filter(({ manifest }) => equal(manifest, one.manifest)).flatMap((same) => same.signers))
    const weight = (of: typeof validators): bigint => of.reduce((sum, validator) => sum + validator.weight, 0n)
    // One that holds most alone has agreed with nobody.
    if (signers.size > 1 && 2n * weight(validators.filter(({ key }) => signers.has(key))) > weight(validators)) return one
  }
  return null
}

function allOf({ name, parts }: Held): readonly Taken[] {
  return parts.validators.map((part) => ({ part, from: [name] }))
}

interface Taken {
  readonly part: ValidatorPart
  readonly from: readonly string[]
}

/** Of each validator what it handed in under its own signature, by rising key. */
function partsOf(taken: readonly Held[]): { readonly parts: readonly Taken[]; readonly doubled: readonly string[] } {
  const found = new Map<string, Map<string, { readonly parts: ValidatorPart[]; readonly from: string[] }>>()
  for (const { name, parts, signers } of taken)
    for (const part of parts.validators.filter(({ validator }) => signers.includes(validator))) {
      const versions = found.get(part.validator) ?? new Map<string, { parts: ValidatorPart[]; from: string[] }>()
      found.set(part.validator, versions)
      const digest = digestOf(part)
      const version = versions.get(digest) ?? { parts: [], from: [] }
      versions.set(digest, version)
      version.parts.push(part)
      version.from.push(name)
    }
  const sorted = [...found].sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    parts: sorted.flatMap(([, versions]) => {
      const [version, second] = versions.values()
      const [part] = version?.parts ?? []
      return version === undefined || part === undefined || second !== undefined
        ? []
        : [{ part: { ...part, openings: openingsOf(version.parts) }, from: version.from }]
    }),
    doubled: sorted.filter(([, versions]) => versions.size > 1).map(([validator]) => validator),
  }
}

function digestOf({ duties, canaries, records }: ValidatorPart): string {
  const hash = createHash('sha256').update(jcs({ duties, canaries } as unknown as Json))
  for (const record of records) hash.update(`\n${record}`)
  return hash.digest('hex')
}

/** A bundle that is published again may open more. */
function openingsOf(parts: readonly ValidatorPart[]): readonly CanaryOpening[] {
  const all = new Map(parts.flatMap(({ openings }) => openings.map((one) => [jcs(one as unknown as Json), one])))
  return [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one)
}

/** One for each accused keyset: it convicts once, whoever found it. */
function proofsOf(taken: readonly Held[]): EpochParts['proofs'] {
  const found = new Map<string, EpochParts['proofs'][number]>()
  for (const proof of taken.flatMap(({ parts }) => parts.proofs)) {
    const other = found.get(proof.keyset)
    if (other === undefined || proof.text < other.text) found.set(proof.keyset, proof)
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, proof]) => proof)
}

function commonState(taken: readonly Held[]): ScoringState {
  const states = new Map(taken.map(({ parts: { before } }) => [jcs(stateToJson('', before) as Json), before]))
  const [first] = states.values()
  if (first === undefined || states.size > 1)
    throw fail('usage', 'the bundles begin from different states: expected the bundle of the epoch before, from whose state this one begins')
  return first
}

/** Own signatures, and those of sources that are the same bundle, by rising key. */
async function signaturesOf(written: WrittenEpoch, taken: readonly Held[]): Promise<readonly EpochSignature[]> {
  const manifest = utf8(written.bundle.get('manifest.json') ?? '')
  const own = parseEpochSignatures(utf8(written.bundle.get('signatures.json') ?? ''))
  const same = taken.filter((one) => equal(one.manifest, manifest)).flatMap(({ signatures }) => signatures)
  const all = new Map([...same, ...own].map((one) => [one.validator, one]))
  return [...all.values()].sort((a, b) => (a.validator < b.validator ? -1 : 1))
}
