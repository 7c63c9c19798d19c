import type { Fault, Obstacle } from 'veritee/scoring'
import type { Random } from '../soak/random.ts'

/** What one audit of a worker finds, in the words of spec/audit-record.md. */
export type Seen =
  | { readonly is: 'nothing' }
  | { readonly is: 'pass'; readonly slower?: number; readonly tokens?: number; readonly signedFirstMs?: number }
  /** The replay gave other tokens; `own` where the fault is the validator's, so that nobody else finds it. */
  | { readonly is: 'mismatch'; readonly own?: boolean }
  /** Something that the worker signed shows it. */
  | { readonly is: 'fail'; readonly reason: Fault }
  /** Whoever stood between could have made it. */
  | { readonly is: 'unattributable'; readonly reason: Fault }
  | { readonly is: 'inconclusive'; readonly reason: Obstacle }

export interface Audit {
  readonly random: Random
  readonly epoch: number
  /** 0 to 2^32 - 1, the same for all audits of one worker in one sixth of an epoch: whether it is online. */
  readonly mood: number
  readonly level: 1 | 2
  /** Place of the operator among those of its strategy. */
  readonly place: number
}

export interface Strategy {
  readonly name: string
  /** Level of replay of its workers; null where nine in ten are at level 2. */
  readonly level: 1 | 2 | null
  /** Honest operators must never be convicted. */
  readonly honest: boolean
  readonly see: (audit: Audit) => Seen
  /** Mean share of an operator over the run, against that of an honest fast one, that must not be exceeded; null where nothing is demanded. */
  readonly most: number | null
  /** Least of the same; null where nothing is demanded. */
  readonly least: number | null
  /** Of the last fifth of the epochs, where each validator has audited each operator often enough (`enoughAudits` of the report). */
  readonly mostAtEnd?: number
  /** true: every operator must be convicted; false: none may be. */
  readonly convicted: boolean
  /** Each epoch in which it serves, the worker's keyset signs a contradiction that becomes a fraud proof. */
  readonly proof?: boolean
  /** Its operators are on the machines of the first of them. */
  readonly onePlatform?: boolean
  /** What the colluding validator writes instead of what it sees, and of what others hand over to it. */
  readonly told?: (audit: Audit) => Seen
}

/** Rate at which honest answers at level 2 fail, which the policy states as p0. */
export const honestFalseFail = 0.0002
const pass: Seen = { is: 'pass' }
const mismatch: Seen = { is: 'mismatch' }

const odds = (random: Random, probability: number): boolean => random.next() / 2 ** 32 < probability

/** An honest answer, with what goes wrong in an honest network: connections that break, logs that are late, false fails. */
function honest({ random, level }: Audit): Seen {
  const draw = random.next() / 2 ** 32
  if (draw < 0.001) return { is: 'unattributable', reason: 'cut_off' }
  if (draw < 0.006) return { is: 'inconclusive', reason: 'log_pending' }
  // At level 1 an honest answer is the same bits; what differs is a validator with a fault of its own.
  return odds(random, honestFalseFail) ? { is: 'mismatch', own: level === 1 } : pass
}

/** Cheats on a part of the audits; a cheat is found by a replay with the probability `found`. */
const replayed =
  (part: number, found: number) =>
  (audit: Audit): Seen =>
    odds(audit.random, part) && odds(audit.random, found) ? mismatch : honest(audit)

const cheat = { honest: false, least: null, convicted: true } as const
const good = { honest: true, most: null, convicted: false } as const
/** A strategy of cheats that a replay finds, once at each level. */
function atBothLevels(name: string, part: number, found: { readonly 1: number; readonly 2: number }): Strategy[] {
  return ([1, 2] as const).map((level) => ({ ...cheat, name: `${name}, level ${level}`, level, see: replayed(part, found[level]), most: 0.25 }))
}

const tcbOut = (place: number): { readonly from: number; readonly until: number } => ({ from: 3 + (place % 4), until: 8 + (place % 4) })

