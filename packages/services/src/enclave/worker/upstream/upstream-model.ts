import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'
import type { Capability, DescribedExternalEngine, DescribedModel, ExternalEngine, ModelEvent } from 'veritee/receipt'
import { detectEngine } from './kinds/detect.ts'
import { type EngineKind, kindFacts } from './kinds/kinds.ts'
import { hashMeasured, type MeasuredEngine, type MeasuredSources } from './place/measured-files.ts'
import type { MountView } from './place/measured-mount.ts'
import type { Placement } from './place/placement.ts'
import type { EngineAddress, EngineTimes } from './wire/connection.ts'

export interface UpstreamOptions {
  /** Name in requests to this worker. */
  readonly name: string
  readonly kind: EngineKind
  /** `unix:/run/vllm.sock` or `http://127.0.0.1:8000`. */
  readonly address: string
  /** The engine's own name for the model; the same as `name` where not given. */
  readonly engineModel?: string
  /** `sha256:` of the engine's executable or image, by the operator's word. In a confidential VM it must be what is measured. */
  readonly digest: string
  /** All that the engine can do, where that is not what its kind and its answers at start tell. */
  readonly capabilities?: readonly Capability[]
  /** Engine and model inside the measured image. Required in a confidential VM. */
  readonly measured?: MeasuredSources
  /** Requests that run at one time; more are refused with 429. */
  readonly maxConcurrent?: number
  readonly times?: Partial<EngineTimes>
}

/** A model that an engine of another process runs, found and asked what it is, before it is known where this worker runs. */
export interface UpstreamModel {
  readonly kind: 'upstream'
  readonly name: string
  readonly engineKind: EngineKind
  readonly engineModel: string
  readonly address: EngineAddress
  readonly version: string
  readonly digest: string
  readonly capabilities: readonly Capability[]
  readonly measured: MeasuredEngine | null
  readonly maxConcurrent: number
  readonly times: EngineTimes
}

const defaultTimes: EngineTimes = { connectMs: 5_000, headersMs: 600_000, idleMs: 120_000, totalMs: 3_600_000 }

/**
 * Connects a worker with an engine on its own machine: asks it what it is, and, where the image says where engine and model lie, hashes both on their
 * measured mounts. No model is loaded here, and nothing is yet allowed: see {@link placeUpstream}.
 * Throws `usage` (address off this machine, capabilities that this kind has not), `engine_unavailable`, `engine_not_measured`, `model_unavailable`.
 */
export async function openUpstreamModel(options: UpstreamOptions, view?: MountView): Promise<UpstreamModel> {
  const { name, kind, engineModel = name, digest, maxConcurrent = 256 } = options
  if (!/^sha256:[0-9a-f]{64}$/.test(digest)) throw fail('usage', `engine of ${name}: expected a digest of sha256: and 64 hex digits`)
  const address = parseAddress(options.address)
  const { always, possible } = kindFacts[kind]
  const foreign = options.capabilities?.find((capability) => !always.includes(capability) && !possible.includes(capability))
  if (foreign !== undefined) throw fail('usage', `engine of ${name}: a ${kind} cannot be ${foreign} over this API`)
  const measured = options.measured === undefined ? null : await hashMeasured(options.measured, view)
  if (measured !== null && measured.build !== digest)
    throw fail('engine_not_measured', `engine of ${name}: expected ${digest}, found ${measured.build}`)
  const detected = await detectEngine(kind, address)
  return {
    kind: 'upstream',
    name,
    engineKind: kind,
    engineModel,
    address,
    version: detected.version,
    digest,
    capabilities: (options.capabilities ?? detected.capabilities).toSorted(),
    measured,
    maxConcurrent,
    times: { ...defaultTimes, ...options.times },
  }
}

/** An engine on another machine is outside whatever is attested, and so is everything on the way to it. */
function parseAddress(text: string): EngineAddress {
  const socketPath = text.startsWith('unix:') ? text.slice(5) : null
  if (socketPath !== null) {
    // The kernel's bound is 107 bytes.
    if (!socketPath.startsWith('/') || Buffer.byteLength(socketPath) > 107)
      throw fail('usage', `${text}: expected unix: and an absolute path of at most 107 bytes`)
    return { transport: 'unix', socketPath }
  }
  const url = URL.canParse(text) ? new URL(text) : null
  if (url?.protocol !== 'http:' || `${url.origin}/` !== url.href || !isLoopbackHost(url.hostname))
    throw fail('usage', `${text}: expected an engine on this machine, unix:/path or http://127.0.0.1:port`)
  return { transport: 'loopback', host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 80) }
}

/** The same model once it is known where worker and engine run: what descriptor and receipts say. */
export interface PlacedModel {
  readonly model: UpstreamModel
  readonly described: DescribedModel
  readonly external: ExternalEngine
  readonly listed: DescribedExternalEngine
  readonly event: ModelEvent
  /** Requests that run now. */
  readonly running: Set<object>
}

/**
 * Allows an upstream model in its place, or does not (rule S2). In a confidential VM the engine must be part of the measured image, and its weights are
 * known only if they are; in a simulation nothing is measured, and both are somebody's word.
 * Throws `engine_not_measured`.
 */
export function placeUpstream(model: UpstreamModel, placement: Placement): PlacedModel {
  if (placement === 'confidential_vm' && model.measured === null)
    throw fail('engine_not_measured', `engine of ${model.name}: in a confidential VM it must be part of the measured image; say where (measured)`)
  const measured = placement === 'confidential_vm' ? model.measured : null
  const weights = measured?.weights ?? null
  const external: ExternalEngine = {
    engine: { name: model.engineKind, version: model.version, build: measured?.build ?? model.digest, cpu_variant: 'external' },
    engine_provenance: measured === null ? 'provider_asserted' : 'measured_mount',
    weights_provenance: weights === null ? 'provider_asserted' : 'measured_mount',
    placement,
    transport: model.address.transport,
    capabilities: model.capabilities,
    replayable: model.capabilities.includes('deterministic') && model.capabilities.includes('tokenIds'),
  }
  const described: DescribedModel = {
    name: model.name,
    files: weights?.files ?? [],
    format: weights?.format ?? 'unknown',
    sealed: false,
    chat_template_digest: null,
  }
  return {
    model,
    described,
    external,
    listed: { model: model.name, ...external },
    event: { type: 'veritee.model', ...described, provenance: external.weights_provenance },
    running: new Set(),
  }
}
