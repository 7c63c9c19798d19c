import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { certificatePem } from 'veritee/attestation/issue'
import type { Json } from 'veritee/bytes'
import { type Answer, ask, chatBody, establish, nodeTransport, type Service } from 'veritee/client'
import { generateEd25519 } from 'veritee/crypto'
import { fail, VeriteeError } from 'veritee/errors'
import type { Policy } from 'veritee/policy'
import { leaveController } from '../enclave/worker/register.ts'
import { checkEmpty } from '../validator/epoch/bundle-files.ts'
import { writeBundle } from '../validator/publish/directory.ts'
import { type DemoAdmission, signDemoAdmission } from './admission.ts'
import { DemoClock } from './clock.ts'
import { type DemoEpoch, type DemoValidator, judgeFleet, runDemoEpoch, startDemoValidator } from './epoch.ts'
import { type FleetWorker, replayModelOf, startFleet } from './fleet.ts'
import { startDemoLog } from './log.ts'
import type { DemoOptions } from './options.ts'
import { describeCommitment, describeEpoch, describeFleet } from './present-epoch.ts'
import { provideModel, type Release } from './provide.ts'
import { keyOf } from './scoring-policy.ts'
import { type SealingPlaces, sealingPlaces } from './sealed-model.ts'
import { type Step, Steps } from './steps.ts'
import {
  admit,
  type LoadedModel,
  policyOf,
  type RunningController,
  type RunningWorker,
  type SimulatedMachine,
  simulateMachine,
  startController,
  startWorker,
} from './system.ts'

/** What the demo shows, as data. */
export interface DemoResult {
  readonly steps: readonly Step[]
  readonly machine: SimulatedMachine
  readonly policy: Policy
  /** Under which worker and controller admit each other. */
  readonly admission: DemoAdmission
  readonly model: LoadedModel
  /** How the worker came by the model's key; a text that says why the model is not sealed, where it is not. */
  readonly release: Release | string
  readonly controller: RunningController
  readonly worker: RunningWorker
  readonly service: Service
  readonly answer: Answer
  readonly validator: DemoValidator
  readonly fleet: readonly FleetWorker[]
  readonly epoch: DemoEpoch
  /** Where policy, root and proofs lie, for the command line. */
  readonly directory: string
  close(): Promise<void>
}

const question = 'What is remote attestation?'
const reverifyMs = 30 * 60_000

