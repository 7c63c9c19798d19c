import { Shape } from 'veritee/bytes'

const shape = new Shape('malformed_document')

/** A model as a service serves it. `workers` only at a controller: those whose session is in force. */
export interface ModelStatus {
  readonly name: string
  readonly running: number
  readonly waiting: number
  readonly workers: number | null
}

/** What a role says of itself beside its readiness. Names, counts and times; nothing of a request. */
export interface StatusFacts {
  readonly keyset: { readonly digest: string; readonly not_after: number }
  readonly requests_in_flight: number
  readonly models: readonly ModelStatus[]
  readonly manifest: { readonly version: number; readonly digest: string; readonly network: string; readonly expires: number } | null
  readonly workers: { readonly serving: number; readonly quarantined: number } | null
}

/** `GET /status` of the listener for operators. `facts` is null until the service has its keys. */
export interface Status {
  readonly version: 'veritee.status.v1'
  readonly role: string
  readonly release: string
  readonly simulated: boolean
  readonly ready: boolean
  readonly reasons: readonly string[]
  readonly details: readonly string[]
  readonly notices: readonly string[]
  readonly facts: StatusFacts | null
}

/** A worker as its controller has it, for operators. */
export interface WorkerRow {
  readonly url: string
  readonly keyset_digest: string
  readonly keyset_not_after: number
  readonly session_id: string
  /** End of the session, Unix time. */
  readonly expires_at: number
  readonly models: readonly string[]
  readonly simulated: boolean
  readonly outstanding: number
  /** Null where it gets no requests at all. */
  readonly breaker: string | null
  /** Of its connections; null where it has none at the moment. */
  readonly protocol: string | null
  readonly quarantine: string | null
  readonly operator: string | null
  readonly platform: string | null
}

/** `GET /workers` of a controller's listener for operators. */
export interface WorkerList {
  readonly version: 'veritee.workers.v1'
  readonly workers: readonly WorkerRow[]
}

/** Models that a status names; a controller may know more. */
export const maxModels = 1024
/** Reasons, notices and the like. */
const maxLines = 1024
const maxWorkers = 100_000

/** Reads a {@link Status}. Unknown members are left out: a newer service may say more. Throws `malformed_document`. */
export function parseStatus(value: unknown): Status {
  const o = known(value, 'status', ['version', 'role', 'release', 'simulated', 'ready', 'reasons', 'details', 'notices', 'facts'])
  if (o.version !== 'veritee.status.v1') throw shape.refuse('status.version', 'veritee.status.v1')
  return {
    version: o.version,
    role: shape.string(o.role, 'role', 64),
    release: shape.string(o.release, 'release', 64),
    simulated: shape.boolean(o.simulated, 'simulated'),
    ready: shape.boolean(o.ready, 'ready'),
    reasons: lines(o.reasons, 'reasons'),
    details: lines(o.details, 'details'),
    notices: lines(o.notices, 'notices'),
    facts: o.facts === null ? null : factsOf(o.facts),
  }
}

function factsOf(value: unknown): StatusFacts {
  const o = known(value, 'facts', ['keyset', 'requests_in_flight', 'models', 'manifest', 'workers'])
  const keyset = known(o.keyset, 'keyset', ['digest', 'not_after'])
  return {
    keyset: { digest: shape.digest(keyset.digest, 'keyset.digest'), not_after: shape.integer(keyset.not_after, 'keyset.not_after') },
    requests_in_flight: shape.integer(o.requests_in_flight, 'requests_in_flight'),
    models: shape.array(o.models, 'models', maxModels).map((one, i) => {
      const model = known(one, `models[${i}]`, ['name', 'running', 'waiting', 'workers'])
      return {
        name: shape.string(model.name, 'name', 1024),
        running: shape.integer(model.running, 'running'),
        waiting: shape.integer(model.waiting, 'waiting'),
        workers: model.workers === null ? null : shape.integer(model.workers, 'workers'),
      }
    }),
    manifest: o.manifest === null ? null : manifestOf(o.manifest),
    workers: o.workers === null ? null : countsOf(o.workers),
  }
}

function manifestOf(value: unknown): StatusFacts['manifest'] {
  const o = known(value, 'manifest', ['version', 'digest', 'network', 'expires'])
  return {
    version: shape.integer(o.version, 'manifest.version'),
    digest: shape.digest(o.digest, 'manifest.digest'),
    network: shape.string(o.network, 'manifest.network', 256),
    expires: shape.integer(o.expires, 'manifest.expires'),
  }
}

function countsOf(value: unknown): StatusFacts['workers'] {
  const o = known(value, 'workers', ['serving', 'quarantined'])
  return { serving: shape.integer(o.serving, 'workers.serving'), quarantined: shape.integer(o.quarantined, 'workers.quarantined') }
}

/** Reads a {@link WorkerList}, as {@link parseStatus} reads. Throws `malformed_document`. */
export function parseWorkerList(value: unknown): WorkerList {
  const o = known(value, 'workers', ['version', 'workers'])
  if (o.version !== 'veritee.workers.v1') throw shape.refuse('version', 'veritee.workers.v1')
  return { version: o.version, workers: shape.array(o.workers, 'workers', maxWorkers).map((one, i) => rowOf(one, `workers[${i}]`)) }
}

const rowMembers = [
  'url',
  'keyset_digest',
  'keyset_not_after',
  'session_id',
  'expires_at',
  'models',
  'simulated',
  'outstanding',
  'breaker',
  'protocol',
  'quarantine',
  'operator',
  'platform',
]

function rowOf(value: unknown, where: string): WorkerRow {
  const o = known(value, where, rowMembers)
  return {
    url: shape.string(o.url, `${where}.url`, 1024),
    keyset_digest: shape.digest(o.keyset_digest, `${where}.keyset_digest`),
    keyset_not_after: shape.integer(o.keyset_not_after, `${where}.keyset_not_after`),
    session_id: shape.string(o.session_id, `${where}.session_id`, 256),
    expires_at: shape.integer(o.expires_at, `${where}.expires_at`),
    models: lines(o.models, `${where}.models`),
    simulated: shape.boolean(o.simulated, `${where}.simulated`),
    outstanding: shape.integer(o.outstanding, `${where}.outstanding`),
    breaker: shape.nullableString(o.breaker, `${where}.breaker`, 64),
    protocol: shape.nullableString(o.protocol, `${where}.protocol`, 64),
    quarantine: shape.nullableString(o.quarantine, `${where}.quarantine`),
    operator: shape.nullableString(o.operator, `${where}.operator`, 256),
    platform: shape.nullableString(o.platform, `${where}.platform`, 256),
  }
}

function lines(value: unknown, where: string): string[] {
  return shape.array(value, where, maxLines).map((one, i) => shape.string(one, `${where}[${i}]`))
}

/** The members that are known; all of them must be there. */
function known(value: unknown, where: string, members: readonly string[]): Record<string, unknown> {
  const o = shape.record(value, where)
  for (const name of members) if (!Object.hasOwn(o, name)) throw shape.refuse(`${where}.${name}`, 'a member of this name')
  return o
}
