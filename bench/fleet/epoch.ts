import { type AuditRecord, epochWindow, type ScoringState } from 'veritee/scoring'
import { Random } from '../soak/random.ts'
import { type Audited, confirmationOf, digest, organicOf, recordOf } from './records.ts'
import type { Audit, Seen } from './strategies.ts'
import { epochLength, type FleetOperator, type World } from './world.ts'

/** What controllers do to what comes through them, and validators to what they see. */
export interface Between {
  /** Place in the list of operators of the one that a request goes to, which a controller that balanced load would have sent to `operator`. */
  readonly route: (operator: number, controller: number, random: Random) => number
  /** What it makes of an answer. */
  readonly deliver: (operator: FleetOperator, controller: number, seen: Seen, random: Random) => Seen
  /** What a validator writes of what it saw. */
  readonly tell: (operator: FleetOperator, validator: number, seen: Seen) => Seen
}

export const untouched: Between = {
  route: (operator) => operator,
  deliver: (_operator, _controller, seen) => seen,
  tell: (_operator, _validator, seen) => seen,
}

interface Made {
  readonly records: AuditRecord[]
  /** Probes of honest operators with a replay at level 2, which the sequential test judged. */
  readonly honestAtLevel2: number
  readonly honest: number
}

const colluding = 4
const moods = 6

/**
 * The records of all validators of one epoch. Every audit draws from its own random numbers, which follow from the seed and its number: a controller that changes
 * one leaves the others as they were, so that two runs can be compared.
 */
export function auditEpoch(world: World, seed: number, epoch: number, before: ScoringState, between: Between): Made {
  const { operators, validators, controllers, size, policy } = world
  const { opens } = epochWindow(policy, epoch)
  const records: AuditRecord[] = []
  const next = validators.map(() => 0)
  const indexOf = (v: number): number => {
    const index = next[v] as number
    next[v] = index + 1
    return index
  }
  let honestAtLevel2 = 0
  let honest = 0
  // A validator hands over the first two of an operator, to all others.
  const handedOver = new Map<string, number>()
  const asks = (validator: number, operator: number): boolean => {
    const key = `${validator} ${operator}`
    const before = handedOver.get(key) ?? 0
    handedOver.set(key, before + 1)
    return before < 2
  }
  // Who is banned has nothing to gain from answering.
  const serves = ({ key, from }: FleetOperator): boolean => epoch >= from && (before.operators.get(key)?.until ?? -1) < epoch
  for (const [planned, { workers }] of operators.entries()) {
    if (!serves(operators[planned] as FleetOperator)) continue
    for (let w = 0; w < workers.length; w++)
      for (let v = 0; v < validators.length; v++)
        for (let n = 0; n < size.probes; n++) {
          const receipt = (((epoch * size.operators + planned) * size.workers + w) * validators.length + v) * size.probes + n
          const random = new Random(seed, receipt)
          const offset = Math.floor(((n + random.next() / 2 ** 32) * epochLength) / size.probes)
          const controller = random.below(controllers.length)
          const o = between.route(planned, controller, new Random(seed + 2, receipt))
          const operator = operators[o] as FleetOperator
          const { id, level } = operator.workers[w] as FleetOperator['workers'][number]
          const slot = ((epoch * size.operators + o) * size.workers + w) * moods + Math.floor((offset * moods) / epochLength)
          const audited: Audited = {
            validator: validators[v] as string,
            epoch,
            index: 0,
            // Whole minutes: the weight of each second is computed once, and takes longer than the rest.
            at: opens + offset - (offset % 60),
            worker: id,
            // A ban ends with a restart, which makes a new keyset.
            keyset: digest(0xf0, (o * size.workers + w) * 1000 + (before.operators.get(operator.key)?.convictions ?? 0)),
            level,
            controller: controllers[controller] as string,
            receipt,
            tokens: 32 + random.below(200),
            firstMs: 180 + random.below(60),
            tokenMs: 13 + random.below(3),
          }
          const audit: Audit = { random, epoch, mood: new Random(seed + 1, slot).next(), level, place: operator.place }
          const truth = operator.strategy.see(audit)
          const lie = v === colluding ? operator.strategy.told?.(audit) : undefined
          const seen = lie ?? between.tell(operator, v, between.deliver(operator, controller, truth, random))
          if (seen.is === 'nothing') continue
          records.push(recordOf({ ...audited, index: indexOf(v) }, seen))
          if (operator.strategy.honest && lie === undefined) {
            honest++
            if (level === 2 && (seen.is === 'pass' || seen.is === 'mismatch')) honestAtLevel2++
          }
          if (seen.is === 'mismatch' && level === 1 && asks(v, o)) {
            const wrong = truth.is === 'mismatch' && truth.own !== true
            for (let c = 0; c < validators.length; c++) {
              if (c === v) continue
              const own = c === colluding ? operator.strategy.told?.(audit) : undefined
              records.push(
                confirmationOf({ ...audited, validator: validators[c] as string, index: indexOf(c) }, own === undefined ? !wrong : own.is === 'pass'),
              )
            }
          }
          if (n === 0 && v === 0 && truth.is === 'pass') records.push(organicOf({ ...audited, index: indexOf(v) }))
        }
  }
  return { records, honestAtLevel2, honest }
}
