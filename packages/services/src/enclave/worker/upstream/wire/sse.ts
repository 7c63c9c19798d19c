import { EngineFailure } from './failure.ts'

/** Bytes of the largest event that is taken from an engine. */
export const maxEngineEventBytes: number = 1 << 20

const lf = 0x0a
const cr = 0x0d
const colon = 0x3a
const space = 0x20

/**
 * Cuts an engine's stream into the data of its events (WHATWG HTML, section 9.2.6): lines end with LF or CR LF, lines of data are joined by LF, comments
 * and other fields are dropped. Stricter than browsers: a CR inside a line, a line or an event beyond {@link maxEngineEventBytes}, and bytes that
 * are no UTF-8 are an {@link EngineFailure}, since what follows could be cut differently by another reader.
 *
 * A field `error`, with which older llama-servers tell of a failure in a stream, is one here too.
 */
export class SseReader {
  /** Parts of the line that has not ended, and their length: each byte is looked at once, however the chunks fall. */
  #parts: Uint8Array[] = []
  #length = 0
  #data: string[] = []
  #dataLength = 0
  #first = true
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  #keep(rest: Uint8Array): void {
    if (rest.length === 0) return
    this.#length += rest.length
    this.#check(this.#length)
    // The chunk's memory is the transport's.
    this.#parts.push(rest.slice())
  }

  /** The data of the events that end in this chunk, one by one: what came before a mistake was said. */
  *push(chunk: Uint8Array): Generator<string, void, void> {
    let start = 0
    for (let end = chunk.indexOf(lf); end >= 0; end = chunk.indexOf(lf, start)) {
      const event = this.#line(this.#take(chunk.subarray(start, end)))
      if (event !== null) yield event
      start = end + 1
    }
    this.#keep(chunk.subarray(start))
  }

  #take(end: Uint8Array): Uint8Array {
    this.#check(this.#length + end.length)
    if (this.#parts.length === 0) return end
    const line = Buffer.concat([...this.#parts, end])
    this.#parts = []
    this.#length = 0
    return line
  }

  #check(length: number): void {
    if (length + this.#dataLength > maxEngineEventBytes) throw new EngineFailure('failed', 'the engine sent an event that is too large')
  }

  #line(raw: Uint8Array): string | null {
    const line = raw.at(-1) === cr ? raw.subarray(0, -1) : raw
    if (line.includes(cr)) throw new EngineFailure('failed', 'the engine sent a stream with a carriage return inside a line')
    if (line.length === 0) return this.#dispatch()
    if (line[0] === colon) return null
    const text = this.#decode(line)
    const at = text.indexOf(':')
    const name = at < 0 ? text : text.slice(0, at)
    if (name === 'error') throw new EngineFailure('failed', 'the engine failed on this request')
    if (name !== 'data') return null
    const value = at < 0 ? '' : text.slice(text.charCodeAt(at + 1) === space ? at + 2 : at + 1)
    this.#data.push(value)
    this.#dataLength += line.length
    return null
  }

  #dispatch(): string | null {
    if (this.#data.length === 0) return null
    const event = this.#data.length === 1 ? (this.#data[0] ?? '') : this.#data.join('\n')
    this.#data = []
    this.#dataLength = 0
    return event
  }

  #decode(line: Uint8Array): string {
    try {
      const text = this.#decoder.decode(line)
      const isFirst = this.#first
      this.#first = false
      return isFirst && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
    } catch (cause) {
      throw new EngineFailure('failed', 'the engine sent a stream that is no UTF-8', { cause })
    }
  }
}
