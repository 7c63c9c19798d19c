import { constants, type FileHandle, mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fromUtf8, parseJson, Shape, utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { maxLogStatementLength, parseLogStatement } from 'veritee/log'

/** Under whose keyset statements are submitted, as the log wants it. */
export interface Submitter {
  readonly keyset: unknown
  readonly operator: { readonly key: string; readonly signature: string } | null
}

/** A statement that the log does not have yet. */
export interface Kept {
  readonly submitter: Submitter
  readonly statement: string
  /** By when it must be in the log, Unix seconds. */
  readonly promisedBy: number
}

/** Beyond this the file is written anew with what is left. */
const maxWasteBytes = 4 << 20
const maxFileBytes = 1 << 30
const shape = new Shape('malformed_document')

/**
 * Statements that were promised to a log, on the disk until it has them: a line with the submitter wherever that changes, a line for each statement. It outlives the process and its keys, so
 * a crash breaks no promise. Without a path it is in memory. Statements are not secret from whoever has this file: the host sees about as much of the traffic.
 */
export class Outbox {
  readonly #path: string | null
  #file: FileHandle | null = null
  #kept: Kept[] = []
  #last: Submitter | null = null
  #bytes = 0
  #closed = false
  /** One write at a time. */
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(path: string | null) {
    this.#path = path
  }

  /** Reads what an earlier process left; half a line at the end was never acknowledged. Throws `file_unavailable`, `malformed_document`. */
  static async open(path: string | null): Promise<Outbox> {
    const outbox = new Outbox(path)
    if (path === null) return outbox
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o755 })
      const text = await readAll(path)
      outbox.#take(text.slice(0, text.lastIndexOf('\n') + 1))
      await outbox.#rewrite()
      return outbox
    } catch (cause) {
      if (cause instanceof Error && 'kind' in cause) throw cause
      throw fail('file_unavailable', `cannot use ${path} (${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'})`, cause)
    }
  }

  /** Oldest first. */
  get kept(): readonly Kept[] {
    return this.#kept
  }

  /** Durable when it resolves. Throws what the disk throws; then they may be kept or not. */
  add(submitter: Submitter, statements: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#path !== null) {
        const lines = [...(same(submitter, this.#last) ? [] : [{ submitter }]), ...statements.map((statement) => ({ statement }))]
        await this.#append(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
      }
      this.#last = submitter
      for (const statement of statements) this.#kept.push(kept(submitter, statement))
    })
  }

  /** The log has the first `count`. */
  remove(count: number): Promise<void> {
    return this.#inTurn(async () => {
      this.#kept = this.#kept.slice(count)
      if (this.#closed) return
      if (this.#path !== null && (this.#kept.length === 0 || this.#bytes > maxWasteBytes)) await this.#rewrite()
    })
  }

  async close(): Promise<void> {
    await this.#turn
    this.#closed = true
    await this.#file?.close()
    this.#file = null
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(act)
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  #take(text: string): void {
    let submitter: Submitter | null = null
    for (const line of text.split('\n').slice(0, -1)) {
      const o = shape.object(parseJson(line, { maxLength: 1 << 17, maxDepth: 8 }), 'outbox', [], ['submitter', 'statement'])
      if (o.submitter !== undefined) submitter = o.submitter as Submitter
      else if (submitter === null) throw shape.refuse('outbox', 'a submitter before the first statement')
      else this.#kept.push(kept(submitter, shape.string(o.statement, 'statement', maxLogStatementLength)))
    }
  }

  async #append(text: string): Promise<void> {
    if (this.#file === null) throw new TypeError('append: the outbox is closed')
    // At its own place: what an earlier append left half done is written over.
    this.#bytes = await writeAt(this.#file, text, this.#bytes)
  }

  /** All that is left in a new file in the place of the old one. */
  async #rewrite(): Promise<void> {
    const path = this.#path
    if (path === null) return
    const beside = `${path}.new`
    const lines: string[] = []
    let last: Submitter | null = null
    for (const { submitter, statement } of this.#kept) {
      if (!same(submitter, last)) lines.push(JSON.stringify({ submitter }))
      last = submitter
      lines.push(JSON.stringify({ statement }))
    }
    const file = await open(beside, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o600)
    let bytes: number
    try {
      bytes = await writeAt(file, lines.map((line) => `${line}\n`).join(''), 0)
      await rename(beside, path)
    } catch (cause) {
      await file.close()
      throw cause
    }
    // From here on it is the new one that lies there.
    const old = this.#file
    this.#file = file
    this.#bytes = bytes
    this.#last = last
    await old?.close()
    const directory = await open(dirname(path), constants.O_RDONLY)
    await directory.sync().finally(() => directory.close())
  }
}

/** Writes and syncs; gives the place behind it. */
async function writeAt(file: FileHandle, text: string, place: number): Promise<number> {
  const bytes = utf8(text)
  for (let written = 0; written < bytes.length; ) written += (await file.write(bytes, written, bytes.length - written, place + written)).bytesWritten
  await file.datasync()
  return place + bytes.length
}

function kept(submitter: Submitter, statement: string): Kept {
  return { submitter, statement, promisedBy: parseLogStatement(statement).statement.log.promised_by }
}

function same(a: Submitter, b: Submitter | null): boolean {
  return b !== null && (a === b || JSON.stringify(a) === JSON.stringify(b))
}

async function readAll(path: string): Promise<string> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    const { size } = await file.stat()
    if (size > maxFileBytes) throw fail('file_unavailable', `${path}: expected at most ${maxFileBytes} bytes, found ${size}`)
    return fromUtf8(await file.readFile())
  } finally {
    await file.close()
  }
}
