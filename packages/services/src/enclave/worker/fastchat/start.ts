import type { IncomingMessage, RequestListener } from 'node:http'
import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'
import { type Bind, type Listening, listen } from '../../../http/listen.ts'
import type { ServedModel } from '../served-model.ts'
import type { Worker } from '../worker.ts'
import type { Proofs } from './answer.ts'
import { keepRegistered } from './registration.ts'
import { createSurface, isAnswer, unavailable } from './surface.ts'

export interface FastchatOptions {
  /** The worker under its present keys. */
  readonly worker: () => Pick<Worker, 'ledger' | 'identity'>
  readonly models: readonly ServedModel[]
  /** A listener of its own (rule S22); FastChat knows no API keys, so a public one needs `--open`, and `--behind-tls` as its peers speak plain HTTP. */
  readonly bind: Bind
  /** `http://host:port` as controller and API server reach this listener; null: what it listens on. */
  readonly advertise: string | null
  /** null: register nowhere. */
  readonly controllerUrl: string | null
  /** Counts answers under way, for a service that ends in good order. */
  readonly wrap?: (listener: RequestListener, isWork: (request: IncomingMessage) => boolean) => RequestListener
  /** True from when nothing new is taken on: a controller that asks is told to go elsewhere. */
  readonly draining?: () => boolean
  readonly report: (line: string) => void
}

export interface RunningFastchat {
  readonly listening: Listening
  /** The worker's address with its path: what FastChat calls `worker_name`. */
  readonly workerName: string
  /** For the start of the worker: where it is, and that nothing on it is verified. */
  readonly startLines: readonly string[]
  /** Stops the heartbeats; what is under way goes on. */
  leave(): Promise<void>
  close(): Promise<void>
}

/** Starts the FastChat surface of a worker, which is off unless asked for. Throws `usage`, `port_unavailable`. */
export async function startFastchat(options: FastchatOptions): Promise<RunningFastchat> {
  const { worker, models, bind, report } = options
  const advertise = options.advertise === null ? null : address(options.advertise, 'the FastChat worker address')
  const controllerUrl = options.controllerUrl === null ? null : address(options.controllerUrl, 'the FastChat controller')
  if (advertise === null && ['0.0.0.0', '::'].includes(bind.host))
    throw fail('usage', `listening on ${bind.host}, the FastChat surface cannot know its address; say under which address others reach it`)
  const proofs = (): Proofs => {
    const { ledger, identity } = worker()
    return { ledger, keysetDigest: identity.keysetDigest }
  }
  const surface = createSurface({ proofs, models })
  const counted = options.wrap?.(surface.handler, isAnswer) ?? surface.handler
  const draining = options.draining ?? (() => false)
  const listening = await listen(bind, (request, response) => (draining() ? unavailable(request, response) : counted(request, response)))
  const workerName = `${advertise ?? listening.url}${surface.path}`
  const registration = controllerUrl === null ? null : keepRegistered({ controllerUrl, workerName, status: surface.status, report })
  return {
    listening,
    workerName,
    startLines: [
      // Without its path, which is all that keeps strangers out.
      `FastChat worker at ${new URL(workerName).origin}`,
      `  serves ${surface.modelNames.join(', ')}`,
      '  answers over FastChat carry NO PROOF but the id of a receipt in their last frame, which FastChat API servers drop',
      ...(isLoopbackHost(bind.host) ? [] : ['  it is open to everybody who learns its address']),
    ],
    leave: async () => registration?.stop(),
    close: async () => {
      await registration?.stop()
      await listening.close()
    },
  }
}

/** An address without path, query or credentials. A controller of others would otherwise be told secrets, or answer from somewhere else. */
function address(text: string, what: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['http:', 'https:'].includes(url.protocol) || `${url.origin}/` !== url.href)
    throw fail('usage', `${what}: expected http://host:port, found ${JSON.stringify(text.slice(0, 200))}`)
  return url.origin
}
