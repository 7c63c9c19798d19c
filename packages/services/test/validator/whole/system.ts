// A network under one log, in one process: a log with three witnesses, a controller, workers of which one cheats, and validators that have nothing in common but HTTP.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { manifestPolicy, parseAdmissionManifest } from 'veritee/admission'
import { createLocalBeacon, type LocalBeacon } from 'veritee/beacon'
import { type Json, jcsDigest, toHex } from 'veritee/bytes'
import { ask, chatBody, epochFilesAt, establish, nodeTransport } from 'veritee/client'
import type { SigningKey } from 'veritee/crypto'
import type { Policy } from 'veritee/policy'
import { parseScoringPolicy, type Roster, rosterOf, type ScoringPolicy, signScoringPolicy } from 'veritee/scoring'
import { type DemoAdmission, signDemoAdmission } from '../../../src/demo/admission.ts'
import { type DemoLog, startDemoLog } from '../../../src/demo/log.ts'
import { signDemoScoringPolicy } from '../../../src/demo/scoring-policy.ts'
import {
  admit,
  fileDigest,
  type LoadedModel,
  loadModel,
  policyOf,
  type SimulatedMachine,
  simulateMachine,
  startController,
  startWorker,
} from '../../../src/demo/system.ts'
import { resolveModel } from '../../../src/models/locate.ts'
import { openReplayModel, type ReplayModel } from '../../../src/replay/index.ts'
import { listenForConfirmations } from '../../../src/validator/confirm/routes.ts'
import { localBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import { readBundle, replaceBundle, writeBundle } from '../../../src/validator/publish/directory.ts'
import { runValidator, type ValidatorOptions } from '../../../src/validator/service.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { withOtherTensor } from '../../replay/dequantize.ts'
import { passedOff } from '../../replay/worker.ts'
import { closeSite, serveSite } from '../combine/site.ts'
import { fixedKey } from '../keys.ts'

export const length = 3600
export const probes = 20
export const waitSeconds = 100
/** Seconds before the epoch in which validators commit to it. Their clock is put forward, and nobody waits. */
const lead = 1200

/** The clock of validators, log and witnesses. That of enclaves is in the epoch from the beginning. */
export class Clock {
  #atMs = Date.now()
  #since = performance.now()
  #pace = 1
  readonly now = (): Date => new Date(this.#atMs + this.#pace * (performance.now() - this.#since))

  to(unixSeconds: number): void {
    this.#atMs = Math.max(this.now().getTime(), unixSeconds * 1000)
    this.#since = performance.now()
  }

  /** How fast it goes. Where validators have seconds to do something it hardly does, so that nothing hangs on how fast this machine is. */
  go(pace: 'as usual' | 'hardly'): void {
    this.to(0)
    this.#pace = pace === 'hardly' ? 0.01 : 1
  }
}

export interface System {
  readonly clock: Clock
  readonly genesis: number
  readonly machine: SimulatedMachine
  readonly model: LoadedModel
  readonly admission: DemoAdmission
  readonly evidence: Policy
  readonly roster: Roster
  readonly log: DemoLog
  readonly controller: { readonly url: string; readonly operator: string }
  /** Operators, hex. */
  readonly honest: readonly string[]
  readonly cheat: string
  readonly folder: string
  /** What is to be closed again, the last first. */
  readonly closing: (() => unknown)[]
  /** What users ask, until so many answers verified. */
  users(count: number): Promise<void>
}

export async function startSystem(): Promise<System> {
  const closing: System['closing'] = []
  const clock = new Clock()
  const genesis = Math.floor(clock.now().getTime() / 1000) + lead
  const began = clock.now().getTime()
  // As that of validators while these ask; it does not leave the epoch with them.
  const [from, to] = [began + (lead + 30) * 1000, began + (lead + length / 2) * 1000]
  const inEpoch = (): Date => new Date(Math.min(to, Math.max(from, clock.now().getTime())))
  const folder = mkdtempSync(join(tmpdir(), 'veritee-whole-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const log = await startDemoLog(clock.now, closing as (() => Promise<unknown>)[], 3)
  const machine = await simulateMachine(clock.now)
  const found = await resolveModel('demo')
  const model = await loadModel(found)
  closing.push(() => model.engine.dispose())
  const otherPath = join(folder, 'other.gguf')
  writeFileSync(otherPath, withOtherTensor(readFileSync(found.path), 'blk.0.ffn_down.weight', 0x7f))
  const otherDigest = (await fileDigest(otherPath)).slice('sha256:'.length)
  // As fast as the honest ones: a controller asks whom it has seen to be fast.
  const { served: other, engine } = await loadModel({ ...found, path: otherPath, sha256: otherDigest })
  closing.push(() => engine.dispose())

  const operators = [100, 101, 102].map((seed) => fixedKey(seed))
  const names = operators.map(({ publicKey }) => toHex(publicKey))
  const ofController = toHex(fixedKey(110).publicKey)
  const { roles, ...policy } = policyOf(machine, [model])
  const sections = { ...roles, worker: { ...roles.worker, operator: [...names, ofController].sort() } }
  const admission = await signDemoAdmission(machine, { ...policy, roles: sections as Policy['roles'] }, clock.now)
  const { manifest } = await parseAdmissionManifest(admission.text)
  const { operators: takingPart, ...named } = rosterOf(await parseAdmissionManifest(admission.text))
  const roster: Roster = { ...named, operators: takingPart ?? [] }
  const evidence = manifestPolicy(manifest)

  const controller = await startController(machine, evidence, { api: 0, control: 0 }, inEpoch)
  closing.push(
    () => controller.controller.close(),
    () => controller.control.close(),
    () => controller.api.close(),
  )
  for (const [i, served] of [model.served, model.served, passedOff(other, model.served)].entries()) {
    const running = await startWorker(machine, [served], 0, inEpoch, evidence, { operator: operators[i] as SigningKey, log: log.link })
    closing.push(() => running.server.close())
    await admit(controller, running)
  }
  const { url } = controller.api
  const users = async (count: number): Promise<void> => {
    const transport = nodeTransport(url)
    const service = await establish(transport, { policy: evidence, trust: machine.trust, role: 'controller', now: inEpoch })
    for (let i = 0; i < count; i++) {
      const body = chatBody(model.served.name, `How are you, for the time number ${i}?`, { stream: false, maxTokens: 3, temperature: 0 })
      await ask(service, '/v1/chat/completions', body)
    }
    transport.close()
  }
  const [first = '', second = '', cheat = ''] = names
  const asked = { url, operator: ofController }
  return {
    ...{
      clock,
      genesis,
      machine,
      model,
      admission,
      evidence,
      roster,
      log,
      controller: asked,
      honest: [first, second],
      cheat,
      folder,
      closing,
      users,
    },
  }
}

/** A validator of its own operator, as the command runs it. */
export interface WholeValidator {
  readonly key: SigningKey
  readonly name: string
  readonly store: EpochStore
  readonly out: string
  /** Where its `--out` is served. */
  readonly url: string
  readonly lines: string[]
  /** Ends it as a kill does: it does nothing more, and nobody gets anything from it. */
  readonly die: () => void
  /** Runs one epoch. */
  readonly run: () => Promise<void>
}

export interface WholeNetwork {
  readonly validators: readonly WholeValidator[]
  readonly policy: ScoringPolicy
  readonly beacon: LocalBeacon
}

/** `lies`: what a validator keeps in the place of what it found, by its number. */
export async function startValidators(
  system: System,
  count: number,
  lies: (store: EpochStore, key: SigningKey, i: number) => EpochStore,
): Promise<WholeNetwork> {
  const { clock, genesis, machine, model, admission, evidence, roster, log, controller, folder, closing } = system
  const keys = Array.from({ length: count }, (_, i) => fixedKey(200 + i)).sort((a, b) => (toHex(a.publicKey) < toHex(b.publicKey) ? -1 : 1))
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(5), { period: 3, genesisTime: genesis - 3000 })
  const weights = await jcsDigest(model.served.described.files as unknown as Json)
  const { network } = admission.anchors
  const of = { network, genesis, length, log: log.policy, probability: '0.5', validator: '', weights, beacon: beacon.chain, signers: [] }
  const unsigned = JSON.parse(await signDemoScoringPolicy(of)) as object
  const listed = keys.map(({ publicKey }, i) => ({ key: toHex(publicKey), operator: toHex(fixedKey(300 + i).publicKey), weight: 1 }))
  let text = JSON.stringify({ ...unsigned, validators: listed })
  for (const signer of admission.signers) text = await signScoringPolicy(text, signer)
  const { policy } = await parseScoringPolicy(text)
  const { path } = await resolveModel('demo')

  const places = await Promise.all(
    keys.map(async (key, i) => {
      const store = lies(await openSqliteEpochStore(join(folder, `${count}-${i}.sqlite`)), key, i)
      const site = await serveSite(join(folder, `${count}-out-${i}`))
      const desk = { validator: toHex(key.publicKey), policy, roster, evidence: { trust: machine.trust, policy: evidence }, store, now: clock.now }
      const listening = await listenForConfirmations({ host: '127.0.0.1', port: 0, behindTls: false }, desk)
      const replay = await openReplayModel(path, 2048)
      closing.push(
        () => store.close(),
        () => closeSite(site),
        () => listening?.close(),
        () => replay.engine.dispose(),
      )
      return { key, store, site, listening, replay, confirmUrl: listening?.url ?? '' }
    }),
  )
  const validators = places.map(({ key, store, site, listening, replay }): WholeValidator => {
    const stop = new AbortController()
    const lines: string[] = []
    const others = places.filter((one) => one.key !== key)
    const bounds = { fileMs: 120_000, waitMs: 600_000, bytes: 2 ** 28 }
    const options: ValidatorOptions = {
      ...{ key, store, roster, controllers: [controller], workers: [] },
      beacon: localBeacon(beacon, clock.now),
      scoring: { text, policy },
      evidence: { trust: machine.trust, policy: evidence },
      apiKeys: async () => [],
      accountsPerEpoch: 1,
      warmEpochs: 0,
      models: modelsOf(model, replay),
      calibrations: [],
      log: log.place,
      contents: null,
      probesPerEpoch: probes,
      templates: null,
      traffic: null,
      canariesPerEpoch: 0,
      encrypted: { controller: 0.2, worker: 0.2 },
      probingPart: 0.001,
      parallel: 2,
      now: clock.now,
      clockMs: () => performance.now(),
      signal: stop.signal,
      report: (line) => void lines.push(line),
      publish: async (epoch, { written }) => void (await writeBundle(join(site.out, `epoch-${epoch}`), written.bundle)),
      publishAgain: async () => undefined,
      peers: {
        urls: others.map((one) => one.site.url),
        waitSeconds,
        filesAt: (url, signal) => epochFilesAt(url, { bounds, signal }),
        publish: async (name, bundle) => void (await replaceBundle(join(site.out, name), bundle)),
        read: (name) => readBundle(join(site.out, name)),
      },
      confirmers: others.map(({ confirmUrl }) => confirmUrl),
    }
    const die = (): void => {
      stop.abort(new Error('killed'))
      closeSite(site)
      void listening?.close()
    }
    return { key, name: toHex(key.publicKey), store, out: site.out, url: site.url, lines, die, run: () => runValidator(options, 1) }
  })
  return { validators, policy, beacon }
}

function modelsOf({ served }: LoadedModel, replay: ReplayModel): ValidatorOptions['models'] {
  return new Map([[`sha256:${replay.engine.model.sha256}`, { name: served.name, replay }]])
}
