import { spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { fail } from 'veritee/errors'
import type { Embedding, GeneratedToken, Generation } from '../enclave/worker/engine/engine.ts'
import type { CheckedSettings } from '../enclave/worker/engine/llama/llama.ts'
import { Watch } from '../enclave/worker/engine/progress/watch.ts'
import type { LoadedWeights } from '../enclave/worker/engine/weights/index.ts'
import { type Frame, FrameReader, frame } from './frames.ts'
import { decodeEmbedding, decodeError, decodeTokens, encodeGenerate, malformed, types, uint32 } from './messages.ts'
import { askTokens, longestQuestionMs } from './questions.ts'
import { decodeReady, type LoadMessage, type Ready } from './ready.ts'
import { channelDescriptors, creditPerRequest, wholeProcess } from './serve.ts'
import { TokenQueue } from './token-queue.ts'

/** One run of the engine process, from the loaded model to its death. */
export interface EngineProcess {
  readonly pid: number
  readonly ready: Ready
  /** Aborted when the process is gone, with the `engine_failed` or `engine_stalled` that its requests end with. */
  readonly ended: AbortSignal
  generate(generation: Generation): AsyncGenerator<GeneratedToken, void, void>
  encode(text: string): number[]
  embed(tokens: readonly number[]): Promise<Embedding>
  /** Kills it; its requests end with this reason. Resolves when it is gone. */
  end(reason: Error): Promise<void>
}

/** A queue at the worker decides what runs; this only takes what a request that was just given up still holds. */
const queueOfProcess = 1 << 16
/** Starting llama.cpp takes a second, and more on a busy machine. */
const leastLoadingMs = 60_000
/** The reader tells of tokens it took in these steps. */
const creditStep = creditPerRequest / 2

export interface StartOptions {
  readonly signal?: AbortSignal | undefined
  /** Without progress for so long, in milliseconds, the process is killed. */
  readonly stallMs: number
  /** The same while a model is loaded, where much happens without a sign: default as long, and at least {@link leastLoadingMs}. */
  readonly loadingMs?: number
  /** The program of the process; another one in tests. */
  readonly program?: URL | undefined
}

/**
 * Starts an engine process and loads the weights in it; they are handed over as a descriptor. The process has an empty environment and no output.
 * Throws what loading throws there, `engine_unavailable` where it cannot be started, `engine_failed` where it ends while loading, `engine_stalled` where it gets on with
 * nothing, and the signal's reason.
 */
export async function startProcess(weights: LoadedWeights, settings: CheckedSettings, options: StartOptions): Promise<EngineProcess> {
  const { signal, stallMs, loadingMs = Math.max(stallMs, leastLoadingMs) } = options
  signal?.throwIfAborted()
  const { main, vocabulary, exited, kill, pid } = spawnProgram(weights.descriptors, options.program)
  const ended = new AbortController()
  const queues = new Map<number, TokenQueue>()
  const embeddings = new Map<number, PromiseWithResolvers<Embedding>>()
  const loaded = Promise.withResolvers<Ready>()
  let made: Ready | null = null
  // A failure before anybody waits for it.
  loaded.promise.catch(() => undefined)
  const lose = (error: Error): void => {
    if (!ended.signal.aborted) ended.abort(error)
    loaded.reject(error)
    for (const queue of queues.values()) queue.end({ error })
    queues.clear()
    for (const { reject } of embeddings.values()) reject(error)
    embeddings.clear()
    watch.close()
    loadingWatch.close()
  }
  void exited.then((how) => lose(fail('engine_failed', `the engine process ended (${how})`)))
  const breach = (error: unknown): void => {
    lose(error instanceof Error ? error : malformed())
    void kill()
  }

  // Which of its requests hangs may be known; what else runs in the process cannot be told apart from it, and ends with it.
  const watchFor = (ms: number): Watch =>
    new Watch({
      stallMs: ms,
      onStall: () => breach(fail('engine_stalled', `the engine process got on with nothing for ${ms / 1000} s and was ended`)),
    })
  const watch = watchFor(stallMs)
  const loadingWatch = watchFor(loadingMs)
  const take = (id: number, token: GeneratedToken): void => {
    watch.progress(id)
    queues.get(id)?.add(token)
  }
  const handle = ({ type, payload }: Frame): void => {
    if (type === types.tokens) decodeTokens(payload, take)
    else if (type === types.ended && payload.length >= 4) {
      const id = payload.readUInt32LE()
      watch.end(id)
      const end = payload.length === 4 ? null : { error: decodeError(payload.subarray(4)) }
      queues.get(id)?.end(end)
      queues.delete(id)
      embeddings.get(id)?.reject(end?.error ?? malformed())
      embeddings.delete(id)
    } else if (type === types.embedded && made !== null) {
      const { id, embedding } = decodeEmbedding(payload, made.embeddingSize)
      watch.end(id)
      embeddings.get(id)?.resolve(embedding)
      embeddings.delete(id)
    } else if (type === types.progress && payload.length === 4) {
      const id = payload.readUInt32LE()
      ;(id === wholeProcess ? loadingWatch : watch).progress(id)
    } else if (type === types.ready) {
      made = decodeReady(payload)
      loaded.resolve(made)
    } else if (type === types.refused) loaded.reject(decodeError(payload))
    else throw malformed()
  }
  const reader = new FrameReader()
  main.on('data', (bytes) => {
    try {
      for (const one of reader.push(bytes)) handle(one)
    } catch (error) {
      breach(error)
    }
  })

  let lastId = 0
  const send = (type: number, ...parts: readonly Uint8Array[]): void => void main.write(frame(type, ...parts))

  async function* generate(generation: Generation): AsyncGenerator<GeneratedToken, void, void> {
    const { signal: own } = generation
    ended.signal.throwIfAborted()
    lastId = (lastId + 1) >>> 0
    const id = lastId
    const queue = new TokenQueue(creditPerRequest)
    const wake = (): void => queue.wake()
    own?.addEventListener('abort', wake)
    queues.set(id, queue)
    try {
      send(types.generate, ...encodeGenerate(id, generation))
      watch.begin(id, () => queue.expecting)
      for (let taken = 0; ; ) {
        own?.throwIfAborted()
        const token = queue.take()
        if (token === null) return
        if (token === undefined) {
          await queue.wait()
          continue
        }
        yield token
        if (++taken % creditStep !== 0) continue
        queue.allow(creditStep)
        send(types.credit, uint32([id, creditStep]))
      }
    } finally {
      own?.removeEventListener('abort', wake)
      watch.end(id)
      if (queues.delete(id) && !queue.ended) send(types.abort, uint32([id]))
    }
  }

  const embed = (tokens: readonly number[]): Promise<Embedding> => {
    ended.signal.throwIfAborted()
    lastId = (lastId + 1) >>> 0
    const waiting = Promise.withResolvers<Embedding>()
    embeddings.set(lastId, waiting)
    send(types.embed, uint32([lastId]), uint32(tokens))
    watch.begin(lastId)
    return waiting.promise
  }

  const encode = (text: string): number[] => {
    try {
      return askTokens(vocabulary, text, Math.min(stallMs, longestQuestionMs))
    } catch (error) {
      breach(error)
      throw error
    }
  }

  const loadThere = async (): Promise<Ready> => {
    const { files, loading, sealed } = weights
    const placed = await weights.place(files.map((_, i) => channelDescriptors.weights + i))
    try {
      const message: LoadMessage = { path: placed.path, files, loading, sealed, settings: { ...settings, maxQueue: queueOfProcess } }
      send(types.load, Buffer.from(JSON.stringify(message)))
      loadingWatch.begin(wholeProcess)
      const ready = await loaded.promise
      loadingWatch.close()
      await weights.confirm()
      return ready
    } finally {
      await placed.remove()
    }
  }

  const onAbort = (): void => void kill()
  signal?.addEventListener('abort', onAbort)
  try {
    const ready = await loadThere()
    const end = (reason: Error): Promise<void> => {
      lose(reason)
      return kill()
    }
    return { pid, ready, ended: ended.signal, generate, encode, embed, end }
  } catch (error) {
    loadingWatch.close()
    await kill()
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

interface Program {
  readonly pid: number
  readonly main: Socket
  readonly vocabulary: Socket
  /** How it ended. */
  readonly exited: Promise<string>
  readonly kill: () => Promise<void>
}

function spawnProgram(weights: readonly number[], program: URL | undefined): Program {
  // From sources both are .ts, and the library is to be found as sources too.
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
  const flags = extension === '.ts' ? ['--conditions=@veritee/source', '--disable-warning=ExperimentalWarning'] : []
  // Not the flags of this process: a program given to it by -e, or a debugger, is not to be started again.
  const child = spawn(process.execPath, [...flags, fileURLToPath(program ?? new URL(`./child${extension}`, import.meta.url))], {
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe', ...weights],
  })
  const exited = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    child.once('error', () => resolve('it could not be started'))
  })
  const socket = (index: number): Socket => {
    const found = child.stdio[index]
    if (!(found instanceof Socket)) throw fail('engine_unavailable', 'the engine process could not be started')
    // Its end is what counts, not that a write came too late for it.
    return found.on('error', () => undefined)
  }
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exited
  }
  return { pid: child.pid ?? 0, main: socket(channelDescriptors.main), vocabulary: socket(channelDescriptors.vocabulary), exited, kill }
}
