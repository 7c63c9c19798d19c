import type { Json } from 'veritee/bytes'
import type { ErrorCode } from 'veritee/errors'
import { fail } from 'veritee/errors'
import type { SignedManifest } from 'veritee/seal'
import type { Decision } from '../enclave/broker/index.ts'
import { loadSealedModel } from '../enclave/worker/load-sealed.ts'
import { openEngine } from '../engine-process/index.ts'
import { type ResolvedModel, resolveModel } from '../models/locate.ts'
import { showProgress } from '../models/progress.ts'
import { keysFor, type RunningBroker, refusedTo, startBroker, type Upload, uploadKey } from './broker.ts'
import type { DemoOptions } from './options.ts'
import { type SealedDemoModel, type SealingPlaces, sealForDemo } from './sealed-model.ts'
import type { Steps } from './steps.ts'
import { fileDigest, type LoadedModel, loadModel, type SimulatedMachine } from './system.ts'

/** What the demo knows of how the worker came by its model key. */
export interface Release {
  readonly manifest: SignedManifest
  readonly broker: RunningBroker
  readonly upload: Upload
  /** The broker's decision to give the key to the worker. */
  readonly released: Decision
  /** Its decision about an enclave with other code. */
  readonly refused: Decision
  /** The trail as the admin interface gives it. */
  readonly trail: { readonly audit: readonly Json[]; readonly refusals: readonly Json[] }
}

/** The model that the worker serves; `release` is a text where it could not be served sealed, which says why. */
export interface Provided {
  readonly model: LoadedModel
  readonly release: Release | string
  /** The plain file. */
  readonly path: string
}

export interface Setting {
  readonly machine: SimulatedMachine
  readonly steps: Steps
  readonly closing: (() => Promise<unknown>)[]
  readonly now: () => Date
  readonly stderr: NodeJS.WriteStream
  readonly signal: AbortSignal | undefined
  readonly places: SealingPlaces
}

/**
 * From a model file to a model in a worker: sealed by its publisher; its key given by its owner to a broker that the owner has verified; refused to other
 * code; released to the worker, which decrypts into memory. Where this machine has no memory file system with room, the plain file is served, and it says so.
 */
export async function provideModel(options: DemoOptions, setting: Setting): Promise<Provided> {
  const { steps, closing, stderr, signal, places } = setting
  const { plain, digest, sealed } = await steps.run(
    'model sealed by its publisher',
    async () => {
      const found = await find(options.model, stderr, signal)
      return { plain: found, sealed: await sealForDemo(found, stderr, signal, places), digest: await fileDigest(found.path) }
    },
    ({ plain: { name }, sealed: made, digest: found }) => [
      `${name}: ${found}`,
      ...(typeof made === 'string'
        ? [`NOT SEALED on this machine: ${made}`]
        : [`publisher ${made.manifest.publisher}, model key ${made.manifest.key_id}, both made for this run`]),
    ],
  )
  if (typeof sealed === 'string') {
    const model = await steps.run('worker: plain model loaded, every byte hashed', () => loadModel(plain), describeLoaded)
    closing.push(() => model.engine.dispose())
    return { model, release: sealed, path: plain.path }
  }
  closing.push(sealed.remove)
  return { ...(await releaseModel(sealed, digest, options, setting)), path: plain.path }
}

