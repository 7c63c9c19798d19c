import { parseJsonSpans } from 'veritee/bytes'
import type { ToolFormat } from './tool-format.ts'

/** A call of a tool that a model has written. */
export interface ToolCall {
  readonly name: string
  /** JSON text of an object, as the model wrote it. */
  readonly arguments: string
}

/** What became certain: text of the answer, and calls. */
export interface ReadPiece {
  readonly text: string
  readonly calls: readonly ToolCall[]
  /** Both, in the order in which the model wrote them. */
  readonly parts: readonly (string | ToolCall)[]
}

function pieceOf(parts: readonly (string | ToolCall)[]): ReadPiece {
  const calls: ToolCall[] = []
  let text = ''
  for (const part of parts)
    if (typeof part === 'string') text += part
    else calls.push(part)
  return { text, calls, parts: parts.filter((part) => part !== '') }
}

const limits = { maxLength: 1 << 20, maxDepth: 64 }

/**
 * Takes the calls of tools out of an answer as it grows. Text that may be the beginning of a call is held back until it is whole. What does not
 * come to a call of a tool that was offered stays text, exactly as the model wrote it: nothing is lost and nothing is guessed.
 */
export class CallReader {
  readonly #format: ToolFormat
  readonly #names: ReadonlySet<string>
  #held = ''
  #inCall = false
  #anything = false

  constructor(format: ToolFormat, names: Iterable<string>) {
    this.#format = format
    this.#names = new Set(names)
  }

  add(text: string): ReadPiece {
    this.#held += text
    const parts: (string | ToolCall)[] = []
    for (;;) {
      if (!this.#inCall) {
        const at = this.#beginning()
        parts.push(this.#release(at.length))
        if (!at.whole) return pieceOf(parts)
        this.#inCall = true
      }
      const { begin, end } = this.#format
      const stop = end === null ? -1 : this.#held.indexOf(end, begin?.length ?? 0)
      if (end === null || stop === -1) return pieceOf(parts)
      const read = this.#read(this.#held.slice(begin?.length ?? 0, stop))
      const whole = this.#release(stop + end.length)
      parts.push(...(read ?? [whole]))
      this.#inCall = false
    }
  }

  /** The answer has ended. */
  end(): ReadPiece {
    const held = this.#release(this.#held.length)
    const { begin, end } = this.#format
    const calls = this.#inCall && end === null ? this.#read(held.slice(begin?.length ?? 0)) : null
    this.#inCall = false
    return pieceOf(calls ?? [held])
  }

  #release(length: number): string {
    const text = this.#held.slice(0, length)
    this.#held = this.#held.slice(length)
    if (text.trim() !== '') this.#anything = true
    return text
  }

  /** How much of what is held is certainly before a call, and whether one begins after it. */
  #beginning(): { readonly length: number; readonly whole: boolean } {
    const { begin } = this.#format
    if (begin === null) {
      // The whole answer, or nothing of it, is a call.
      const start = this.#held.length - this.#held.trimStart().length
      if (this.#anything || (start < this.#held.length && this.#held.charAt(start) !== '{')) return { length: this.#held.length, whole: false }
      return { length: 0, whole: start < this.#held.length }
    }
    const at = this.#held.indexOf(begin)
    if (at !== -1) return { length: at, whole: true }
    for (let length = Math.min(begin.length - 1, this.#held.length); length > 0; length--)
      if (this.#held.endsWith(begin.slice(0, length))) return { length: this.#held.length - length, whole: false }
    return { length: this.#held.length, whole: false }
  }

  #read(text: string): ToolCall[] | null {
    try {
      const { value, spans } = parseJsonSpans(text.trim(), limits)
      const items: readonly unknown[] = this.#format.list ? (value as readonly unknown[]) : [value]
      if (!Array.isArray(items) || items.length === 0 || items.length > this.#format.most) return null
      const calls = items.map((item) => this.#call(item, text.trim(), spans))
      return calls.every((call) => call !== null) ? calls : null
    } catch {
      return null
    }
  }

  #call(item: unknown, text: string, spans: ReturnType<typeof parseJsonSpans>['spans']): ToolCall | null {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return null
    const { name, [this.#format.argumentsName]: given } = item as Record<string, unknown>
    if (typeof name !== 'string' || !this.#names.has(name) || typeof given !== 'object' || given === null || Array.isArray(given)) return null
    const span = spans.get(item)?.find((member) => member.name === this.#format.argumentsName)
    return span === undefined ? null : { name, arguments: text.slice(span.valueStart, span.end) }
  }
}
