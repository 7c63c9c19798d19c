import { nodeTransport, readBody } from 'veritee/client'
import { VeriteeError } from 'veritee/errors'
import { leaveController, type Registering, registerWorker } from '../enclave/worker/register.ts'
import type { Report } from './logs/log.ts'

export interface AdmissionOptions {
  readonly controlUrl: string
  /** Where the controller reaches the worker. */
  readonly workerUrl: string
  readonly worker: Registering
  readonly report: Report
  /** How often the controller is asked whether it still knows the worker, and how often it is asked to verify it again. */
  readonly checkMs?: number
  readonly againMs?: number
  readonly retryMs?: { readonly first: number; readonly most: number }
}

export interface Admission {
  /** Why the controller sends nothing; null while it has admitted the worker. */
  readonly reason: string | null
  /** Registers again at once: the worker has new keys. */
  again(): void
  stop(): void
  /** Stops, and tells a controller that has admitted the worker. Never throws, and takes no longer than a few seconds. */
  leave(): Promise<void>
}

/** A controller that does not answer finds out by itself. */
const leaveMs = 2_000

/**
 * Keeps a worker admitted: registers, again before the session ends, again when the controller has forgotten or set aside the worker, and after
 * failures with growing pauses, for ever. A controller that is not there yet is no failure of the worker's.
 */
export function keepAdmitted(options: AdmissionOptions): Admission {
  const { controlUrl, workerUrl, worker, report, checkMs = 15_000, againMs = 20 * 60_000 } = options
  const { first, most } = options.retryMs ?? { first: 1_000, most: 30_000 }
  let reason: string | null = `not registered with ${controlUrl} yet`
  let stopped = false
  let wake: () => void = () => undefined
  let kicked = false

  const pause = (ms: number): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    wake = () => {
      clearTimeout(timer)
      resolve()
    }
    return promise
  }
  const said = (next: string | null, line: string): void => {
    if (next === reason) return
    reason = next
    report(line, { event: 'worker.admission' })
  }
  const run = async (): Promise<void> => {
    let wait = first
    while (!stopped) {
      kicked = false
      const digest = worker.identity.keysetDigest
      try {
        const { sessionId, controller } = await registerWorker(controlUrl, workerUrl, worker)
        wait = first
        said(null, `admitted by ${controlUrl}, session ${sessionId}`)
        const until = performance.now() + againMs
        while (!stopped && !kicked && performance.now() < until) {
          await pause(checkMs)
          if (!stopped && !kicked && !(await known(controlUrl, digest, controller))) break
        }
      } catch (error) {
        const why = error instanceof VeriteeError ? `${error.code}: ${error.message}` : 'registration failed'
        said(`not admitted by ${controlUrl}: ${why}`, `not admitted by ${controlUrl}: ${why}; trying again`)
        if (stopped) return
        // Workers that lost one controller together do not come back together.
        if (!kicked) await pause(wait * (0.5 + Math.random() / 2))
        wait = Math.min(2 * wait, most)
      }
    }
  }
  const stop = (): void => {
    stopped = true
    wake()
  }
  void run()
  return {
    get reason() {
      return reason
    },
    again: () => {
      kicked = true
      wake()
    },
    stop,
    leave: async () => {
      const admitted = reason === null
      stop()
      if (!admitted) return
      const { promise: late, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, leaveMs)
      await Promise.race([leaveController(controlUrl, workerUrl, worker).catch(() => undefined), late])
      clearTimeout(timer)
    },
  }
}

/**
 * Whether the controller would still route to this keyset, and is still the one that admitted it. A controller that does not answer is asked again as one that has
 * forgotten, and so is one with new keys.
 */
async function known(controlUrl: string, keysetDigest: string, controller: string): Promise<boolean> {
  const transport = nodeTransport(controlUrl)
  try {
    const response = await transport.send({ method: 'GET', path: `/v1/workers/${keysetDigest}` })
    await readBody(response, 65_536)
    return response.status === 200 && (response.headers['x-aci-keyset-digest'] ?? controller) === controller
  } catch {
    return false
  } finally {
    transport.close()
  }
}
