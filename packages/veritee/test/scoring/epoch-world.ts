// A network in memory that publishes an epoch: validators with keys, a local beacon, a log with a witness, records of every kind.

import { fromHex, type Json, leafHash, merkleRoot, toHex } from '../../src/bytes/index.ts'
import { generateEd25519, type SigningKey } from '../../src/crypto/index.ts'
import {
  checkpointText,
  cosign,
  inclusionProof,
  type NoteSigner,
  noteSigner,
  noteText,
  parseNote,
  signCheckpoint,
  TreeEdge,
  tlogProofText,
  verifierKeyText,
} from '../../src/log/index.ts'
import { type BeaconChain, createLocalBeacon, type LocalBeacon } from '../../src/scoring/beacon/index.ts'
import { auditSeed, closingRound, isSelected, openingRound, seedCommitment } from '../../src/scoring/beacon/seeds.ts'
import {
  type Canaries,
  type CanaryOpening,
  canaryCommitment,
  commitmentEntry,
  type EpochParts,
  emptyState,
  parseScoringPolicy,
  recordsCommitment,
  type ScoringPolicy,
  seedOfCanaries,
  signAuditRecord,
  signScoringPolicy,
  type UnsignedAuditRecord,
  type ValidatorPart,
} from '../../src/scoring/index.ts'
import { digest, hex, policyText } from './random-epoch.ts'

export const origin = 'test/log'
const genesis = 1_000_000
const length = 3600
/** The checkpoint that closes epoch 0 is witnessed this long after its end. */
const closingSeconds = 40

export interface World {
  readonly signer: SigningKey
  readonly policyText: string
  readonly policy: ScoringPolicy
  readonly chain: BeaconChain
  readonly beacon: LocalBeacon
  readonly keys: readonly SigningKey[]
  /** Hash and entry of every leaf, also of those before and after the epoch. */
  readonly leaves: Uint8Array[]
  readonly log: NoteSigner
  /** Both are needed. The second says what it is told to. */
  readonly witnesses: readonly [NoteSigner, NoteSigner]
}

export async function makeWorld({ validators = 2, withLog = true } = {}): Promise<World> {
  const signer = await generateEd25519()
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(7), { period: 3, genesisTime: 900_000 })
  const keys = (await Promise.all(Array.from({ length: validators }, () => generateEd25519()))).sort((a, b) =>
    toHex(a.publicKey) < toHex(b.publicKey) ? -1 : 1,
  )
  const log = await noteSigner(origin, 'ed25519', await generateEd25519())
  const witness = async (name: string): Promise<NoteSigner> => noteSigner(name, 'cosignature', await generateEd25519())
  const witnesses = [await witness('witness'), await witness('second-witness')] as const
  const text = await signScoringPolicy(
    policyText({
      validators: keys.map((key) => ({ key: toHex(key.publicKey), operator: null, weight: 1 })),
      beacon: beacon.chain as unknown as Json,
      log: withLog
        ? { origin, key: verifierKeyText(log.verifier), witnesses: witnesses.map(({ verifier }) => verifierKeyText(verifier)), quorum: 2 }
        : 'any',
    }),
    signer,
  )
  return { signer, policyText: text, policy: (await parseScoringPolicy(text)).policy, chain: beacon.chain, beacon, keys, leaves: [], log, witnesses }
}

/** The log's head over its first leaves, witnessed at a time; the second witness may say another one. */
export async function checkpoint({ leaves, log, witnesses }: World, size: number, unixSeconds: number, second = unixSeconds): Promise<string> {
  const head = { origin, size, root: await merkleRoot(leaves, 0, size), extensions: [] }
  const { text, signatures } = parseNote(await signCheckpoint(head, log))
  const cosigned = await Promise.all([unixSeconds, second].map((at, i) => cosign(checkpointText(head), witnesses[i] as NoteSigner, at)))
  return noteText({ text, signatures: [...signatures, ...cosigned] })
}

export async function proofOf(world: World, index: number, size: number, unixSeconds: number, second = unixSeconds): Promise<string> {
  const path = await inclusionProof(world.leaves.slice(0, size), index)
  return tlogProofText({ extra: null, index, path, checkpoint: await checkpoint(world, size, unixSeconds, second) })
}

