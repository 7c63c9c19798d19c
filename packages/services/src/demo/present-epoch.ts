import { formatNano, scoresToJson } from 'veritee/scoring'
import type { DemoResult } from './demo.ts'
import type { DemoEpoch, DemoValidator } from './epoch.ts'
import type { FleetWorker } from './fleet.ts'
import type { DemoOptions } from './options.ts'
import { keyOf } from './scoring-policy.ts'

/** What the demo says of its validator's epoch. */

export function describeCommitment({ commitment, beacon, begins }: DemoValidator): string[] {
  return [
    `commitment ${commitment}, witnessed before ${new Date(begins * 1000).toISOString()}`,
    `beacon ${beacon.chain.metadata.beaconID}: a key of this process signs its rounds. With drand, nobody knows them beforehand`,
  ]
}

export function describeFleet(fleet: readonly FleetWorker[]): string[] {
  return fleet.map(({ name, operator, running }) => `${name}: operator ${keyOf(operator)}, keyset ${running.worker.identity.keysetDigest}`)
}

export function describeEpoch(fleet: readonly FleetWorker[], { verified, frauds, scores, records, directory, verdict }: DemoEpoch): string[] {
  const own = verified.filter(({ kind }) => kind !== 'organic')
  const organic = verified.filter(({ kind }) => kind === 'organic')
  const count = (operator: string, verdict: string): number =>
    own.filter((record) => record.worker?.operator === operator && record.verdict === verdict).length
  const score = (operator: string): string => {
    const found = scores.validators.flatMap(({ operators }) => operators).find((one) => one.operator === operator)
    return formatNano(found?.score ?? 0n)
  }
  return [
    `opened by round ${records.opened.round}: ${own.length} probes audited, each answer verified, run again, and its receipt found in the log`,
    `closed by round ${records.log?.closed.round}: of ${records.log?.leaves.length} leaves of the log, those of others: ${organic.length} audited by their views; ${organic.filter(({ verdict }) => verdict === 'pass').length} passed`,
    'the epoch of an hour was not waited for: validator, beacon, log and witness have a clock that was put forward',
    ...fleet.map(({ name, operator }) => {
      const key = keyOf(operator)
      return `${name}: ${count(key, 'pass')} passed, ${count(key, 'fail')} failed, ${count(key, 'inconclusive')} inconclusive; score ${score(key)}`
    }),
    ...frauds.map(({ proven }) => `fraud proof: ${proven.kind}: ${proven.contradiction}`),
    ...scores.convictions.map(({ operator, until }) => `convicted: operator ${operator}, banned through epoch ${until}`),
    `bundle in ${directory}`,
    ...verdict.checks.map(({ id, status, detail }) => `${status === 'waived' ? '–' : '✓'} ${id}: ${detail}`),
  ]
}

/** The epoch as data. */
export function epochJson({ validator, fleet, epoch }: DemoResult, options: Pick<DemoOptions, 'out'>): object {
  const { records, verified, frauds, scores, directory, verdict } = epoch
  return {
    validator: {
      key: records.validator,
      commitment: records.commitment,
      seed: records.seed,
      beacon: { chain: validator.beacon.chain, opened: records.opened, closed: records.log?.closed ?? null },
      log: { origin: validator.access.trust.origin, leaves: records.log?.leaves.length ?? 0, seed_proof: validator.seedProof },
      records: verified,
    },
    epoch: {
      number: records.epoch,
      dir: options.out === null ? null : directory,
      verified: { verdict: verdict.verdict, checks: verdict.checks },
      workers: fleet.map(({ name, operator, running, cheats }) => ({
        name,
        operator: keyOf(operator),
        keyset: running.worker.identity.keysetDigest,
        cheats,
      })),
      fraud: frauds.map(({ text, proven: { kind, contradiction, accused } }) => ({
        kind,
        contradiction,
        accused,
        proof: JSON.parse(text) as object,
      })),
      scores: scoresToJson(records.epoch, scores),
    },
  }
}
