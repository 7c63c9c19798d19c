import { parseJson, Shape } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import type { Whole } from './whole.ts'

/** What is remembered of a verification to tell what changed since: identities only. */
export interface Snapshot {
  readonly version: 'veritee.watch.v1'
  readonly url: string
  /** Facts about the service itself, by name. */
  readonly service: { readonly [fact: string]: string }
  /** Keyset digest of each worker that was accepted, and its code. */
  readonly workers: { readonly [keyset: string]: string }
  /** Each model offered, and the weights that workers have under its name. */
  readonly models: { readonly [name: string]: string }
}

const version = 'veritee.watch.v1'
const maxLength = 1 << 22

export function snapshotOf({ url, service, workers, models }: Whole): Snapshot {
  const weights = (name: string): string => {
    const found = new Set(workers.flatMap((worker) => worker.models.filter((model) => model.name === name).map(({ files }) => files.join(' '))))
    return [...found].sort().join(', ')
  }
  return {
    version,
    url,
    service: {
      role: service.role,
      code: service.measurement ?? 'none',
      release: service.release ?? 'none',
      configuration: service.configuration ?? 'none',
      keys: service.keysetDigest ?? 'none',
      TCB: service.verdict.tcb?.status ?? 'none',
    },
    workers: Object.fromEntries(workers.map(({ keysetDigest, session, measurement }) => [keysetDigest ?? session, measurement ?? 'none'])),
    models: Object.fromEntries(models.map(({ name, standing }) => [name, standing === 'verified' ? weights(name) : standing])),
  }
}

/** What changed, one line each; empty where nothing did. New keys of the same code are no alarm: every enclave makes new ones within a day. */
export function changesBetween(before: Snapshot, after: Snapshot): string[] {
  return [
    ...differences('service: ', before.service, after.service),
    ...differences('worker ', before.workers, after.workers, { appeared: 'is new, code', went: 'is gone' }),
    ...differences('model ', before.models, after.models, { appeared: 'is offered now, weights', went: 'is no longer offered' }),
  ]
}

type Facts = { readonly [name: string]: string }

function differences(what: string, before: Facts, after: Facts, words = { appeared: 'is now', went: 'is no longer stated' }): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return names.flatMap((name) => {
    const [old, now] = [Object.hasOwn(before, name) ? before[name] : undefined, Object.hasOwn(after, name) ? after[name] : undefined]
    if (old === now) return []
    if (old === undefined) return [`${what}${name} ${words.appeared} ${now}`]
    return [now === undefined ? `${what}${name} ${words.went}` : `${what}${name} was ${old}, is ${now}`]
  })
}

/** Reads what an earlier run kept. Throws `usage`: the file is the caller's. */
export function parseSnapshot(text: string, path: string): Snapshot {
  try {
    const shape = new Shape('usage')
    const o = shape.object(parseJson(text, { maxLength, maxDepth: 3 }), 'the state', ['version', 'url', 'service', 'workers', 'models'])
    const facts = (name: string): Facts =>
      Object.fromEntries(Object.entries(shape.record(o[name], name)).map(([key, value]) => [key, shape.string(value, `${name}.${key}`, 65_536)]))
    return {
      version: shape.oneOf(o.version, 'version', [version]),
      url: shape.string(o.url, 'url', 2048),
      service: facts('service'),
      workers: facts('workers'),
      models: facts('models'),
    }
  } catch (cause) {
    throw fail('usage', `--state: ${path} is not what an earlier run wrote: ${cause instanceof Error ? cause.message : 'unreadable'}`, cause)
  }
}
