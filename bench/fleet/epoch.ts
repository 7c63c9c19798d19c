import { type AuditRecord, epochWindow, type ScoringState } from 'veritee/scoring'
import { Random } from '../soak/random.ts'
import { type Audited, confirmationOf, digest, organicOf, recordOf } from './records.ts'
import type { Audit, Seen } from './strategies.ts'
import { epochLength, type FleetOperator, type World } from './world.ts'

/** What a controller makes of an answer that comes through it; the same where it does nothing. */
export type Between = (operator: FleetOperator, controller: number, seen: Seen, random: Random) => Seen

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
  for (const [o, operator] of operators.entries()) {
    const standing = before.operators.get(operator.key)
    // Who is banned has nothing to gain from answering.
    if (epoch < operator.from || (standing !== undefined && standing.until >= epoch)) continue
    for (const [w, { id, level }] of operator.workers.entries())
      for (let v = 0; v < validators.length; v++)
        for (let n = 0; n < size.probes; n++) {
          const receipt = (((epoch * size.operators + o) * size.workers + w) * validators.length + v) * size.probes + n
          const random = new Random(seed, receipt)
          const offset = Math.floor(((n + random.next() / 2 ** 32) * epochLength) / size.probes)
          const slot = ((epoch * size.operators + o) * size.workers + w) * moods + Math.floor((offset * moods) / epochLength)
          const controller = random.below(controllers.length)
          const audited: Audited = {
            validator: validators[v] as string,
            epoch,
            index: 0,
            at: opens + Math.min(offset, epochLength - 1),
            worker: id,
            // A ban ends with a restart, which makes a new keyset.
            keyset: digest(0xf0, (o * size.workers + w) * 1000 + (standing?.convictions ?? 0)),
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
          const seen = lie ?? between(operator, controller, truth, random)
          if (seen.is === 'nothing') continue
          records.push(recordOf({ ...audited, index: indexOf(v) }, seen))
          if (operator.strategy.honest && lie === undefined) {
            honest++
            if (level === 2 && (seen.is === 'pass' || seen.is === 'mismatch')) honestAtLevel2++
          }
          if (seen.is === 'mismatch' && level === 1) {
            const wrong = lie === undefined && seen.own !== true
            for (const c of [(v + 1) % validators.length, (v + 2) % validators.length])
              records.push(confirmationOf({ ...audited, validator: validators[c] as string, index: indexOf(c) }, !wrong))
          }
          if (n === 0 && v === 0 && truth.is === 'pass') records.push(organicOf({ ...audited, index: indexOf(v) }))
        }
  }
  return { records, honestAtLevel2, honest }
}
