import type { IncomingMessage, ServerResponse } from 'node:http'
import { request } from 'undici'
import { chatBody } from 'veritee/client'
import { eventOf, parseReceipt, type Receipt } from 'veritee/receipt'
import { type Controller, createController } from '../../src/controller/controller.ts'
import type { AdmittedWorker } from '../../src/controller/registry.ts'
import type { RoutingLimits } from '../../src/controller/routing/limits.ts'
import { startWorker } from '../../src/demo/system.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { type Listening, type ListenLimits, listen } from '../../src/http/listen.ts'
import { type Network, now, rulesOf } from '../e2e/network.ts'

/** What a worker does with a request; without one it answers as it should. */
export type Behaviour = ((incoming: IncomingMessage, response: ServerResponse) => void) | null

/** A worker with genuine evidence, whose answers are made up where `behaviour` says so. */
export interface FrontedWorker {
  admitted: AdmittedWorker
  behaviour: Behaviour
  /** Requests that reached it. */
  reached: number
  /** As a worker does whose session was ended. */
  admitAgain(): Promise<void>
}

/** A controller of its own in front of such workers. */
export interface Routed {
  readonly controller: Controller
  readonly url: string
  readonly workers: readonly FrontedWorker[]
  close(): Promise<void>
}

export async function startRouted(
  network: Network,
  options: {
    readonly limits?: Partial<RoutingLimits>
    readonly workers: number
    readonly served?: readonly ServedModel[]
    readonly listen?: ListenLimits
    /** Workers that speak HTTP/1.1 only, for those whose behaviour is bytes of it. */
    readonly plain?: true
  },
): Promise<Routed> {
  const { machine, model } = network
  const controller = await createController({
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.controller)),
    collateral: () => machine.platform.collateral,
    rules: rulesOf(network),
    allowLoopbackWorkers: true,
    configuration: {},
    routing: { limits: options.limits ?? {} },
    now,
  })
  const api = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: true }, controller.api, null, options.listen)
  const closing: Listening[] = [api]
  const workers: FrontedWorker[] = []
  for (let i = 0; i < options.workers; i++) {
    const { worker, server } = await startWorker(machine, options.served ?? [model.served], 0, now)
    const tls = worker.identity.tls
    const offered = options.plain === true ? {} : { http2: { trusts: () => true } }
    const bind = { host: '127.0.0.1', port: 0, tls, simulated: true, apiKeys: true, ...offered }
    const front = await listen(bind, (incoming, response) => {
      if (incoming.method !== 'POST') return worker.handler(incoming, response)
      const one = workers[i]
      if (one !== undefined) one.reached++
      if (one === undefined || one.behaviour === null) return worker.handler(incoming, response)
      incoming.resume()
      return one.behaviour(incoming, response)
    })
    closing.push(server, front)
    const admit = (): Promise<AdmittedWorker> => controller.registry.admit(front.url, worker.identity.keysetDigest)
    const one: FrontedWorker = {
      admitted: await admit(),
      behaviour: null,
      reached: 0,
      admitAgain: async () => {
        one.admitted = await admit()
      },
    }
    workers.push(one)
  }
  return {
    controller,
    url: api.url,
    workers,
    close: async () => {
      for (const listening of closing) await listening.close()
      await controller.close()
    },
  }
}

/** Differs from the last, so that it goes anywhere. */
let asked = 0

export async function post(
  { url }: Pick<Routed, 'url'>,
  more: {
    readonly stream?: boolean
    readonly maxTokens?: number
    readonly model?: string
    readonly token?: string
    readonly signal?: AbortSignal
  } = {},
): Promise<{
  readonly status: number
  readonly code: string | null
  readonly retryAfter: string | null
  readonly receipt: string | null
  readonly text: string
}> {
  const { stream = false, maxTokens = 4, model = 'veritee-demo', token, signal } = more
  const body = Buffer.from(chatBody(model, `${asked++}: who are you?`, { stream, maxTokens, temperature: 0 }))
  const answer = await request(`${url}/v1/chat/completions`, {
    method: 'POST',
    body,
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    ...(signal === undefined ? {} : { signal }),
  })
  const text = await answer.body.text()
  const header = (name: string): string | null => {
    const value = answer.headers[name]
    return typeof value === 'string' ? value : null
  }
  const code = /"code":"([a-z_]+)"/.exec(text)?.[1] ?? null
  return { status: answer.statusCode, code, retryAfter: header('retry-after'), receipt: header('x-receipt-id'), text }
}

export async function receiptOf({ url }: Pick<Routed, 'url'>, id: string | null): Promise<Receipt> {
  const answer = await request(`${url}/v1/aci/receipts/${id}`)
  return parseReceipt(await answer.body.text())
}

export async function outcomeOf(routed: Pick<Routed, 'url'>, id: string | null): Promise<string | undefined> {
  return eventOf(await receiptOf(routed, id), 'veritee.outcome')?.outcome
}
