import type { Socket } from 'node:net'
import type { Engine } from '../enclave/worker/engine/engine.ts'
import { loadLlama } from '../enclave/worker/engine/llama/llama.ts'
import { constrain } from '../enclave/worker/engine/sampling/constraint.ts'
import type { Placed } from '../enclave/worker/engine/weights/place.ts'
import { type Frame, FrameReader, frame } from './frames.ts'
import { unflatten } from './grammar.ts'
import { decodeGenerate, encodeEmbedding, encodeError, encodeToken, readJson, readUint32s, types, uint32 } from './messages.ts'
import { encodeReady, type LoadMessage } from './ready.ts'

/** In place of the id of a request: the loading of the model. */
export const wholeProcess = 0

/** Descriptors that an engine process is born with. From `weights` on there is one for each file of the model. */
export const channelDescriptors = { main: 3, vocabulary: 4, weights: 5 } as const

/** A process tells that a long prompt, or the loading of a model, gets on at most so often. */
const progressMs = 100

/** Tokens of one request that an engine process may be ahead of its reader. */
export const creditPerRequest = 16

interface Running {
  readonly controller: AbortController
  credit: number
  /** Set while the reader is so far behind that the generation waits for it. */
  wake: (() => void) | null
}

/**
 * The engine's side of the channel: loads what it is told to, then generates and tokenizes. What comes is believed, since only the worker can write it;
 * a message that cannot be read ends the process (`onEnd`). `loadEngine` is another one in tests.
 */
export function serveEngine(main: Socket, vocabulary: Socket, onEnd: () => void, loadEngine: typeof loadLlama = loadLlama): void {
  let engine: Engine | null = null
  const running = new Map<number, Running>()
  const write = batched(main)

  /** What tells the worker that an evaluation gets on which has no token to show. */
  function progressOf(id: number): () => void {
    let last = performance.now()
    return () => {
      const now = performance.now()
      if (now - last < progressMs) return
      last = now
      write(frame(types.progress, uint32([id])))
    }
  }

  async function load(message: LoadMessage): Promise<void> {
    try {
      // Opened and hashed by the worker, which closes them too.
      const nothing = (): Promise<void> => Promise.resolve()
      const { path, files, sealed, loading } = message
      const place = (): Promise<Placed> => Promise.resolve({ path, remove: nothing })
      const weights = { files, sealed, loading, descriptors: [], place, confirm: nothing, recheck: nothing, dispose: nothing }
      const loaded = await loadEngine(weights, message.settings, { onProgress: progressOf(wholeProcess) })
      engine = loaded.engine
      write(frame(types.ready, encodeReady(engine.facts, engine.model, loaded.table)))
    } catch (error) {
      write(frame(types.refused, encodeError(error)))
    }
  }

  async function generate(payload: Buffer): Promise<void> {
    const { id, generation } = decodeGenerate(payload)
    const own: Running = { controller: new AbortController(), credit: creditPerRequest, wake: null }
    running.set(id, own)
    let end: Uint8Array = new Uint8Array(0)
    try {
      if (engine === null) throw new TypeError('generate before load')
      const { constraint, ...rest } = generation
      const held = constraint === null ? {} : { constraint: constrain(unflatten(constraint.grammar), engine.vocabulary, constraint.written) }
      for await (const token of engine.generate({ ...rest, ...held, signal: own.controller.signal, onProgress: progressOf(id) })) {
        write(encodeToken(id, token), true)
        if (--own.credit === 0) await new Promise<void>((resolve) => (own.wake = resolve))
      }
    } catch (error) {
      end = encodeError(error)
    } finally {
      running.delete(id)
    }
    write(frame(types.ended, uint32([id]), end))
  }

  async function embed(payload: Buffer): Promise<void> {
    const id = payload.readUInt32LE()
    try {
      if (engine === null) throw new TypeError('embed before load')
      write(frame(types.embedded, ...encodeEmbedding(id, await engine.embed(readUint32s(payload.subarray(4))))))
    } catch (error) {
      write(frame(types.ended, uint32([id]), encodeError(error)))
    }
  }

  const handle = ({ type, payload }: Frame): void => {
    if (type === types.load) void load(readJson(payload) as unknown as LoadMessage)
    else if (type === types.generate) void generate(payload)
    else if (type === types.embed) void embed(payload)
    else if (type === types.abort || type === types.credit) {
      const own = running.get(payload.readUInt32LE())
      if (own === undefined) return
      if (type === types.abort) own.controller.abort()
      else own.credit += payload.readUInt32LE(4)
      own.wake?.()
      own.wake = null
    } else throw new TypeError('unknown frame')
  }
  const answer = ({ payload }: Frame): void => {
    let reply: Buffer
    try {
      if (engine === null) throw new TypeError('encode before load')
      reply = frame(types.encoded, uint32(engine.vocabulary.encode(payload.toString('utf8'))))
    } catch (error) {
      reply = frame(types.refused, encodeError(error))
    }
    vocabulary.write(reply)
  }
  for (const [socket, take] of [
    [main, handle],
    [vocabulary, answer],
  ] as const) {
    const reader = new FrameReader()
    socket.on('data', (bytes) => {
      try {
        for (const one of reader.push(bytes)) take(one)
      } catch {
        onEnd()
      }
    })
  }
}

/** Writes once for everything that one turn of the loop gives: tokens of requests that were evaluated together travel in one frame. */
function batched(socket: Socket): (bytes: Buffer, isToken?: boolean) => void {
  let tokens: Buffer[] = []
  let waiting = false
  const flush = (): void => {
    waiting = false
    if (tokens.length === 0) return
    socket.write(frame(types.tokens, ...tokens))
    tokens = []
  }
  return (bytes, isToken = false) => {
    if (!isToken) {
      // In order: no token comes after its end.
      flush()
      socket.write(bytes)
      return
    }
    tokens.push(bytes)
    if (waiting) return
    waiting = true
    setImmediate(flush)
  }
}
