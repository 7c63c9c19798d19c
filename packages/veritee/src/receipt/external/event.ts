import { Shape } from '../../bytes/shape.ts'
import { type EngineFacts, parseEngineFacts } from '../descriptor.ts'
import { type Outcome, outcomes, type ParameterValue, readParameters, readSeed, readStrings } from '../inference-members.ts'

/** What an engine may be able to do, sorted. */
export const capabilities = ['deterministic', 'embeddings', 'logprobs', 'promptLogprobs', 'tokenIds', 'tools'] as const
export type Capability = (typeof capabilities)[number]

/** `measured_mount`: read by the worker on a read-only mount that the hardware's measurements cover. Anything else is somebody's word. */
export const externalProvenances = ['measured_mount', 'provider_asserted'] as const
export type ExternalProvenance = (typeof externalProvenances)[number]

/** An engine that runs in a process of its own beside the worker (rule S2). The same in the descriptor and in every receipt. */
export type ExternalEngine = {
  /** `cpu_variant` is `external`. `build` is the digest of its executable or image. */
  readonly engine: EngineFacts
  readonly engine_provenance: ExternalProvenance
  readonly weights_provenance: ExternalProvenance
  /** Where worker and engine run, as the worker's own quote shows it. */
  readonly placement: 'confidential_vm' | 'simulation'
  readonly transport: 'unix' | 'loopback'
  readonly capabilities: readonly Capability[]
  /** Token ids are known and the engine is set up to repeat them. */
  readonly replayable: boolean
}

/** One inference by such an engine: takes the place of `veritee.inference`. Null is what the engine does not tell. */
export type ExternalEngineEvent = ExternalEngine & {
  readonly type: 'veritee.external_engine'
  readonly prompt_tokens: number | null
  readonly completion_tokens: number | null
  readonly prompt_tokens_hmac: string | null
  readonly completion_tokens_hmac: string | null
  readonly parameters: { readonly [name: string]: ParameterValue }
  /** Names of members of the request that went to the engine and that the worker does not know, sorted. */
  readonly passed_parameters: readonly string[]
  readonly seed: string | null
  readonly outcome: Outcome
}

/** Name of the list of {@link DescribedExternalEngine} among the extensions of a descriptor. */
export const externalEnginesExtension = 'veritee.external_engines'

export type DescribedExternalEngine = ExternalEngine & { readonly model: string }

const facts = ['engine', 'engine_provenance', 'weights_provenance', 'placement', 'transport', 'capabilities', 'replayable']
const members = [
  'type',
  ...facts,
  'prompt_tokens',
  'completion_tokens',
  'prompt_tokens_hmac',
  'completion_tokens_hmac',
  'parameters',
  'passed_parameters',
  'seed',
  'outcome',
]
const shape = new Shape('receipt_malformed')
const described = new Shape('report_malformed')

/** Reads the event. Throws `receipt_malformed`. */
export function parseExternalEngineEvent(value: unknown, at: string): ExternalEngineEvent {
  const o = shape.object(value, at, members)
  const count = (name: string): number | null => (o[name] === null ? null : shape.integer(o[name], `${at}.${name}`))
  const hmac = (name: string): string | null => (o[name] === null ? null : shape.hex(o[name], `${at}.${name}`, 32))
  return {
    type: 'veritee.external_engine',
    ...externalEngine(o, at, shape),
    prompt_tokens: count('prompt_tokens'),
    completion_tokens: count('completion_tokens'),
    prompt_tokens_hmac: hmac('prompt_tokens_hmac'),
    completion_tokens_hmac: hmac('completion_tokens_hmac'),
    parameters: readParameters(o.parameters, `${at}.parameters`),
    passed_parameters: readStrings(o.passed_parameters, `${at}.passed_parameters`),
    seed: readSeed(o.seed, `${at}.seed`),
    outcome: shape.oneOf(o.outcome, `${at}.outcome`, outcomes),
  }
}

/** The engines of other processes that a descriptor names; none where it has no such extension. Throws `report_malformed`. */
export function externalEnginesOf(extensions: { readonly [name: string]: unknown }): readonly DescribedExternalEngine[] {
  if (!Object.hasOwn(extensions, externalEnginesExtension)) return []
  const at = `descriptor.extensions["${externalEnginesExtension}"]`
  const list = described.array(extensions[externalEnginesExtension], at, 1024)
  // A list that names nobody has nothing to say, and would hide that it was meant to.
  if (list.length === 0) throw described.refuse(at, 'at least one engine')
  return list.map((item, i) => {
    const o = described.object(item, `${at}[${i}]`, ['model', ...facts])
    return { model: described.string(o.model, `${at}[${i}].model`, 256), ...externalEngine(o, `${at}[${i}]`, described) }
  })
}

function externalEngine(o: Record<string, unknown>, at: string, by: Shape): ExternalEngine {
  const listed = by.array(o.capabilities, `${at}.capabilities`, capabilities.length)
  return {
    engine: parseEngineFacts(o.engine, `${at}.engine`, by),
    engine_provenance: by.oneOf(o.engine_provenance, `${at}.engine_provenance`, externalProvenances),
    weights_provenance: by.oneOf(o.weights_provenance, `${at}.weights_provenance`, externalProvenances),
    placement: by.oneOf(o.placement, `${at}.placement`, ['confidential_vm', 'simulation']),
    transport: by.oneOf(o.transport, `${at}.transport`, ['unix', 'loopback']),
    capabilities: listed.map((item, i) => by.oneOf(item, `${at}.capabilities[${i}]`, capabilities)),
    replayable: by.boolean(o.replayable, `${at}.replayable`),
  }
}
