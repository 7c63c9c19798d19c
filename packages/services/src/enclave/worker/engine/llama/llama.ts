import { GgmlType, getLlama, getModuleVersion, type Llama, LlamaLogLevel, type LlamaModel } from 'node-llama-cpp'
import { fail, type VeriteeError } from 'veritee/errors'
import type { WeightSource } from '../../../sealed/source.ts'
import type { Engine, EngineFacts, ModelFacts } from '../engine.ts'
import { Evaluations, type StallOptions } from '../progress/evaluations.ts'
import { tabulate, tokenizer, type VocabularyTable, vocabularyOf } from '../vocabulary/vocabulary.ts'
import { type LoadedWeights, loadSources, loadWeights } from '../weights/index.ts'
import { thisSystem } from '../weights/surroundings.ts'
import { LlamaEngine } from './engine.ts'
import { describeNativeLibrary } from './native.ts'

export interface LlamaEngineOptions extends LlamaSettings, StallOptions {
  /**
   * A GGUF file, such as `resolveModel` returns (of a split model the first part, the others beside it), or sources of the bytes of all files, such as
   * `openSealedModel` gives.
   */
  readonly path: string | readonly WeightSource[]
  /** What the first file must hash to, lower-case hex. null or absent: whatever it is, the facts say it. */
  readonly sha256?: string | null
  /** sha256 of every file, in order, of each model that may be loaded (rule S13). Nothing else is parsed, nor a file that can change after it was hashed. */
  readonly measured?: readonly (readonly string[])[]
  /** A tmpfs for the private copy of the weights. Default /dev/shm. */
  readonly memoryDirectory?: string
  /** See `WeightsOptions`. */
  readonly toleratesSwap?: boolean
}

export interface LlamaSettings {
  /** `fast`: batches of 512 tokens in place of 32, for long prompts; answers cannot be replayed bit by bit then. Default `canonical`, as far as the weights are. */
  readonly profile?: 'canonical' | 'fast'
  /** Upper bound for the context of one request; the model's own training context is the other. Default 4096. */
  readonly maxContext?: number
  /** Threads of one evaluation. Default 1; more than the idle cores makes it slower, not faster. */
  readonly threads?: number
  /** Requests evaluated together, 1 to 4. Default 4. */
  readonly sequences?: number
  /** Requests that may wait for a sequence. Default 64. */
  readonly maxQueue?: number
  /** Aborts the loading. */
  readonly signal?: AbortSignal
}

/** The settings with their defaults. */
export type CheckedSettings = Readonly<Record<'maxContext' | 'threads' | 'sequences' | 'maxQueue', number>> & {
  readonly profile: 'canonical' | 'fast'
}

/** Above 32 tokens in a batch llama.cpp takes other kernels, and prefill no longer gives the bits of decoding. */
const batchSizes = { canonical: 32, fast: 512 } as const
const maxSequences = 4

/**
 * Loads a GGUF model into llama.cpp, in this process, on the CPU, with the settings of the canonical profile or the fast one. Nothing is built or downloaded.
 *
 * Throws `model_unavailable`, `model_malformed`, `model_unsupported`, `model_hash_mismatch`, `model_not_measured`, `model_memory_unavailable`,
 * `engine_unavailable`; `TypeError` for options out of range. A file that cannot be loaded leaves the process intact.
 */
export async function openLlamaEngine(options: LlamaEngineOptions): Promise<Engine> {
  const settings = checkSettings(options)
  const evaluations = new Evaluations(options)
  const weights = await openWeights(options)
  try {
    return (await loadLlama(weights, settings, { ...options, evaluations })).engine
  } finally {
    // llama.cpp has mapped or copied the bytes; closing now means that no path leads to them any more
    await weights.dispose()
  }
}

/** Throws `TypeError` for settings out of range. */
export function checkSettings({
  threads = 1,
  sequences = maxSequences,
  maxContext = 4096,
  maxQueue = 64,
  profile = 'canonical',
}: LlamaSettings): CheckedSettings {
  for (const [name, value, least, most] of [
    ['threads', threads, 1, 1024],
    ['sequences', sequences, 1, maxSequences],
    ['maxContext', maxContext, 16, 1 << 20],
    ['maxQueue', maxQueue, 0, 1 << 16],
  ] as const)
    if (!Number.isInteger(value) || value < least || value > most) throw new TypeError(`engine: ${name} must be an integer from ${least} to ${most}`)
  if (!Object.hasOwn(batchSizes, profile)) throw new TypeError('engine: profile must be canonical or fast')
  return { threads, sequences, maxContext, maxQueue, profile }
}

/** The hashed weights of the options, where they are those that were asked for. Throws `model_not_measured`, and what `loadWeights` and `loadSources` throw. */
export async function openWeights(options: LlamaEngineOptions): Promise<LoadedWeights> {
  const { path, memoryDirectory, toleratesSwap, signal } = options
  const how = {
    ...(memoryDirectory !== undefined && { memoryDirectory }),
    ...(toleratesSwap !== undefined && { toleratesSwap }),
    ...(signal && { signal }),
  }
  const weights = await (typeof path === 'string' ? loadWeights(path, how) : loadSources(path, how))
  const refusal = refusalOf(weights, options)
  if (refusal === null) return weights
  await weights.dispose()
  throw refusal
}

