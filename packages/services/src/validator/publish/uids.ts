import { parseDocument, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type EpochScores, workerKey } from 'veritee/scoring'

/** Which number of another network stands for whom. Normative: spec/epoch.md, "Export". */
export interface UidMap {
  /** Uid by worker, as `workerKey` names it. */
  readonly workers: ReadonlyMap<string, number>
  /** Uid by operator, for its workers that have none of their own. */
  readonly operators: ReadonlyMap<string, number>
  /** What is unassigned, or of workers without a uid, goes to this one; null where there is none. */
  readonly burn: number | null
}

/** Weights in the shape of Bittensor's `set_weights`: uids rising, weights of 65,535 together. */
export interface UidWeights {
  readonly uids: readonly number[]
  readonly weights: readonly number[]
  readonly version: number
}

const maxUid = 65_535
const shape = new Shape('uid_map_invalid')

/** Reads `{"version": "veritee.uids.v1", "uids": [{"operator", "platform", "slot", "uid"}], "burn"}`. Throws `uid_map_invalid`. */
export function parseUidMap(text: string): UidMap {
  const limits = { maxLength: 1 << 24, maxDepth: 4, integersOnly: true } as const
  const o = shape.object(parseDocument(text, limits, 'uid_map_invalid', 'the map of uids'), 'map', ['version', 'uids', 'burn'])
  shape.oneOf(o.version, 'version', ['veritee.uids.v1'])
  const workers = new Map<string, number>()
  const operators = new Map<string, number>()
  for (const [i, item] of shape.array(o.uids, 'uids', 100_000).entries()) {
    const at = `uids[${i}]`
    const one = shape.object(item, at, ['operator', 'platform', 'slot', 'uid'])
    const operator = shape.hex(one.operator, `${at}.operator`, 32)
    const uid = shape.integer(one.uid, `${at}.uid`, maxUid)
    if ((one.platform === null) !== (one.slot === null)) throw shape.refuse(at, 'platform and slot, or null for both')
    const [table, key] =
      one.platform === null
        ? ([operators, operator] as const)
        : ([
            workers,
            workerKey({ operator, platform: shape.hex(one.platform, `${at}.platform`, 32), slot: shape.integer(one.slot, `${at}.slot`, maxUid) }),
          ] as const)
    if (table.has(key)) throw shape.refuse(at, 'each worker and operator once')
    table.set(key, uid)
  }
  const burn = o.burn === null ? null : shape.integer(o.burn, 'burn', maxUid)
  if (burn !== null && ([...workers.values()].includes(burn) || [...operators.values()].includes(burn))) throw shape.refuse('burn', 'a uid of nobody')
  return { workers, operators, burn }
}

/** The uid of a worker: its own, else its operator's; null without either. */
export function uidOf({ workers, operators }: UidMap, worker: Parameters<typeof workerKey>[0]): number | null {
  return workers.get(workerKey(worker)) ?? operators.get(worker.operator) ?? null
}

/**
 * The weights of an epoch by uid. What has no uid is never given to others: a network that takes shares of what it gets would hand it to them, and so to
 * operators above their cap. Throws `uid_map_invalid` where there is such a rest and no uid to burn it.
 */
export function weightsByUid({ network }: Pick<EpochScores, 'network'>, map: UidMap, version: number): UidWeights {
  const sums = new Map<number, number>()
  const add = (uid: number, weight: number): void => {
    if (weight > 0) sums.set(uid, (sums.get(uid) ?? 0) + weight)
  }
  let rest = network.unassigned.weight
  for (const { id, weight } of network.workers) {
    const uid = uidOf(map, id)
    if (uid === null) rest += weight
    else add(uid, weight)
  }
  if (rest > 0) {
    if (map.burn === null) throw fail('uid_map_invalid', `${rest} of 65535 are unassigned or of workers without a uid: expected a uid to burn them`)
    add(map.burn, rest)
  }
  const sorted = [...sums].sort(([a], [b]) => a - b)
  return { uids: sorted.map(([uid]) => uid), weights: sorted.map(([, weight]) => weight), version }
}

/** One line for each worker with a weight, and one for what is unassigned. */
export function weightsCsv({ network }: Pick<EpochScores, 'network'>, map: UidMap | null): string {
  const lines = network.workers.map(({ id, weight }) =>
    [id.operator, id.platform, id.slot, weight, map === null ? '' : (uidOf(map, id) ?? '')].join(','),
  )
  return `${['operator,platform,slot,weight,uid', ...lines, `,,,${network.unassigned.weight},${map?.burn ?? ''}`].join('\r\n')}\r\n`
}