/** Starts the system, runs the whole flow and verifies it. Throws the first failure, with everything closed again; the signal ends sealing and loading. */
export async function runDemo(
  options: DemoOptions,
  print: (line: string) => void,
  stderr: NodeJS.WriteStream,
  { signal, places = sealingPlaces }: { readonly signal?: AbortSignal; readonly places?: SealingPlaces } = {},
): Promise<DemoResult> {
  const now = (): Date => new Date()
  const directory = join('.veritee', `demo-${options.ports.api}`)
  if (options.out !== null) await checkEmpty(options.out)
  const steps = new Steps(print, () => performance.now())
  const closing: (() => Promise<unknown>)[] = []
  const close = async (): Promise<void> => {
    for (const stop of closing.splice(0).reverse()) await stop()
  }
  try {
    const machine = await steps.run(
      'simulated SGX machine',
      () => simulateMachine(now),
      ({ platform, enclaves }) => [
        `root made in memory, FMSPC ${platform.fmspc}; nobody but this process holds its key`,
        `MRENCLAVE controller ${enclaves.controller.mrenclave}`,
        `MRENCLAVE worker     ${enclaves.worker.mrenclave}`,
        `MRENCLAVE broker     ${enclaves.broker.mrenclave}`,
      ],
    )
    const { model, release, path } = await provideModel(options, { machine, steps, closing, now, stderr, signal, places })
    const policy = policyOf(machine, [model])
    const admission = await steps.run(
      'admission manifest signed',
      () => signDemoAdmission(machine, policy, now),
      ({ anchors: { keys, network } }) => [`network ${network}, version 1, signed by 2 of ${keys.length} keys, made for this run`],
    )
    const clock = new DemoClock()
    const log = await steps.run(
      'transparency log up, with a witness',
      () => startDemoLog(clock.now, closing),
      ({ policy: { key, witnesses } }) => [key, `${witnesses.join()}: in this process, like the log, so that it vouches for nothing`],
    )
    const validator = await steps.run(
      'validator: commits to the seed of its epoch, in the log',
      () => startDemoValidator(clock, admission.anchors.network, log, closing),
      describeCommitment,
    )
    const operator = await generateEd25519()
    const worker = await steps.run(
      'worker enclave up',
      async () => startWorker(machine, [model.served], options.ports.workers[0] ?? 0, now, await admission.rules(), { operator, log: log.link }),
      (up) => [`${up.server.url}, keyset ${up.worker.identity.keysetDigest}`],
    )
    closing.push(() => worker.server.close())
    const controller = await steps.run(
      'controller enclave up',
      async () => startController(machine, await admission.rules(), options.ports, now),
      (up) => [`API ${up.api.url}, control ${up.control.url}, keyset ${up.controller.identity.keysetDigest}`],
    )
    closing.push(
      () => controller.controller.close(),
      () => controller.control.close(),
      () => controller.api.close(),
    )
    await steps.run(
      'worker and controller verify each other; worker admitted',
      () => admit(controller, worker),
      (session) => [`session ${session}`],
    )
    const timer = setInterval(() => {
      admit(controller, worker).catch((error: unknown) =>
        print(`✗ re-verification of the worker failed: ${error instanceof Error ? error.message : ''}`),
      )
    }, reverifyMs)
    closing.push(async () => clearInterval(timer))

    const transport = nodeTransport(controller.api.url)
    closing.push(async () => transport.close())
    const service = await steps.run(
      'client: controller verified with a fresh nonce',
      () => establish(transport, { policy, trust: machine.trust, role: 'controller', now }),
      describeService,
    )
    const body = chatBody(model.served.name, question, { stream: true, maxTokens: 64, temperature: 0 })
    const answer = await steps.run(`client: "${question}"`, () => ask(service, '/v1/chat/completions', body), describeAnswer)
    const setting = {
      // Served plain, the weights lie on the disk anyway.
      memoryDirectory: typeof release === 'string' ? tmpdir() : places.memoryDirectory,
      machine,
      rules: () => admission.rules(),
      controller,
      model,
      path,
      log: log.link,
      now,
      closing,
    }
    const others = await steps.run('two more operators: an honest worker, and one that runs other weights', () => startFleet(setting), describeFleet)
    const fleet = [{ name: 'first', operator, running: worker, cheats: false }, ...others]
    const replay = await replayModelOf(setting)
    const epoch = await steps.run(
      'validator: one epoch of probes, audits and scores',
      async () => {
        const done = await runDemoEpoch({
          validator,
          machine,
          policy,
          admission,
          controller: { url: controller.api.url, operator: keyOf(await generateEd25519()) },
          model: { name: model.served.name, files: model.served.described.files as unknown as Json },
          replay,
          fleet,
          log,
          keep: (bundle) => writeBundle(options.out ?? join(directory, 'epoch'), bundle),
          organic: () => askUntilVerified(service, model.served.name),
        })
        const wrong = judgeFleet(fleet, done)
        if (wrong !== null) throw fail('policy_receipt', `the validator's epoch did not end as it must: ${wrong}`)
        return done
      },
      (done) => describeEpoch(fleet, done),
    )
    // They were here for the epoch.
    for (const { running } of others) {
      await leaveController(controller.control.url, running.server.url, running.worker).catch(() => undefined)
      await running.server.close()
    }
    await keep(directory, { machine, policy, admission, service, answer })
    closing.push(() => rm(directory, { recursive: true, force: true }))
    return {
      steps: steps.done,
      machine,
      policy,
      admission,
      model,
      release,
      controller,
      worker,
      service,
      answer,
      validator,
      fleet,
      epoch,
      directory,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** A user's question while the epoch is under way. Whoever gets an answer of the cheat asks again. */
async function askUntilVerified(service: Service, model: string): Promise<void> {
  const body = chatBody(model, 'Who are you?', { stream: true, maxTokens: 4, temperature: 0 })
  for (let left = 3; left > 0; left--) {
    try {
      await ask(service, '/v1/chat/completions', body)
      return
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
    }
  }
}

/** Files for `veritee`: nothing secret among them. */
async function keep(
  directory: string,
  { machine, policy, admission, service, answer }: Pick<DemoResult, 'machine' | 'policy' | 'admission' | 'service' | 'answer'>,
): Promise<void> {
  await mkdir(directory, { recursive: true })
  const { network, keys, threshold, minimumVersion: minimum_version } = admission.anchors
  const files: Record<string, string> = {
    'policy.json': `${JSON.stringify(policy, null, 2)}\n`,
    'manifest.json': admission.text,
    'root.pem': certificatePem(machine.platform.root),
    'trust.json': `${JSON.stringify({ network, keys, threshold, minimum_version }, null, 2)}\n`,
    'report.json': service.reportText,
    'receipt.json': answer.records.receipt,
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text)
}

function describeService({ verdict, report }: Service): string[] {
  const count = (status: string): number => verdict.checks.filter((check) => check.status === status).length
  return [
    `${verdict.simulated ? 'SIMULATED ' : ''}${report.descriptor.role}, TCB ${report.claims.tcb.status}: ${count('pass')} checks passed, ${count('waived')} waived`,
    `waived: ${verdict.checks
      .filter((check) => check.status === 'waived')
      .map((check) => check.id)
      .join(', ')}`,
  ]
}

function describeAnswer({ proof, responseBody }: Answer): string[] {
  return [
    `answer: ${streamText(responseBody)}`,
    ...proof.checks.map((check) => `✓ ${check.id}: ${check.detail}`),
    `${proof.outcome}${proof.simulated ? ', SIMULATED' : ''}: receipt ${proof.receipt.receiptId}`,
  ]
}

/** The text of a stream of chat chunks. */
export function streamText(body: Uint8Array): string {
  const events = new TextDecoder().decode(body).split('\n\n')
  const texts = events.map((event) => {
    if (!event.startsWith('data: {')) return ''
    const chunk = JSON.parse(event.slice(6)) as { choices?: { delta?: { content?: string } }[] }
    return chunk.choices?.[0]?.delta?.content ?? ''
  })
  return texts.join('')
}