/** Before anything but the first bytes of the files is read for what they say. */
function refusalOf({ files, loading }: LoadedWeights, { sha256, measured, memoryDirectory = '/dev/shm' }: LlamaEngineOptions): VeriteeError | null {
  const [first] = files
  if (typeof sha256 === 'string' && sha256 !== first?.sha256)
    return fail('model_hash_mismatch', `the model file is another one: expected ${sha256}, found ${first?.sha256 ?? 'none'}`)
  if (measured === undefined) return null
  const found = files.map((file) => file.sha256)
  if (!measured.some((model) => model.length === found.length && model.every((hash, i) => hash === found[i])))
    return fail(
      'model_not_measured',
      `expected a model of the measured anchors.json, found files with sha256 ${found.join(', ')}; add it there, or seal it`,
    )
  // What is loaded from where the host keeps it, the host can exchange after it was hashed.
  if (loading !== 'tmpfs')
    return fail(
      'model_memory_unavailable',
      `expected a tmpfs with room for the weights, as at ${memoryDirectory}: in an enclave they are parsed from there only`,
    )
  return null
}

export interface LoadingOptions {
  readonly signal?: AbortSignal
  /** Told as the file is read. */
  readonly onProgress?: () => void
  /** Watches what the engine evaluates. Default one that watches nothing: a process of its own is watched from outside. */
  readonly evaluations?: Evaluations
}

/** Loads hashed weights into llama.cpp, in this process; the table is the engine's vocabulary as plain data. Throws as {@link openLlamaEngine}. */
export async function loadLlama(
  weights: LoadedWeights,
  settings: CheckedSettings,
  loading: LoadingOptions = {},
): Promise<{ readonly engine: Engine; readonly table: VocabularyTable }> {
  const { threads, sequences, maxContext, maxQueue, profile } = settings
  const llama = await startLlama(threads)
  try {
    const model = await loadPlaced(llama, weights, loading)
    const contextSize = Math.min(maxContext, model.trainContextSize)
    const batchSize = profile === 'fast' ? Math.min(batchSizes.fast, contextSize) : batchSizes.canonical
    const context = await model.createContext({ contextSize, sequences, batchSize, threads, flashAttention: true }).catch((cause: unknown) => {
      throw fail('engine_unavailable', `a context of ${sequences} times ${contextSize} tokens cannot be created`, cause)
    })
    const native = await describeNativeLibrary()
    const facts: EngineFacts = {
      name: 'llama.cpp',
      version: `node-llama-cpp/${await getModuleVersion()} llama.cpp/${llama.llamaCppRelease.release}`,
      build: native.build,
      cpuVariant: native.cpuVariant,
      profile: profile === 'fast' ? 'fast' : context.flashAttention === true && isCanonicalModel(model) ? 'canonical' : 'tolerant',
      threads,
      contextSize,
    }
    const table = tabulate(model)
    const vocabulary = vocabularyOf(table, tokenizer(model))
    const { evaluations = new Evaluations() } = loading
    return {
      engine: new LlamaEngine({ llama, context, model: modelFacts(model, weights), vocabulary, facts, maxQueue, batchSize, evaluations }),
      table,
    }
  } catch (error) {
    await llama.dispose()
    throw error
  }
}

async function loadPlaced(llama: Llama, weights: LoadedWeights, options: LoadingOptions): Promise<LlamaModel> {
  const placed = await weights.place()
  try {
    const model = await loadModel(llama, placed.path, weights.loading, options)
    await weights.confirm()
    return model
  } finally {
    await placed.remove()
  }
}

function modelFacts(model: LlamaModel, { files, loading, sealed }: LoadedWeights): ModelFacts {
  const [first] = files
  if (first === undefined) throw new TypeError('engine: weights without a file')
  return {
    sealed,
    files,
    sha256: first.sha256,
    size: first.size,
    format: 'gguf',
    loading,
    architecture: model.architecture,
    trainContextSize: model.trainContextSize,
    embeddingSize: model.embeddingVectorSize,
    chatTemplate: model.fileInfo.metadata.tokenizer.chat_template ?? null,
  }
}

async function startLlama(threads: number): Promise<Llama> {
  try {
    return await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      maxThreads: threads,
      // Off in the native code, not only in a logger here: what it has queued when a model fails to load would otherwise go to stdout.
      logLevel: LlamaLogLevel.disabled,
      logger: () => undefined,
      debug: false,
    })
  } catch (cause) {
    throw fail('engine_unavailable', 'no llama.cpp build of this package runs on this machine', cause)
  }
}

async function loadModel(llama: Llama, path: string, loading: ModelFacts['loading'], { signal, onProgress }: LoadingOptions): Promise<LlamaModel> {
  try {
    // From tmpfs, mmap shares the pages of our private copy. From a file, only a copy is safe from later writes.
    return await llama.loadModel({
      modelPath: path,
      useMmap: loading === 'tmpfs',
      gpuLayers: 0,
      // llama.cpp checks each tensor in a thread of its own, all at once, and an enclave has a fixed number of threads. There the bytes are measured or sealed.
      checkTensors: !thisSystem.gramine,
      ...(signal && { loadSignal: signal }),
      ...(onProgress && { onLoadProgress: onProgress }),
    })
  } catch (cause) {
    signal?.throwIfAborted()
    throw fail('model_malformed', 'llama.cpp cannot load this file as a model', cause)
  }
}

/** Bit-equal replay has been shown for Q8_0 matrices with F32 norms, without mixture of experts. */
function isCanonicalModel(model: LlamaModel): boolean {
  const tensors = model.fileInfo.fullTensorInfo ?? []
  return tensors.length > 0 && tensors.every(({ dimensions, ggmlType }) => ggmlType === (dimensions.length === 1 ? GgmlType.F32 : GgmlType.Q8_0))
}