async function releaseModel(sealed: SealedDemoModel, plainDigest: string, options: DemoOptions, setting: Setting): Promise<Omit<Provided, 'path'>> {
  const { machine, steps, closing, now, signal, places } = setting
  const { manifest } = sealed
  const broker = await steps.run(
    'key broker enclave up',
    () => startBroker(machine, options.ports.broker, now),
    (up) => [`${up.kbs.url}, keyset ${up.broker.identity.keysetDigest}`],
  )
  closing.push(
    () => broker.broker.close(),
    () => broker.kbs.close(),
    () => broker.admin.close(),
  )
  const upload = await steps.run(
    'model owner: broker verified, then the model key uploaded',
    () => uploadKey(machine, broker, sealed, now),
    ({ admin: { service }, resource }) => [
      `${service.verdict.simulated ? 'SIMULATED ' : ''}${service.report.descriptor.role}, MRENCLAVE ${machine.enclaves.broker.mrenclave}, over a fresh nonce`,
      `${resource.resource} version ${resource.version}, to be released to MRENCLAVE ${machine.enclaves.worker.mrenclave} only`,
    ],
  )
  closing.push(async () => upload.admin.close())
  const configuration = { model: manifest.name }
  const refused = await steps.run(
    'other code asks for the model key and is refused',
    async () => {
      const code = await refusedTo(keysFor(machine, machine.enclaves.changedWorker, broker.kbs.url, configuration), manifest.key_id)
      return decisionOf(broker, 'refusal', code)
    },
    describeRefusal,
  )
  const model = await steps.run(
    'worker: key released, weights decrypted into memory, every byte hashed',
    async () => {
      const served = await loadSealedModel({
        path: sealed.directory,
        trust: { publishers: [manifest.publisher], minimumVersion: manifest.model_version },
        requestKey: keysFor(machine, machine.enclaves.worker, broker.kbs.url, configuration),
        memoryDirectory: places.memoryDirectory,
        openEngine,
        toleratesSwap: true,
        ...(signal === undefined ? {} : { signal }),
      })
      return { served, engine: served.engine, fileDigest: plainDigest }
    },
    (loaded) => [...describeRelease(decisionOf(broker, 'release', null)), ...describeLoaded(loaded), sameWeights(loaded)],
  )
  closing.push(() => model.engine.dispose())
  const trail = await upload.admin.audit()
  // Nobody needs it from here on.
  upload.admin.close()
  await broker.admin.close()
  return { model, release: { manifest, broker, upload, released: decisionOf(broker, 'release', null), refused, trail } }
}

async function find(spec: string, stderr: NodeJS.WriteStream, signal: AbortSignal | undefined): Promise<ResolvedModel> {
  const progress = spec.startsWith('hf:') ? showProgress(spec, stderr) : null
  try {
    return await resolveModel(spec, { ...(progress === null ? {} : { onProgress: progress.update }), ...(signal === undefined ? {} : { signal }) })
  } finally {
    progress?.end()
  }
}

function decisionOf({ decisions }: RunningBroker, event: 'release' | 'refusal', code: ErrorCode | null): Decision {
  const found = decisions.find((decision) => decision.event === event && decision.code === code)
  if (found === undefined) throw new Error(`the broker told of no ${event}`)
  return found
}

function ids({ checks }: Decision, status: 'pass' | 'fail' | 'waived'): string {
  return checks
    .filter((check) => check.status === status)
    .map((check) => check.id)
    .join(', ')
}

function describeRefusal(refused: Decision): string[] {
  return [`refused MRENCLAVE ${refused.measurement}: ${refused.code} (failed: ${ids(refused, 'fail')})`]
}

function describeRelease(released: Decision): string[] {
  return [
    `broker released ${released.resource} version ${released.version} to MRENCLAVE ${released.measurement}${released.simulated === true ? ', SIMULATED' : ''}`,
    `passed: ${ids(released, 'pass')}`,
    `waived: ${ids(released, 'waived')}`,
  ]
}

function describeLoaded({ served, engine }: LoadedModel): string[] {
  return [
    `${served.name}: sha256:${engine.model.sha256} (${engine.model.size} bytes), sealed: ${engine.model.sealed}`,
    `${engine.facts.name} ${engine.facts.version}, CPU variant ${engine.facts.cpuVariant}, profile ${engine.facts.profile}`,
  ]
}

/** The relying party's list is made from the plain file, so it would reject other weights too; here it is said at once. */
function sameWeights({ engine, fileDigest: plain }: LoadedModel): string {
  if (`sha256:${engine.model.sha256}` !== plain)
    throw fail('model_hash_mismatch', `expected the weights of the plain file, ${plain}, found sha256:${engine.model.sha256}`)
  return 'these are the bytes of the plain file'
}
