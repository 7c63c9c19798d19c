import type { Json } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { type BeaconRound, beaconRoundFromJson } from '../beacon/drand.ts'
import type { Canaries, CanaryOpening } from './commitments.ts'

/** Documents of an epoch bundle, as spec/epoch.md has them. Each reader throws `epoch_malformed`. */

const shape = new Shape('epoch_malformed')
const maxOperators = 100_000
const maxCanaries = 100_000

/** Who takes part, by the admission manifest in force. */
export type Roster = {
  /** Of the admission manifest. */
  readonly manifest: string
  /** 32 bytes hex, of the manifest: under which machines have their names. */
  readonly salt: string
  readonly operators: readonly string[]
  readonly shared: readonly string[]
}

export function rosterFromJson(value: unknown): Roster {
  const o = shape.object(value, 'roster', ['version', 'manifest', 'salt', 'operators', 'shared'])
  shape.oneOf(o.version, 'roster.version', ['veritee.roster.v1'])
  const keys = (name: 'operators' | 'shared'): string[] =>
    rising(
      shape.array(o[name], `roster.${name}`, maxOperators).map((key, i) => shape.hex(key, `roster.${name}[${i}]`, 32)),
      `roster.${name}`,
    )
  return {
    manifest: shape.digest(o.manifest, 'roster.manifest'),
    salt: shape.hex(o.salt, 'roster.salt', 32),
    operators: keys('operators'),
    shared: keys('shared'),
  }
}

/** The rounds of the epoch; `closed` null where there is no log, and so nothing to choose from. */
export type Rounds = { readonly opened: BeaconRound; readonly closed: BeaconRound | null }

export function roundsFromJson(value: unknown): Rounds {
  const o = shape.object(value, 'beacon', ['version', 'opened', 'closed'])
  shape.oneOf(o.version, 'beacon.version', ['veritee.epoch-beacon.v1'])
  return { opened: beaconRoundFromJson(o.opened), closed: o.closed === null ? null : beaconRoundFromJson(o.closed) }
}

/** What a validator committed to and opened. `seed` and `salt` are null where they were not opened in time; proofs are tlog-proofs, null where there is none. */
export type Duties = {
  readonly seed: { readonly commitment: string; readonly seed: string | null; readonly proof: string | null }
  readonly records: { readonly commitment: string; readonly salt: string | null; readonly proof: string | null }
}

export function dutiesFromJson(value: unknown, validator: string): Duties {
  const o = shape.object(value, 'duties', ['version', 'validator', 'seed', 'records'])
  shape.oneOf(o.version, 'duties.version', ['veritee.duties.v1'])
  shape.oneOf(o.validator, 'duties.validator', [validator])
  const one = (name: 'seed' | 'records', secret: 'seed' | 'salt') => {
    const found = shape.object(o[name], `duties.${name}`, ['commitment', secret, 'proof'])
    const opened = found[secret] === null ? null : shape.hex(found[secret], `duties.${name}.${secret}`, 32)
    const proof = found.proof === null ? null : shape.string(found.proof, `duties.${name}.proof`, 1 << 19)
    return { commitment: shape.digest(found.commitment, `duties.${name}.commitment`), opened, proof }
  }
  const seed = one('seed', 'seed')
  const records = one('records', 'salt')
  return {
    seed: { commitment: seed.commitment, seed: seed.opened, proof: seed.proof },
    records: { commitment: records.commitment, salt: records.opened, proof: records.proof },
  }
}

/** Reads `canaries.json`. */
export function canariesFromJson(value: unknown, validator: string): Canaries {
  const o = shape.object(value, 'canaries', ['version', 'validator', 'entropy', 'commitments'])
  shape.oneOf(o.version, 'canaries.version', ['veritee.canaries.v1'])
  shape.oneOf(o.validator, 'canaries.validator', [validator])
  const commitments = shape.array(o.commitments, 'canaries.commitments', maxCanaries).map((one, i) => shape.digest(one, `canaries.commitments[${i}]`))
  if (new Set(commitments).size !== commitments.length) throw shape.refuse('canaries.commitments', 'each once')
  return { entropy: shape.hex(o.entropy, 'canaries.entropy', 32), commitments }
}

/** Leaves of the log that the epoch is about: from the size of one checkpoint until before that of the other. */
export type EpochLog = {
  /** Signed notes. */
  readonly opens: string
  readonly closes: string
  /** RFC 6962 hashes of the full subtrees that make up the tree of `opens`, largest first; 32 bytes hex. */
  readonly before: readonly string[]
}

export function epochLogFromJson(value: unknown): EpochLog {
  const o = shape.object(value, 'log', ['version', 'opens', 'closes', 'before'])
  shape.oneOf(o.version, 'log.version', ['veritee.epoch-log.v1'])
  return {
    opens: shape.string(o.opens, 'log.opens', 1 << 18),
    closes: shape.string(o.closes, 'log.closes', 1 << 18),
    before: shape.array(o.before, 'log.before', 64).map((hash, i) => shape.hex(hash, `log.before[${i}]`, 32)),
  }
}

/** Whom each fraud proof of the bundle accuses. */
export type Accusation = { readonly file: string; readonly keyset: string; readonly operator: string; readonly platform: string | null }

export function accusationsFromJson(value: unknown): readonly Accusation[] {
  const o = shape.object(value, 'proven', ['version', 'proven'])
  shape.oneOf(o.version, 'proven.version', ['veritee.proven.v1'])
  return shape.array(o.proven, 'proven', 10_000).map((item, i) => {
    const one = shape.object(item, `proven[${i}]`, ['file', 'keyset', 'operator', 'platform'])
    return {
      file: shape.string(one.file, `proven[${i}].file`, 200),
      keyset: shape.digest(one.keyset, `proven[${i}].keyset`),
      operator: shape.hex(one.operator, `proven[${i}].operator`, 32),
      platform: one.platform === null ? null : shape.hex(one.platform, `proven[${i}].platform`, 32),
    }
  })
}

export function parseOpening(line: string): CanaryOpening {
  const value = parseDocument(line, { maxLength: 1 << 20, maxDepth: 8, integersOnly: true }, 'epoch_malformed', 'an opening')
  const o = shape.object(value, 'opening', ['prompt', 'parameters', 'expected', 'salt'])
  return {
    prompt: shape.string(o.prompt, 'opening.prompt', 1 << 19),
    parameters: shape.hashable(shape.record(o.parameters, 'opening.parameters'), 'opening.parameters') as { readonly [name: string]: Json },
    expected: shape.string(o.expected, 'opening.expected', 1 << 19),
    salt: shape.hex(o.salt, 'opening.salt', 32),
  }
}

function rising(keys: string[], at: string): string[] {
  if (keys.some((key, i) => i > 0 && key <= (keys[i - 1] as string))) throw shape.refuse(at, 'rising order, each once')
  return keys
}
