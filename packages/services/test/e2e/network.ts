import type { RequestListener } from 'node:http'
import type { Transport, TransportRequest, TransportResponse } from 'veritee/client'
import { type ConnectOptions, nodeTransport } from 'veritee/client'
import type { Policy } from 'veritee/policy'
import type { AdmittedWorker, Registry } from '../../src/controller/registry.ts'
import {
  admit,
  type LoadedModel,
  loadModel,
  policyOf,
  type RunningController,
  type RunningWorker,
  type SimulatedMachine,
  simulateMachine,
  startController,
  startWorker,
} from '../../src/demo/system.ts'
import { type AdmissionRules, policyRules } from '../../src/enclave/runtime/admission/rules.ts'
import { resolveModel } from '../../src/models/locate.ts'

/** A whole simulated network on free ports, in this process, with the demo model. */
export interface Network {
  readonly machine: SimulatedMachine
  readonly model: LoadedModel
  readonly policy: Policy
  readonly worker: RunningWorker
  readonly controller: RunningController
  readonly sessionId: string
  options(changes?: Partial<ConnectOptions>): ConnectOptions
  close(): Promise<void>
}

export const now = (): Date => new Date()

export interface NetworkOptions {
  /** Stands before the worker, where TLS has ended: it sees what the worker sees. */
  readonly beforeWorker?: (handler: RequestListener) => RequestListener
}

/** `change` puts other models, which share the loaded one's weights, in its place. */
export async function startNetwork(
  change: (model: LoadedModel) => readonly LoadedModel[] = (model) => [model],
  { beforeWorker = (handler) => handler }: NetworkOptions = {},
): Promise<Network> {
  const machine = await simulateMachine(now)
  const model = await loadModel(await resolveModel('demo'))
  const models = change(model)
  const policy = policyOf(machine, models)
  const worker = await startWorker(
    machine,
    models.map(({ served }) => served),
    0,
    now,
    undefined,
    {},
    beforeWorker,
  )
  const controller = await startController(machine, policy, { api: 0, control: 0 }, now)
  const sessionId = await admit(controller, worker)
  return {
    machine,
    model,
    policy,
    worker,
    controller,
    sessionId,
    options: (changes = {}) => ({ policy, trust: machine.trust, role: 'controller', now, ...changes }),
    close: async () => {
      await controller.api.close()
      await controller.control.close()
      await controller.controller.close()
      await worker.server.close()
      await model.engine.dispose()
    },
  }
}

/** What the network's controller demands, for one that a test makes. */
export function rulesOf({ policy, machine }: Network): AdmissionRules {
  return policyRules(async () => ({ policy, trust: machine.trust }))
}

/** Admitted with a ticket, as a worker that registers brings one: without, so many challenges would soon be too many of one address. */
export function admitted(registry: Registry, { server, worker }: RunningWorker): Promise<AdmittedWorker> {
  return registry.admit(server.url, worker.identity.keysetDigest, { ticket: worker.tickets.give() })
}

export async function bytesOf(response: TransportResponse): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of response.body) parts.push(part)
  return Buffer.concat(parts)
}

/** Somebody between client and service: sees every request, may edit it, and may edit every answer. */
export interface Meddler {
  readonly request?: (request: TransportRequest) => TransportRequest
  readonly response?: (request: TransportRequest, body: Buffer, status: number) => Buffer | Promise<Buffer>
}

export function meddled(url: string, meddler: Meddler): Transport & { readonly sent: TransportRequest[] } {
  const inner = nodeTransport(url)
  const sent: TransportRequest[] = []
  return {
    sent,
    origin: inner.origin,
    loopback: inner.loopback,
    get spki() {
      return inner.spki
    },
    close: () => inner.close(),
    send: async (request) => {
      sent.push(request)
      const answer = await inner.send(meddler.request?.(request) ?? request)
      const edit = meddler.response
      if (edit === undefined) return answer
      const edited = await edit(request, await bytesOf(answer), answer.status)
      return {
        ...answer,
        body: (async function* () {
          yield edited
        })(),
      }
    },
  }
}
