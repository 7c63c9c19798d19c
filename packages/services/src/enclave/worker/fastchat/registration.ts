import { VeriteeError } from 'veritee/errors'
import { type PostJson, postJson } from '../../../http/post-json.ts'
import type { WorkerStatus } from './surface.ts'

export interface RegistrationOptions {
  /** `http://host:21001` */
  readonly controllerUrl: string
  /** The worker's address as controller and API server call it, path included. */
  readonly workerName: string
  readonly status: () => WorkerStatus
  /** One line for the operator, at each change only. */
  readonly report: (line: string) => void
  readonly post?: PostJson
  /** Resolves after so many milliseconds, or at once when the signal aborts. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

/** FastChat drops a worker 90 to 180 s after its last sign of life. */
export const heartBeatMs = 45_000
export const retryMs = 5_000

/**
 * Keeps a worker registered with a FastChat controller until it is stopped: registers, says every 45 s that it is alive, and registers again when the
 * controller does not know it any more. A controller that is down is tried every 5 s for ever. The controller answers a registration with 200 whether it
 * took the worker or not, so it is made to ask all its workers for their status, and then for its list of models: this shows that it reaches this worker,
 * and drops the name that an earlier process had at the same address. Nothing is learnt about who that controller is.
 */
export function keepRegistered(options: RegistrationOptions): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const done = loop(options, stopping.signal)
  return {
    stop: () => {
      stopping.abort()
      return done
    },
  }
}

async function loop(options: RegistrationOptions, signal: AbortSignal): Promise<void> {
  const { controllerUrl, workerName, status, report, post = postJson, sleep = sleepFor } = options
  const base = controllerUrl.replace(/\/+$/, '')
  let said = ''
  const say = (line: string): void => {
    if (line !== said) report(line)
    said = line
  }
  let registered = false
  while (!signal.aborted) {
    try {
      if (registered) {
        registered = isKnown(await post(`${base}/receive_heart_beat`, { worker_name: workerName, queue_length: status().queue_length }))
        if (!registered) {
          say('the FastChat controller has forgotten this worker; registering again')
          continue
        }
      } else {
        await post(`${base}/register_worker`, { worker_name: workerName, check_heart_beat: true, worker_status: status(), multimodal: false })
        // It may poll dead workers for longer than we wait; the list tells what came of it.
        await post(`${base}/refresh_all_workers`, null).catch(() => undefined)
        registered = lists(await post(`${base}/list_models`, null), status().model_names)
        if (registered) say(`registered with the FastChat controller at ${base}; it and its answers are NOT verified`)
        else say(`the FastChat controller did not take this worker: can it reach ${new URL(workerName).origin}?`)
      }
      await sleep(registered ? heartBeatMs : retryMs, signal)
    } catch (error) {
      say(`the FastChat controller at ${base} cannot be used: ${error instanceof VeriteeError ? error.message : 'unexpected failure'}`)
      await sleep(retryMs, signal)
    }
  }
}

function isKnown(answer: unknown): boolean {
  return member(answer, 'exist') === true
}

function lists(answer: unknown, names: readonly string[]): boolean {
  const models = member(answer, 'models')
  return Array.isArray(models) && names.every((name) => models.includes(name))
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as { readonly [name: string]: unknown })[name] : undefined
}

function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (signal.aborted) return Promise.resolve()
  const timer = setTimeout(resolve, ms)
  const wake = (): void => resolve()
  signal.addEventListener('abort', wake, { once: true })
  return promise.finally(() => {
    clearTimeout(timer)
    signal.removeEventListener('abort', wake)
  })
}
