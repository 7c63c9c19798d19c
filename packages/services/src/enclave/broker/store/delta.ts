import { type Json, Shape } from 'veritee/bytes'
import { readKeyId } from 'veritee/seal'
import { headFromJson, type StoreHead } from './head.ts'
import {
  type AuditEntry,
  auditFromJson,
  type BrokerState,
  limits,
  mergedReleases,
  type Resource,
  recordedAs,
  releasesFromJson,
  resourceFromJson,
} from './resources.ts'

/** What one write adds to a state: resources that changed, and new lines of the trail. */
export interface Delta {
  readonly resources: { readonly [name: string]: Resource }
  readonly entries: readonly AuditEntry[]
  readonly seq: number
  readonly head: StoreHead | null
  /** Those that are newer. */
  readonly releases: BrokerState['releases']
}

const shape = new Shape('broker_store_invalid')

/** From one state to a later one. Resources are never taken away, and lines never change. */
export function deltaOf(before: BrokerState, after: BrokerState): Delta {
  const changed = Object.entries(after.resources).filter(([name, resource]) => before.resources[name] !== resource)
  const entries = [...after.audit, ...after.refusals].filter(({ seq }) => seq > before.seq)
  const releases = Object.entries(after.releases).filter(([keySet, seen]) => before.releases[keySet] !== seen)
  return {
    resources: Object.fromEntries(changed),
    entries: entries.sort((a, b) => a.seq - b.seq),
    seq: after.seq,
    head: after.head,
    releases: Object.fromEntries(releases),
  }
}

/** Throws `broker_store_invalid` where the delta is not the next one: its lines are numbered upwards, beyond those that are there. */
export function withDelta(state: BrokerState, { resources, entries, seq, head, releases }: Delta): BrokerState {
  let last = state.seq
  for (const entry of entries) {
    if (entry.seq <= last || entry.seq > seq) throw shape.refuse('entries', 'lines numbered upwards')
    last = entry.seq
  }
  const whole = { ...state.resources, ...resources }
  if (Object.keys(whole).length > limits.resources) throw shape.refuse('resources', `at most ${limits.resources}`)
  return { ...recordedAs({ ...state, resources: whole }, entries), seq, head, releases: mergedReleases(state.releases, releases) }
}

/** Reads the JSON form of a {@link Delta}. Throws `broker_store_invalid`. */
export function deltaFromJson(value: unknown): Delta {
  const o = shape.object(value, 'delta', ['resources', 'entries', 'seq', 'head'], ['releases'])
  const resources = Object.entries(shape.record(o.resources, 'resources'))
  return {
    resources: Object.fromEntries(resources.map(([name, item]) => [readKeyId(name), resourceFromJson(item, `resources.${name}`)])),
    entries: shape.array(o.entries, 'entries', limits.audit + limits.refusals).map((item, i) => auditFromJson(item, `entries[${i}]`)),
    seq: shape.integer(o.seq, 'seq'),
    head: headFromJson(o.head, 'head', shape),
    releases: releasesFromJson(o.releases, 'releases'),
  }
}

export function deltaToJson(delta: Delta): Json {
  return delta as unknown as Json
}