const opening: CanaryOpening = { prompt: 'How much is two and two?', parameters: { temperature: '0' }, expected: 'Four.', salt: hex(0x77) }
/** Each commits to one canary by its seed. */
const canariesOf = async (i: number): Promise<Canaries> => ({ entropy: hex(0x21 + i), commitments: [await canaryCommitment(opening)] })
const seedOf = async (i: number, validator: string): Promise<Uint8Array> => seedOfCanaries({ epoch: 0, validator }, await canariesOf(i))

async function recordOf(validator: string, index: number, change: Partial<UnsignedAuditRecord>): Promise<UnsignedAuditRecord> {
  return {
    version: 'veritee.audit.v1',
    network: 'test',
    validator,
    epoch: 0,
    index,
    at: genesis + 60 + index * 10,
    kind: 'probe',
    worker: { operator: hex(0xa0 + (index % 3)), platform: hex(0xc0 + (index % 3)), slot: 0 },
    keyset: digest(0x70),
    model: { name: 'm', weights: digest(0xd1) },
    path: [hex(0xb0)],
    attestation: { verdict: 'accepted', code: null, evidence: digest(2), collateral: digest(3) },
    view: { digest: digest(0x10), log: { origin, index: 1, leaf: hex(1) } },
    replay: { level: 1, outcome: 'pass', engine: digest(0xe5), calibration: null, tokens: { total: 9, equal: 9, near: null } },
    timings: { worker: null, validator: { first_ms: 250, total_ms: 2500 } },
    output_tokens: 100,
    canary: null,
    verdict: 'pass',
    reason: null,
    charged: null,
    ...change,
  }
}

/** What a test may do otherwise than an honest validator. */
export interface Dishonest {
  readonly hideSeed?: boolean
  readonly lateSeed?: boolean
  /** Late, and one of two witnesses says that it was not. */
  readonly backdatedSeed?: boolean
  readonly skipChosen?: boolean
  readonly extraOrganic?: boolean
  /** Its first probe is a leaf that was chosen: of its own traffic, so that no organic record is due; `twice`: of two probes, `again`: and of an organic record, `other`: under another hash. */
  readonly ownLeaf?: 'once' | 'twice' | 'again' | 'other'
  readonly gap?: boolean
  readonly swapRecords?: boolean
  /** A canary that was thought of later. */
  readonly lateCanary?: boolean
  readonly doubleCanary?: boolean
  /** Hands in no list of canaries. */
  readonly hideCanaries?: boolean
  /** Of all validators: records of own traffic name no place, but for these of the last one, by their index. */
  readonly outside?: readonly { readonly index: number; readonly leaf: string }[]
}

