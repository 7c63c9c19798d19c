import { randomBytes } from 'node:crypto'
import type { BlockList } from 'node:net'
import { VeriteeError } from 'veritee/errors'
import { type PostJson, postJson } from '../../http/post-json.ts'
import { unverifiedName } from '../../http/unverified.ts'
import { unattestedWorkerUrl } from './address.ts'
import { type Registration, readStatus, type WorkerStatus } from './messages.ts'

/** A worker of which nothing is known but what it says. */
export interface UnattestedWorker {
  /** Stands for the worker in the address that API servers get: 32 hex digits, drawn anew when it comes back after it was forgotten. */
  readonly id: string
  readonly url: string
  /** From the name under which a model is served here to the worker's own name for it. */
  readonly models: ReadonlyMap<string, string>
  readonly speed: number
  queueLength: number
  readonly checkHeartBeat: boolean
  lastHeartBeat: number
  /** Whether it has ever answered. FastChat's workers register before they listen, and do not come back before their next heartbeat. */
  answered: boolean
}

export interface UnattestedWorkersOptions {
  /** Names of models, without the suffix, that unattested workers may serve. Others that they bring are left out. */
  readonly models: readonly string[]
  readonly networks: BlockList
  readonly now: () => Date
  readonly report: (line: string) => void
  readonly maxWorkers?: number
  readonly post?: PostJson
  readonly random?: (length: number) => Uint8Array
}

/** As FastChat's `CONTROLLER_HEART_BEAT_EXPIRATION`; workers send one every 45 s. */
const expirySeconds = 90

/**
 * The FastChat workers of this controller, which the operator allowed by the names of their models. They are not attested: their models are served under
 * names that end in `:unverified` only, through FastChat's own routes only, and never take part in the routing of attested workers (rules S3 and S22).
 */
export class UnattestedWorkers {
  readonly #options: UnattestedWorkersOptions & { readonly post: PostJson }
  readonly #allowed: ReadonlySet<string>
  readonly #byName = new Map<string, UnattestedWorker>()
  #refreshing: Promise<void> | null = null

  constructor(options: UnattestedWorkersOptions) {
    this.#options = { ...options, post: options.post ?? postJson }
    this.#allowed = new Set(options.models.map(unverifiedName))
  }

  /** Takes a worker, or reports why not. FastChat's workers do not look at the answer and try again by themselves, so that is all there is to tell. */
  async register({ workerName, checkHeartBeat, status }: Registration): Promise<void> {
    try {
      const url = unattestedWorkerUrl(workerName, this.#options.networks)
      this.#keep(workerName, url, checkHeartBeat, status ?? (await this.#ask(url)), status === null)
    } catch (error) {
      this.#options.report(`an unattested worker was not taken: ${reasonOf(error)}`)
    }
  }

  async #ask(url: string): Promise<WorkerStatus> {
    return readStatus(await this.#options.post(`${url}/worker_get_status`, null))
  }

  #keep(name: string, url: string, checkHeartBeat: boolean, status: WorkerStatus, answered: boolean): void {
    const { report, random = randomBytes, maxWorkers = 1024 } = this.#options
    const models = new Map(status.modelNames.map((own) => [unverifiedName(own), own] as const).filter(([served]) => this.#allowed.has(served)))
    const before = this.#current().get(name)
    if (models.size === 0) {
      this.#byName.delete(name)
      report('an unattested worker was not taken: none of its models is among those allowed')
      return
    }
    if (before === undefined && this.#byName.size >= maxWorkers) {
      report(`an unattested worker was not taken: at most ${maxWorkers} are`)
      return
    }
    const { speed, queueLength } = status
    const id = before?.id ?? Buffer.from(random(16)).toString('hex')
    this.#byName.set(name, { id, url, models, speed, queueLength, checkHeartBeat, lastHeartBeat: this.#seconds(), answered })
    if (before === undefined) report(`an UNATTESTED worker serves ${[...models.keys()].join(', ')}; nothing of its answers is verified`)
  }

  /** False for a worker that must register (again). */
  heartBeat(name: string, queueLength: number): boolean {
    const worker = this.#current().get(name)
    if (worker === undefined) return false
    worker.queueLength = queueLength
    worker.lastHeartBeat = this.#seconds()
    return true
  }

  /** Asks every worker for its status, and forgets those that do not answer. One round at a time: whoever asks meanwhile waits for it. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = null
    })
    return this.#refreshing
  }

  async #refresh(): Promise<void> {
    const queue = [...this.#current()]
    const next = async (): Promise<void> => {
      for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
        const [name, worker] = entry
        const status = await this.#ask(worker.url).catch(() => null)
        // It may have gone or come back meanwhile.
        if (this.#byName.get(name) !== worker) continue
        if (status !== null) this.#keep(name, worker.url, worker.checkHeartBeat, status, true)
        else if (worker.answered) this.#forget(name)
      }
    }
    await Promise.all(Array.from({ length: 16 }, next))
  }

  models(): string[] {
    return [...new Set([...this.#current().values()].flatMap(({ models }) => [...models.keys()]))].sort()
  }

  /** What this controller says of itself where it is taken for a worker. */
  status(): { readonly model_names: readonly string[]; readonly speed: number; readonly queue_length: number } {
    const workers = [...this.#current().values()]
    return {
      model_names: this.models(),
      speed: workers.reduce((sum, { speed }) => sum + speed, 0),
      queue_length: workers.reduce((sum, { queueLength }) => sum + queueLength, 0),
    }
  }

  /** The worker with the shortest queue for its speed; counted as longer by one until its next heartbeat. */
  choose(model: string): UnattestedWorker | null {
    let best: UnattestedWorker | null = null
    for (const worker of this.#current().values())
      if (worker.models.has(model) && (best === null || worker.queueLength / worker.speed < best.queueLength / best.speed)) best = worker
    if (best !== null) best.queueLength++
    return best
  }

  byId(id: string): UnattestedWorker | null {
    return [...this.#current().values()].find((worker) => worker.id === id) ?? null
  }

  #forget(name: string): void {
    this.#byName.delete(name)
    this.#options.report('an unattested worker is gone')
  }

  /** Without those that went silent. */
  #current(): ReadonlyMap<string, UnattestedWorker> {
    const expired = this.#seconds() - expirySeconds
    for (const [name, worker] of this.#byName) if (worker.checkHeartBeat && worker.lastHeartBeat < expired) this.#forget(name)
    return this.#byName
  }

  #seconds(): number {
    return this.#options.now().getTime() / 1000
  }
}

function reasonOf(error: unknown): string {
  return error instanceof VeriteeError ? `${error.code}: ${error.message}` : 'unexpected failure'
}
