import { randomBytes } from 'node:crypto'
import { type Json, parseJson } from 'veritee/bytes'
import { type ErrorCode, fail, VeriteeError } from 'veritee/errors'
import type { SealingKey } from '../../runtime/sealing-key.ts'
import { type Delta, deltaFromJson, deltaOf, deltaToJson, withDelta } from './delta.ts'
import { AppendFile } from './file.ts'
import { header, openFrames, sealFrame } from './frames.ts'
import type { StoreIdentity } from './head.ts'
import { type BrokerState, limits, newState, stateFromJson, stateToJson } from './resources.ts'

/** The state of a broker. What is read is what is on disk, or newer by what may be lost: {@link BrokerStore.note}. */
export interface BrokerStore {
  /** Who can read what is kept; `memory` keeps nothing. */
  readonly source: SealingKey['source'] | 'memory'
  /** Under which a log knows it. */
  readonly identity: StoreIdentity
  /** Counts the writes, over restarts. */
  readonly generation: number
  readonly state: BrokerState
  /** Why the last write failed; null where it did not. */
  readonly failure: ErrorCode | null
  /**
   * Puts the next state in place of this one, after those that were asked for before, and returns when it is on disk. Those that wait together are written
   * together. Where `next` throws or the write fails, nothing changed. Throws what `next` throws, `file_unavailable`, `broker_limit`, and
   * `broker_store_rolled_back` where the file is no longer the one written last.
   */
  commit(next: (state: BrokerState) => BrokerState): Promise<BrokerState>
  /** The same in memory; it reaches the disk with the next commit. For what may be lost in a crash. */
  note(next: (state: BrokerState) => BrokerState): void
  /** Writes what was only noted, and lets go of the file. */
  close(): Promise<void>
}

/** How a state reaches the disk. A write that fails leaves it to the next one to write everything. */
interface Disk {
  write(generation: number, before: BrokerState, after: BrokerState): Promise<void>
  close(): Promise<void>
}

/** For tests and demos: gone with the process. */
export function createMemoryStore(): BrokerStore {
  return createStore({ source: 'memory', headKey: randomBytes(32) }, 0, newState(), {
    write: () => Promise.resolve(),
    close: () => Promise.resolve(),
  })
}

/** Below this much appended, writing everything anew would cost more than it saves. */
const leastAppended = 1 << 20

/**
 * Opens the store in `path`, or begins one there. The file is sealed in frames (frames.ts): the first holds the whole state as JSON, each further one what one
 * write added. A write appends a frame and syncs; once the frames after the first are longer than it and than a mebibyte, the whole state is written to a new
 * file, which takes the place of the old one in one step. The key is derived from the enclave's sealing key.
 *
 * **An older file, or this one cut short, that the host puts there while the broker is down opens like the newest one** (rule S11): a revoked resource is then live again. Only a log tells them
 * apart: `LoggedStore`. One broker at a time writes a store.
 *
 * Throws `broker_store_invalid`, `broker_store_rolled_back`, `file_unavailable`.
 */
