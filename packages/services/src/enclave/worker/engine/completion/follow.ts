import type { GeneratedToken, Vocabulary } from '../engine.ts'
import { TextStream } from './text-stream.ts'

/** A piece of one answer that will not be taken back: whole characters only, and no part of a stop string. */
export interface TextDelta {
  /** Which of the answers it belongs to, 0 to n - 1. */
  readonly choice: number
  /** Empty only when `logprobs` holds tokens without text. */
  readonly text: string
  /** Present when the request asked for them, one per token whose text begins in this piece. */
  readonly logprobs?: readonly CompletionLogprob[]
}

export interface CompletionLogprob {
  readonly token: string
  readonly bytes: readonly number[]
  readonly logprob: number
  readonly topLogprobs: readonly { readonly token: string; readonly bytes: readonly number[]; readonly logprob: number }[]
}

/** What an answer has come to; filled in as it grows. */
export interface Progress {
  /** `aborted`: by the signal, or by a reader who stopped early. */
  outcome: 'complete' | 'length' | 'aborted' | 'error'
  /** All text that was yielded. */
  text: string
  /** Every sampled token, also those whose text was withheld. */
  readonly completionTokens: number[]
  /** The failure when `outcome` is `error`. */
  error?: unknown
}

export interface Following {
  readonly choice: number
  readonly vocabulary: Vocabulary
  /** Control tokens that count as text. */
  readonly written: ReadonlyMap<number, Uint8Array> | undefined
  readonly stop: readonly string[]
  readonly logprobs: boolean
  readonly maxTokens: number
  readonly progress: Progress
  readonly settle: () => void
  readonly signal: AbortSignal | undefined
}

/** Turns the tokens of one answer into text and keeps account in `progress`. Throws nothing; calls `settle` at the end, whatever the end is. */
export async function* follow(
  tokens: AsyncGenerator<GeneratedToken, void, void>,
  { choice, vocabulary, written, stop, logprobs: wanted, maxTokens, progress, settle, signal }: Following,
): AsyncGenerator<TextDelta, void, void> {
  const stream = new TextStream(stop)
  const pending: { readonly start: number; readonly logprob: CompletionLogprob }[] = []
  const delta = (released: string): TextDelta | null => {
    progress.text += released
    if (!wanted) return released === '' ? null : { choice, text: released }
    const logprobs: CompletionLogprob[] = []
    for (let [next] = pending; next !== undefined && next.start < progress.text.length; [next] = pending) {
      logprobs.push(next.logprob)
      pending.shift()
    }
    return released === '' && logprobs.length === 0 ? null : { choice, text: released, logprobs }
  }
  try {
    let stopped = false
    for await (const generated of tokens) {
      progress.completionTokens.push(generated.token)
      const start = stream.position
      const own = written?.get(generated.token)
      const released = own === undefined ? stream.add(vocabulary.bytes(generated.token), vocabulary.text(generated.token)) : stream.add(own)
      stopped = released.stopped || vocabulary.isEndOfGeneration(generated.token)
      if (wanted) pending.push({ start, logprob: describe(generated, vocabulary) })
      const piece = delta(released.text)
      if (piece !== null) yield piece
      if (released.stopped) break
      if (stopped || progress.completionTokens.length === maxTokens) {
        const rest = delta(stream.end())
        if (rest !== null) yield rest
      }
    }
    progress.outcome = stopped ? 'complete' : 'length'
  } catch (cause) {
    // An abort is an outcome; the reader sees the iteration end, and why in the result.
    if (signal?.aborted !== true) {
      progress.outcome = 'error'
      progress.error = cause
    }
  } finally {
    settle()
  }
}

function describe(generated: GeneratedToken, vocabulary: Vocabulary): CompletionLogprob {
  const one = ({ token, logprob }: { token: number; logprob: number | null }): { token: string; bytes: number[]; logprob: number } => {
    return { token: toldToken(token, vocabulary), bytes: [...vocabulary.bytes(token)], logprob: logprob ?? Number.NaN }
  }
  return { ...one(generated), topLogprobs: generated.top.map(one) }
}

/** A token as logprobs name it: its text, or its name where it has none by itself. */
export function toldToken(token: number, vocabulary: Vocabulary): string {
  return vocabulary.text(token) || vocabulary.name(token)
}
