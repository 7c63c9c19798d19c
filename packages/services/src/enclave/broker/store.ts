import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { constants, type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Json, jcs, parseJson } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import type { SealingKey } from '../runtime/sealing-key.ts'
import { type BrokerState, emptyState, limits, stateFromJson, stateToJson } from './resources.ts'

/** The state of a broker. What is read is what is on disk, or newer by what may be lost: {@link BrokerStore.note}. */
export interface BrokerStore {
  /** Who can read what is kept; `memory` keeps nothing. */
  readonly source: SealingKey['source'] | 'memory'
  /** Counts the writes, over restarts. */
  readonly generation: number
  readonly state: BrokerState
  /**
   * Puts the next state in place of this one, after those that were asked for before, and returns when it is on disk. Where `next` throws or the write fails,
   * nothing changed. Throws what `next` throws, `file_unavailable`, `broker_store_rolled_back` where the file is no longer the one written last.
   */
  commit(next: (state: BrokerState) => BrokerState): Promise<BrokerState>
  /** The same in memory; it reaches the disk with the next commit. For what may be lost in a crash. */
  note(next: (state: BrokerState) => BrokerState): void
}

/**
 * Somebody outside who remembers how far a store has come (rule S11): a witnessed log, a counter in hardware. None exists yet; without one, a store that the
 * host put back while no broker ran is not noticed.
 */
export interface Freshness {
  /** The lowest generation that may be opened. */
  floor(): Promise<number>
  /** Told of each generation once it is on disk; the commit waits for it. */
  raise(generation: number): Promise<void>
}

/** For tests and demos: gone with the process. */
export function createMemoryStore(): BrokerStore {
  return createStore('memory', 0, emptyState, async () => undefined)
}

const magic = Buffer.from('veritee.broker.store.v1\n')
const headerBytes = magic.length + 8

/**
 * Opens the store in `path`, or begins one there. The file is `veritee.broker.store.v1\n`, the generation (8 bytes, big-endian), 12 bytes of nonce, AES-256-GCM
 * ciphertext of the JSON state, and the tag; the key is derived from the enclave's sealing key, and the additional data are the JCS form of
 * `{"generation","key":"state","table":"broker","v":1}`. It is written beside, synced, and renamed over the old one; a symbolic link is not followed.
 *
 * A file of a generation below what this process, or `freshness`, has seen is refused. **Without `freshness` a whole old file that the host puts back while the
 * broker is down opens like the newest one** (rule S11): a revoked resource is then live again.
 *
 * Throws `broker_store_invalid`, `broker_store_rolled_back`, `file_unavailable`.
 */
export async function openStore(path: string, sealing: SealingKey, freshness: Freshness | null = null): Promise<BrokerStore> {
  const key = sealing.derive('veritee.broker.store.v1')
  const bytes = await readWhole(path)
  const found = bytes === null ? { generation: 0, state: emptyState } : unseal(bytes, key)
  const floor = freshness === null ? 0 : await freshness.floor()
  if (found.generation < floor)
    throw fail('broker_store_rolled_back', `expected generation ${floor} or a later one in ${path}, found ${found.generation}`)
  return createStore(sealing.source, found.generation, found.state, async (generation, state) => {
    const onDisk = await readGeneration(path)
    if (onDisk !== generation - 1)
      throw fail(
        'broker_store_rolled_back',
        `expected generation ${generation - 1} in ${path}, found ${onDisk}: put back, or another broker writes it`,
      )
    await replace(path, seal(generation, state, key))
    await freshness?.raise(generation)
  })
}

