import type { Outcome } from 'veritee/receipt'
import { EngineFailure } from './wire/failure.ts'

export type Members = Record<string, unknown>

/** One object of an engine's answer, checked as far as every form of it needs. */
export interface EngineChunk {
  readonly from: Members
  readonly choices: readonly Members[]
  /** The engine's own counts, where this object has them. */
  readonly usage: Members | null
}

const maxChoices = 128
/** Of prompt and all choices together. */
const maxTokenIds = 1 << 21

/** Why an answer may end. Anything else (`abort`, `error`) is no answer. */
const finishReasons = ['stop', 'length', 'tool_calls', 'function_call', 'content_filter']

/** Reads what an engine answers, object by object, and keeps what the receipt needs. What the client gets of it is for the form of its endpoint to write. */
export class EngineAnswer {
  readonly #wantsTokenIds: boolean
  readonly #finished = new Map<number, string | null>()
  readonly #completionTokens = new Map<number, number[]>()
  #promptTokens: readonly number[] | null = null
  #tokenIds = 0
  #usage: { readonly prompt: number; readonly completion: number } | null = null

  /** `wantsTokenIds`: the client wants the ids itself, and choices keep them. */
  constructor(wantsTokenIds: boolean) {
    this.#wantsTokenIds = wantsTokenIds
  }

  /** One event of a stream. Throws {@link EngineFailure}. */
  chunk(data: string): EngineChunk {
    return this.#read(data, 'delta')
  }

  /** A whole answer. Throws {@link EngineFailure}. */
  whole(data: string): EngineChunk {
    const answer = this.#read(data, 'message')
    this.finish()
    return answer
  }

  /** Says that the engine called its answer done. Throws {@link EngineFailure} where no choice came, or one without an end. */
  finish(): void {
    if (this.#finished.size === 0) throw new EngineFailure('failed', 'the engine ended without an answer')
    if ([...this.#finished.values()].includes(null)) throw new EngineFailure('failed', 'the engine ended within an answer')
  }

  get outcome(): Extract<Outcome, 'complete' | 'length'> {
    return [...this.#finished.values()].includes('length') ? 'length' : 'complete'
  }

  /** As the engine counts; null where it did not say. */
  get usage(): { readonly prompt: number; readonly completion: number } | null {
    return this.#usage
  }

  get promptTokens(): readonly number[] | null {
    return this.#promptTokens
  }

  /** Of all choices, in their order; null where the engine sent none. */
  get completionTokens(): readonly number[] | null {
    if (this.#completionTokens.size === 0) return null
    return [...this.#completionTokens].toSorted(([a], [b]) => a - b).flatMap(([, tokens]) => tokens)
  }

  #read(data: string, content: 'delta' | 'message'): EngineChunk {
    let value: unknown
    try {
      value = JSON.parse(data)
    } catch {
      // Without the cause: its message quotes the text.
      throw new EngineFailure('failed', 'the engine sent something that is no JSON')
    }
    if (!isObject(value)) throw new EngineFailure('failed', 'the engine sent something that is no JSON object')
    // vLLM and SGLang: `{"error":{...}}`, before `{"object":"error",...}`; Ollama: `{"error":"..."}`.
    if ((value.error !== undefined && value.error !== null) || value.object === 'error')
      throw new EngineFailure('failed', 'the engine failed on this request')
    const usage = isObject(value.usage) ? value.usage : null
    if (usage !== null) this.#count(usage)
    if (Array.isArray(value.prompt_token_ids)) this.#promptTokens = this.#ids(value.prompt_token_ids)
    return { from: value, choices: this.#choices(value, content), usage }
  }

  #choices(from: Members, content: 'delta' | 'message'): Members[] {
    if (!Array.isArray(from.choices)) throw new EngineFailure('failed', 'the engine sent an answer without choices')
    return from.choices.map((choice: unknown) => {
      if (!isObject(choice) || !isObject(choice[content])) throw new EngineFailure('failed', 'the engine sent a choice that cannot be read')
      // Engines with one choice may leave its number out.
      const { index = 0, finish_reason: reason = null, token_ids: ids, ...rest } = choice
      if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= maxChoices)
        throw new EngineFailure('failed', 'the engine numbered its choices out of bounds')
      if (reason !== null && (typeof reason !== 'string' || !finishReasons.includes(reason)))
        throw new EngineFailure('failed', 'the engine did not bring its answer to an end')
      this.#finished.set(index, (reason as string | null) ?? this.#finished.get(index) ?? null)
      if (Array.isArray(ids)) this.#keep(index, this.#ids(ids))
      return { index, ...rest, finish_reason: reason, ...(this.#wantsTokenIds && { token_ids: ids ?? null }) }
    })
  }

  #keep(index: number, ids: readonly number[]): void {
    const kept = this.#completionTokens.get(index)
    if (kept === undefined) this.#completionTokens.set(index, [...ids])
    else for (const id of ids) kept.push(id)
  }

  #ids(value: readonly unknown[]): number[] {
    this.#tokenIds += value.length
    if (this.#tokenIds > maxTokenIds) throw new EngineFailure('failed', 'the engine sent more token ids than an answer has')
    return value.map((id) => {
      if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > 0xffff_ffff)
        throw new EngineFailure('failed', 'the engine sent malformed token ids')
      return id
    })
  }

  #count(usage: Members): void {
    const { prompt_tokens: prompt, completion_tokens: completion = 0 } = usage
    if (typeof prompt !== 'number' || typeof completion !== 'number' || !Number.isSafeInteger(prompt) || !Number.isSafeInteger(completion)) return
    if (prompt >= 0 && completion >= 0) this.#usage = { prompt, completion }
  }
}

/** Throws {@link EngineFailure}. */
export function jsonOf(value: object): string {
  try {
    return JSON.stringify(value)
  } catch (cause) {
    // Nested deeper than the stack.
    throw new EngineFailure('failed', 'the engine sent something that cannot be passed on', { cause })
  }
}

export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