export async function openStore(path: string, sealing: SealingKey): Promise<BrokerStore> {
  const key = sealing.derive('veritee.broker.store.v1')
  const file = new AppendFile(path)
  try {
    const bytes = await file.read(2 * limits.states + 2 * leastAppended)
    const opened = bytes === null ? null : openFrames(bytes, key)
    const state = opened === null ? newState() : replayed(opened.frames.map(({ plain }) => plain))
    const generation = opened === null ? 0 : opened.generation + opened.frames.length - 1
    const whole = opened !== null && opened.length === bytes?.length
    const disk = createDisk(file, key, whole ? { tag: opened.frames.at(-1)?.tag ?? null, first: opened.frames[0]?.plain.length ?? 0 } : null)
    return createStore({ source: sealing.source, headKey: sealing.derive('veritee.broker.head.v1') }, generation, state, disk)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** `found`: the last tag of a file that can be appended to, and the length of its first frame; null where everything is to be written. */
function createDisk(file: AppendFile, key: Uint8Array, found: { readonly tag: Buffer | null; readonly first: number } | null): Disk {
  let last = found?.tag ?? null
  let first = found?.first ?? 0
  let appended = 0
  const writeAll = async (generation: number, state: BrokerState): Promise<void> => {
    const plain = Buffer.from(JSON.stringify(stateToJson(state)))
    if (plain.length > limits.states) throw fail('broker_limit', `expected a state of at most ${limits.states} bytes`)
    const { bytes, tag } = sealFrame(key, generation, Buffer.alloc(0), plain)
    await file.replace(Buffer.concat([header(generation), bytes]))
    last = tag
    first = plain.length
    appended = 0
  }
  const append = async (generation: number, previous: Buffer, delta: Delta): Promise<void> => {
    const { bytes, tag } = sealFrame(key, generation, previous, Buffer.from(JSON.stringify(deltaToJson(delta))))
    await file.append(bytes)
    last = tag
    appended += bytes.length
  }
  return {
    write: async (generation, before, after) => {
      const previous = last
      // Until it is known to have gone well, the next write begins anew: half a frame may lie at the end.
      last = null
      if (previous === null || appended > Math.max(leastAppended, first)) await writeAll(generation, after)
      else await append(generation, previous, deltaOf(before, after))
    },
    close: () => file.close(),
  }
}

interface Waiting {
  readonly next: (state: BrokerState) => BrokerState
  readonly resolve: (state: BrokerState) => void
  readonly reject: (error: unknown) => void
}

/** Those that wait together and are written together. */
const mostTogether = 64

interface Keys {
  readonly source: BrokerStore['source']
  readonly headKey: Uint8Array
}

function createStore({ source, headKey }: Keys, first: number, opened: BrokerState, disk: Disk): BrokerStore {
  let generation = first
  let state = opened
  /** What is known to be on disk. */
  let kept = opened
  let failure: ErrorCode | null = null
  const waiting: Waiting[] = []
  let running = false
  /** What was noted while a write was under way belongs to the state after it. */
  let notes: ((state: BrokerState) => BrokerState)[] | null = null

  const writeSome = async (): Promise<void> => {
    let wanted = state
    const accepted: { readonly one: Waiting; readonly result: BrokerState }[] = []
    for (const one of waiting.splice(0, mostTogether))
      try {
        wanted = one.next(wanted)
        accepted.push({ one, result: wanted })
      } catch (error) {
        one.reject(error)
      }
    notes = []
    try {
      if (wanted !== kept) {
        await disk.write(generation + 1, kept, wanted)
        generation++
        failure = null
        kept = wanted
        state = notes.reduce((before, note) => note(before), wanted)
      }
      for (const { one, result } of accepted) one.resolve(result)
    } catch (error) {
      failure = error instanceof VeriteeError ? error.code : 'file_unavailable'
      for (const { one } of accepted) one.reject(error)
    } finally {
      notes = null
    }
  }
  const work = async (): Promise<void> => {
    running = true
    // In the next turn, so that those who ask in this one are written together.
    await Promise.resolve()
    while (waiting.length > 0) await writeSome()
    running = false
  }
  const commit = (next: Waiting['next']): Promise<BrokerState> => {
    const { promise, resolve, reject } = Promise.withResolvers<BrokerState>()
    waiting.push({ next, resolve, reject })
    if (!running) void work()
    return promise
  }
  return {
    source,
    identity: { id: opened.id, headKey },
    get generation() {
      return generation
    },
    get state() {
      return state
    },
    get failure() {
      return failure
    },
    commit,
    note: (next) => {
      notes?.push(next)
      state = next(state)
    },
    close: async () => {
      await commit((last) => last)
      await disk.close()
    },
  }
}

function replayed([first, ...rest]: readonly Buffer[]): BrokerState {
  const parsed = (plain: Buffer | undefined): Json => {
    try {
      return parseJson(plain?.toString('utf8') ?? '', { maxLength: limits.states, maxDepth: 8 }) as Json
    } catch (cause) {
      throw fail('broker_store_invalid', 'expected a sealed state in JSON', cause)
    }
  }
  try {
    return rest.reduce((state, plain) => withDelta(state, deltaFromJson(parsed(plain))), stateFromJson(parsed(first)))
  } catch (cause) {
    // A name that is none is another reader's code; in a state of ours it is one thing only.
    if (cause instanceof VeriteeError && cause.code === 'broker_store_invalid') throw cause
    throw fail('broker_store_invalid', 'expected a sealed state of this version', cause)
  }
}