/** Epoch 0: seeds logged before it, leaves during it (`first` before others), records committed to after it. The last validator is the dishonest one. */
export async function makeEpoch(world: World, probes: number, dishonest: Dishonest = {}, first: readonly Uint8Array[] = []): Promise<EpochParts> {
  const { policy, chain, beacon, keys, leaves } = world
  const withLog = policy.log !== 'any'
  const opened = await beacon.round(openingRound(chain, genesis))
  const names = keys.map((key) => toHex(key.publicKey))
  const seeds = await Promise.all(names.map(async (validator, i) => seedCommitment({ epoch: 0, seed: await seedOf(i, validator), validator })))
  const places: number[] = []
  const logged = async (entry: Uint8Array): Promise<number> => leaves.push(await leafHash(entry)) - 1
  for (const [i, validator] of names.entries())
    places.push(await logged(await commitmentEntry({ network: 'test', epoch: 0, validator, purpose: 'seed', commitment: seeds[i] as string })))
  const seedProofs = await Promise.all(
    places.map((place, i) => {
      const { lateSeed = false, backdatedSeed = false } = i === keys.length - 1 ? dishonest : {}
      return proofOf(world, place, leaves.length, lateSeed || backdatedSeed ? genesis + 5 : genesis - 30, lateSeed ? genesis + 5 : genesis - 30)
    }),
  )
  const opens = await checkpoint(world, leaves.length, genesis + 1)
  const from = leaves.length
  const edge = new TreeEdge(0, [])
  for (const leaf of leaves) await edge.add(leaf)
  leaves.push(...first)
  for (let i = 0; i < 37; i++) await logged(new Uint8Array(32).fill(i))
  const closes = await checkpoint(world, leaves.length, genesis + length + closingSeconds)
  const to = leaves.length
  const closed = withLog ? await beacon.round(closingRound(chain, genesis + length + closingSeconds)) : null
  const validators: ValidatorPart[] = []
  const pending: { validator: string; commitment: string; part: (proof: string | null) => ValidatorPart }[] = []
  for (const [i, validator] of names.entries()) {
    const last = i === keys.length - 1
    const changes: Partial<UnsignedAuditRecord>[] = Array.from({ length: probes }, () => ({}))
    const canaries = await canariesOf(i)
    const canary = await canaryCommitment(last && dishonest.lateCanary ? { ...opening, expected: 'Five.' } : opening)
    changes.push({ kind: 'canary', canary }, ...(last && dishonest.doubleCanary ? [{ kind: 'canary', canary } as const] : []))
    changes.push({ verdict: 'unattributable', reason: 'timeout', charged: 'controller', replay: null, view: null })
    if (closed !== null) {
      const key = await auditSeed(await seedOf(i, validator), 0, fromHex(closed.randomness))
      const chosen: number[] = []
      for (let at = from; at < to; at++) if (await isSelected(key, leaves[at] as Uint8Array, policy.organic.probability)) chosen.push(at)
      if (last && dishonest.skipChosen) chosen.pop()
      if (last && dishonest.ownLeaf !== undefined) {
        const own = dishonest.ownLeaf === 'again' ? chosen[0] : chosen.shift()
        const leaf = dishonest.ownLeaf === 'other' ? hex(1) : toHex(leaves[own as number] as Uint8Array)
        const view = { digest: digest(0x10), log: { origin, index: own as number, leaf } }
        for (let i = 0; i < (dishonest.ownLeaf === 'twice' ? 2 : 1); i++) changes[i] = { view }
      }
      if (last && dishonest.extraOrganic)
        chosen.push(Array.from({ length: to - from }, (_, n) => from + n).find((at) => !chosen.includes(at)) as number)
      for (const at of chosen)
        changes.push({
          kind: 'organic',
          path: [],
          timings: null,
          replay: null,
          at: genesis + length - 1,
          view: { digest: digest(0x11), log: { origin, index: at, leaf: toHex(leaves[at] as Uint8Array) } },
        })
    }
    if (dishonest.outside !== undefined)
      for (const [n, { kind = 'probe', view }] of changes.entries()) {
        const log = last ? dishonest.outside[n] : undefined
        if (kind !== 'organic' && view === undefined)
          changes[n] = { ...changes[n], view: { digest: digest(0x10), log: log === undefined ? null : { origin, ...log } } }
      }
    const records: string[] = []
    for (const [n, change] of changes.entries()) {
      const index = last && dishonest.gap && n === changes.length - 1 ? n + 1 : n
      records.push(await signAuditRecord(await recordOf(validator, index, change), keys[i] as SigningKey))
    }
    const salt = hex(0x31 + i)
    const commitment = await recordsCommitment({ epoch: 0, validator, salt }, last && dishonest.swapRecords ? records.slice(1) : records)
    const seed = {
      commitment: seeds[i] as string,
      seed: last && dishonest.hideSeed ? null : toHex(await seedOf(i, validator)),
      proof: withLog ? (seedProofs[i] as string) : null,
    }
    pending.push({
      validator,
      commitment,
      part: (proof) => ({
        validator,
        duties: { seed, records: { commitment, salt, proof } },
        records,
        canaries: last && dishonest.hideCanaries ? null : canaries,
        openings: i === 0 ? [opening] : [],
      }),
    })
  }
  for (const { validator, commitment, part } of pending) {
    const place = await logged(await commitmentEntry({ network: 'test', epoch: 0, validator, purpose: 'records', commitment }))
    validators.push(part(withLog ? await proofOf(world, place, leaves.length, genesis + length + 900) : null))
  }
  return {
    policy: world.policyText,
    epoch: 0,
    roster: { manifest: digest(0x99), salt: hex(0x98), operators: [hex(0xa0), hex(0xa1), hex(0xa2), hex(0xb0)], shared: [] },
    before: emptyState,
    rounds: { opened, closed },
    log: withLog ? { opens, closes, before: edge.roots.map(toHex), leaves: leaves.slice(from, to) } : null,
    validators,
    proofs: [],
  }
}
