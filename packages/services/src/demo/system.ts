import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { RequestListener } from 'node:http'
import { basename } from 'node:path'
import type { Trust } from 'veritee/attestation'
import { createSimPlatform, type SimEnclave, type SimPlatform } from 'veritee/attestation/sim'
import type { Policy } from 'veritee/policy'
import { type Controller, createController } from '../controller/controller.ts'
import { type AdmissionRules, policyRules } from '../enclave/runtime/admission/rules.ts'
import { createQuoter } from '../enclave/runtime/quote.ts'
import { createSimDevice } from '../enclave/runtime/sim-device.ts'
import { VerifiedControllers } from '../enclave/worker/controllers.ts'
import { type Engine, loadChatTemplate } from '../enclave/worker/engine/index.ts'
import { registerWorker } from '../enclave/worker/register.ts'
import { type ServedModel, serveModel } from '../enclave/worker/served-model.ts'
import { createWorker, type Worker, type WorkerOptions } from '../enclave/worker/worker.ts'
import { openEngine } from '../engine-process/index.ts'
import { type Listening, listen } from '../http/listen.ts'
import type { ResolvedModel } from '../models/locate.ts'
import { codeDigest, simulatedEnclave } from './measure.ts'
import { demoPolicy } from './policy.ts'

/** A whole network in one process, on simulated hardware: what the demo shows and the end-to-end tests use. */

export interface SimulatedMachine {
  readonly platform: SimPlatform
  readonly trust: Trust
  readonly enclaves: {
    readonly controller: SimEnclave
    readonly worker: SimEnclave
    readonly broker: SimEnclave
    /** A worker whose code differs in one place: what nobody's policy lists. */
    readonly changedWorker: SimEnclave
  }
}

/** Makes the simulated hardware; its root is made here and kept in memory. */
export async function simulateMachine(now: () => Date): Promise<SimulatedMachine> {
  const platform = await createSimPlatform({ at: now() })
  const code = await codeDigest()
  const enclaves = {
    controller: simulatedEnclave('controller', code),
    worker: simulatedEnclave('worker', code),
    broker: simulatedEnclave('broker', code),
    changedWorker: simulatedEnclave('worker', `${code}, changed`),
  }
  return { platform, trust: { roots: [platform.root] }, enclaves }
}

export interface LoadedModel {
  readonly served: ServedModel
  readonly engine: Engine
  /** SHA-256 of the file as the relying party computes it, apart from the engine: what its policy lists. */
  readonly fileDigest: string
}

export async function loadModel(model: ResolvedModel): Promise<LoadedModel> {
  const engine = await openEngine({ path: model.path, sha256: model.sha256 })
  const template = loadChatTemplate(engine.model.chatTemplate, engine.vocabulary)
  return { engine, served: serveModel(model.name, basename(model.path), engine, template), fileDigest: await fileDigest(model.path) }
}

export async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(part as Buffer)
  return `sha256:${hash.digest('hex')}`
}

/** The policy that lists this machine's two programs and this model's weights. */
export function policyOf(machine: SimulatedMachine, models: readonly LoadedModel[]): Policy {
  return demoPolicy(machine.enclaves, Object.fromEntries(models.map(({ served, fileDigest: digest }) => [served.name, [digest]])))
}

export interface RunningWorker {
  readonly worker: Worker
  readonly server: Listening
}

function rulesOf({ trust }: SimulatedMachine, demands: Policy | AdmissionRules): AdmissionRules {
  return 'current' in demands ? demands : policyRules(async () => ({ policy: demands, trust }))
}

/**
 * `demands`: which controllers it serves, by the section controller; without them it is a direct service. `extras`: whose it is, and into which log its
 * receipts go. `before` stands where TLS has ended, and sees what the worker sees.
 */
export async function startWorker(
  machine: SimulatedMachine,
  models: readonly ServedModel[],
  port: number,
  now: () => Date,
  demands?: Policy | AdmissionRules,
  extras: Pick<WorkerOptions, 'operator' | 'log'> = {},
  before: (handler: RequestListener) => RequestListener = (handler) => handler,
): Promise<RunningWorker> {
  const { platform, enclaves } = machine
  const worker = await createWorker({
    quoter: createQuoter(createSimDevice(platform, enclaves.worker)),
    collateral: () => platform.collateral,
    models,
    configuration: { models: models.map(({ name }) => name), profile: models[0]?.engine.facts.profile ?? 'none' },
    now,
    callers: demands === undefined ? 'anybody' : new VerifiedControllers(rulesOf(machine, demands), now),
    ...extras,
  })
  const server = await listen(
    {
      host: '127.0.0.1',
      port,
      tls: worker.identity.tls,
      simulated: true,
      apiKeys: false,
      asksClientKey: demands !== undefined,
      // On loopback also to whoever it does not know, unlike the worker's own process.
      http2: { trusts: (connection) => worker.controllers?.admits(connection) === true },
    },
    before(worker.handler),
    worker.keysetDigestOf,
  )
  return { worker, server }
}

export interface RunningController {
  readonly controller: Controller
  readonly api: Listening
  readonly control: Listening
}

export async function startController(
  machine: SimulatedMachine,
  demands: Policy | AdmissionRules,
  ports: { readonly api: number; readonly control: number },
  now: () => Date,
): Promise<RunningController> {
  const { platform, enclaves } = machine
  const controller = await createController({
    quoter: createQuoter(createSimDevice(platform, enclaves.controller)),
    collateral: () => platform.collateral,
    rules: rulesOf(machine, demands),
    allowLoopbackWorkers: true,
    configuration: { allow_loopback_workers: true },
    now,
  })
  const bind = { host: '127.0.0.1', tls: null, simulated: true, apiKeys: false }
  const api = await listen({ ...bind, port: ports.api }, controller.api, controller.keysetDigestOf)
  try {
    return { controller, api, control: await listen({ ...bind, port: ports.control }, controller.control, controller.keysetDigestOf) }
  } catch (error) {
    await api.close()
    throw error
  }
}

/** Registers a running worker; gives the id of the session the controller opened after its own challenge. */
export async function admit(controller: RunningController, { worker, server }: RunningWorker): Promise<string> {
  const { sessionId } = await registerWorker(controller.control.url, server.url, worker)
  return sessionId
}