function createStore(
  source: BrokerStore['source'],
  first: number,
  opened: BrokerState,
  write: (generation: number, state: BrokerState) => Promise<void>,
): BrokerStore {
  let generation = first
  let state = opened
  let last: Promise<unknown> = Promise.resolve()
  /** What was noted while a write was under way belongs to the state after it. */
  let notes: ((state: BrokerState) => BrokerState)[] | null = null
  const run = async (next: (state: BrokerState) => BrokerState): Promise<BrokerState> => {
    const wanted = next(state)
    notes = []
    try {
      await write(generation + 1, wanted)
      generation++
      state = notes.reduce((before, note) => note(before), wanted)
    } finally {
      notes = null
    }
    return wanted
  }
  return {
    source,
    get generation() {
      return generation
    },
    get state() {
      return state
    },
    commit: (next) => {
      const done = last.then(() => run(next))
      last = done.catch(() => undefined)
      return done
    },
    note: (next) => {
      notes?.push(next)
      state = next(state)
    },
  }
}

function additionalData(generation: number): Buffer {
  return Buffer.from(jcs({ generation, key: 'state', table: 'broker', v: 1 }))
}

function seal(generation: number, state: BrokerState, key: Uint8Array): Buffer {
  const plain = Buffer.from(JSON.stringify(stateToJson(state)))
  if (plain.length > limits.states) throw fail('broker_limit', `expected a state of at most ${limits.states} bytes`)
  const header = Buffer.alloc(headerBytes)
  magic.copy(header)
  header.writeBigUInt64BE(BigInt(generation), magic.length)
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additionalData(generation))
  return Buffer.concat([header, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

function unseal(bytes: Buffer, key: Uint8Array): { generation: number; state: BrokerState } {
  const generation = generationOf(bytes)
  if (bytes.length < headerBytes + 28) throw fail('broker_store_invalid', `expected more than ${bytes.length} bytes`)
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(headerBytes, headerBytes + 12), { authTagLength: 16 })
    decipher.setAAD(additionalData(generation)).setAuthTag(bytes.subarray(-16))
    const plain = Buffer.concat([decipher.update(bytes.subarray(headerBytes + 12, -16)), decipher.final()])
    return { generation, state: stateFromJson(parseJson(plain.toString('utf8'), { maxLength: limits.states, maxDepth: 8 }) as Json) }
  } catch (cause) {
    throw fail('broker_store_invalid', 'expected a state that was sealed under the key of this enclave', cause)
  }
}

function generationOf(bytes: Buffer): number {
  if (bytes.length < headerBytes || !bytes.subarray(0, magic.length).equals(magic))
    throw fail('broker_store_invalid', 'expected a file that begins with veritee.broker.store.v1')
  const generation = bytes.readBigUInt64BE(magic.length)
  if (generation === 0n || generation > BigInt(Number.MAX_SAFE_INTEGER)) throw fail('broker_store_invalid', 'expected a generation in range')
  return Number(generation)
}

function unavailable(path: string, cause: unknown): VeriteeError {
  if (cause instanceof VeriteeError) return cause
  const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'
  return fail('file_unavailable', `cannot use ${path} (${why})`, cause)
}

/** Null where there is no file. */
async function opened<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      return await use(file)
    } finally {
      await file.close()
    }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
    throw unavailable(path, cause)
  }
}

function readWhole(path: string): Promise<Buffer | null> {
  return opened(path, async (file) => {
    const { size } = await file.stat()
    if (size > limits.states + 1024) throw fail('broker_store_invalid', `expected at most ${limits.states + 1024} bytes in ${path}`)
    return file.readFile()
  })
}

async function readGeneration(path: string): Promise<number> {
  const header = await opened(path, async (file) => {
    const buffer = Buffer.alloc(headerBytes)
    const { bytesRead } = await file.read(buffer, 0, headerBytes, 0)
    return buffer.subarray(0, bytesRead)
  })
  return header === null ? 0 : generationOf(header)
}

async function replace(path: string, bytes: Uint8Array): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`
  try {
    const file = await open(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
    const directory = await open(dirname(path), constants.O_RDONLY)
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  } catch (cause) {
    await rm(beside, { force: true }).catch(() => undefined)
    throw unavailable(path, cause)
  }
}