/** All strategies. The probabilities are assumptions, listed in docs/fleet.md. */
export const strategies: readonly Strategy[] = [
  { ...good, name: 'honest, fast', level: null, see: honest, least: 0.9 },
  {
    ...good,
    name: 'honest, slow',
    level: null,
    see: (audit) => {
      const seen = honest(audit)
      return seen.is === 'pass' ? { ...seen, slower: 1.6 } : seen
    },
    least: 0.5,
    most: 0.85,
  },
  ...atBothLevels('lazy (cached answers to half)', 0.5, { 1: 1, 2: 0.95 }),
  ...atBothLevels('smaller model', 1, { 1: 0.98, 2: 0.6 }),
  ...atBothLevels('other quantisation', 1, { 1: 0.8, 2: 0.15 }),
  ...atBothLevels('prompt truncator (long prompts only)', 0.3, { 1: 1, 2: 0.85 }),
  ...atBothLevels('selective, recognises 9 of 10 probes', 0.1, { 1: 0.98, 2: 0.6 }),
  {
    ...cheat,
    name: 'selective, recognises 99 of 100 probes, level 2',
    level: 2,
    // Below the rate that convicts: the allowance of mismatches finds it, and needs many audits for it.
    see: replayed(0.01, 0.6),
    most: null,
    mostAtEnd: 0.3,
    least: null,
    convicted: false,
  },
  {
    ...cheat,
    name: 'replayer (old receipts)',
    level: null,
    see: () => ({ is: 'unattributable', reason: 'request_mismatch' }),
    most: 0.05,
    convicted: false,
  },
  {
    ...cheat,
    name: 'receipt forger (foreign key)',
    level: null,
    see: (audit) => (odds(audit.random, 0.5) ? { is: 'unattributable', reason: 'receipt_signature_invalid' } : honest(audit)),
    most: 0.25,
    convicted: false,
  },
  { ...cheat, name: 'chain forker (two receipts, one number)', level: null, see: honest, most: 0.25, proof: true },
  {
    ...cheat,
    name: 'log forker (half its leaves in another log)',
    level: null,
    see: (audit) => {
      if (!odds(audit.random, 0.5)) return honest(audit)
      return odds(audit.random, 0.5) ? { is: 'fail', reason: 'log_omitted' } : { is: 'inconclusive', reason: 'log_unavailable' }
    },
    most: 0.05,
    proof: true,
  },
  {
    ...cheat,
    name: 'friend of a colluding validator (smaller model, level 2)',
    level: 2,
    see: replayed(1, 0.6),
    told: () => ({ is: 'pass', tokens: 20 }),
    most: 0.25,
  },
  {
    ...cheat,
    name: 'friend of a colluding validator (smaller model, level 1), which contradicts who finds it',
    level: 1,
    see: replayed(1, 0.98),
    told: () => ({ is: 'pass', tokens: 20 }),
    most: 0.25,
  },
  {
    ...cheat,
    name: 'friend of the colluding validator (honest work, overstated)',
    level: null,
    see: honest,
    told: () => ({ is: 'pass', tokens: 20 }),
    most: 1.1,
    least: 0.9,
    convicted: false,
  },
  { ...good, name: 'honest, accused by the colluding validator', level: null, see: honest, told: () => mismatch, least: 0.94 },
  { ...cheat, name: 'sybil (four operators on one operator`s machines)', level: null, see: honest, most: 0.3, convicted: false, onePlatform: true },
  {
    ...cheat,
    name: 'offline half of the time',
    level: null,
    // Controllers send nothing to a worker that is gone; some answers break while it goes.
    see: (audit) => {
      if (audit.mood % 2 === 0) return honest(audit)
      return odds(audit.random, 0.3) ? { is: 'unattributable', reason: 'cut_off' } : { is: 'nothing' }
    },
    most: 0.6,
    convicted: false,
  },
  {
    ...good,
    name: 'TCB out of date for 5 epochs, then updated',
    level: null,
    see: (audit) => {
      const { from, until } = tcbOut(audit.place)
      return audit.epoch >= from && audit.epoch < until ? { is: 'unattributable', reason: 'attestation_rejected' } : honest(audit)
    },
    least: null,
  },
  {
    ...good,
    name: 'clock 30 s off (signs 1 ms to the first byte)',
    level: null,
    see: (audit) => {
      const seen = honest(audit)
      return seen.is === 'pass' ? { ...seen, signedFirstMs: 1 } : seen
    },
    least: 0.9,
    most: 1.1,
  },
  {
    ...cheat,
    name: 'clock two hours off',
    level: null,
    see: () => ({ is: 'unattributable', reason: 'keyset_expired' }),
    most: 0.05,
    convicted: false,
  },
]
