import type { Adjustments } from './sampling/adjustments.ts'
import type { Constraint } from './sampling/constraint.ts'

/**
 * What the worker needs from an inference engine: token ids in, token ids out, chosen by our own sampler from raw logits, so that any
 * answer can be replayed position by position. One engine is one loaded model.
 */
export interface Engine {
  readonly facts: EngineFacts
  readonly model: ModelFacts
  readonly vocabulary: Vocabulary
  /** False while the engine cannot take requests: after `dispose`, while a failed engine process is started again, and while an evaluation in this process hangs. */
  readonly ready: boolean
  /** Requests that run, and that wait for a sequence, at this moment. */
  readonly load: EngineLoad
  /**
   * Starts one generation. The place in the queue is taken by the call itself, so a full queue throws here and not at the first token.
   * Throws `engine_busy` (queue full), `engine_unavailable` (not ready), `context_overflow` (prompt and maxTokens do not fit), `TypeError` (wrong arguments);
   * the iterator throws `engine_failed`, `engine_stalled`, or `signal.reason` within one token of an abort.
   * The caller iterates to the end, calls `return()` or aborts: each gives the place back.
   */
  generate(generation: Generation): AsyncGenerator<GeneratedToken, void, void>
  /**
   * The vector of a text, of length 1. It is made in a context of its own, one text after the other, and not interrupted by an abort once it
   * has begun. Throws `engine_busy`, `context_overflow`, `engine_unavailable`, `engine_failed`, `engine_stalled`, `TypeError`, or the reason of the abort.
   */
  embed(tokens: readonly number[], signal?: AbortSignal): Promise<Embedding>
  /** Aborts what runs and waits, then frees the model. */
  dispose(): Promise<void>
}

/**
 * `canonical`: flash attention, batches of at most 32, Q8_0 files, so that a replay in one pass gives the same bits. `tolerant`: the same settings with a model for which that has not been shown
 * (other quantization, mixture of experts). `fast`: larger batches, asked for by the operator; what is evaluated in them has other last bits than token by token.
 */
export type EngineProfile = 'canonical' | 'tolerant' | 'fast'

/** What a receipt and the service descriptor say about the engine. Every member is a fact about the process that evaluates, none is configured text. */
export interface EngineFacts {
  readonly name: 'llama.cpp'
  /** Release of the binding and of llama.cpp inside it, `node-llama-cpp/3.22.1 llama.cpp/v0.5.0`. */
  readonly version: string
  /** `sha256:` and hex over the native files that the process of the engine has mapped; see native.ts. */
  readonly build: string
  /** The CPU variant that the library chose, such as `haswell`. Logits are bit-equal only within one build and variant. */
  readonly cpuVariant: string
  readonly profile: EngineProfile
  readonly threads: number
  /** Tokens that prompt and answer of one request may hold together. */
  readonly contextSize: number
}

export interface ModelFacts {
  /** Every file that was loaded, in order: one, or the parts of a split model. */
  readonly files: readonly { readonly name: string; readonly sha256: string; readonly size: number }[]
  /** sha256 of the whole first file, lower-case hex: the only one, or the part that holds vocabulary and chat template. */
  readonly sha256: string
  /** Of the first file. */
  readonly size: number
  readonly format: 'gguf'
  /** True where the file was encrypted at rest and opened in this process. */
  readonly sealed: boolean
  /** How the bytes reached the engine: through memory (`tmpfs`), or from the file itself, hashed before and after (`direct`). */
  readonly loading: 'tmpfs' | 'direct'
  /** `general.architecture` of the file. */
  readonly architecture: string
  readonly trainContextSize: number
  /** Numbers in the vector of a text. */
  readonly embeddingSize: number
  /** The Jinja chat template inside the file, or null. It is part of the hashed file. */
  readonly chatTemplate: string | null
}

export interface EngineLoad {
  readonly running: number
  readonly waiting: number
}

/** Text to tokens and back. */
export interface Vocabulary {
  readonly size: number
  readonly bos: number | null
  readonly eos: number | null
  /** True when the file asks for a BOS token in front of every prompt. */
  readonly addsBos: boolean
  /** Tokens that only the chat template may write, by their text, and those that the file declares as user-defined. */
  readonly specials: ReadonlyMap<string, SpecialToken>
  /** Tokens of plain text. Text that looks like a control token stays text; user-defined tokens are recognised. */
  encode(text: string): number[]
  /** The exact bytes of a token; empty for control tokens and the unknown token. A character may span several tokens. */
  bytes(token: number): Uint8Array
  /** The text of {@link bytes}, or null where they are not whole characters. */
  text(token: number): string | null
  /** The text of a token as the vocabulary writes it, control tokens included. */
  name(token: number): string
  isEndOfGeneration(token: number): boolean
}

export interface SpecialToken {
  readonly id: number
  /** `control`: structure, never from a client's text. `user-defined`: a word that the tokenizer does not split. */
  readonly kind: 'control' | 'user-defined'
  /** The tokenizer drops white space before (after) it. */
  readonly stripsLeft: boolean
  readonly stripsRight: boolean
}

/** Sampling parameters after defaults. `temperature` 0 is greedy; the others then have no effect. */
export interface Sampling {
  readonly temperature: number
  /** How many of the highest logits are candidates, 1 to {@link maxTopK}. */
  readonly topK: number
  readonly topP: number
  readonly minP: number
}

/** The widest candidate set. A request without `top_k` gets it, and its receipt says so. */
export const maxTopK = 1024

/** The most alternatives per position that `topLogprobs` may ask for. */
export const maxTopLogprobs = 20

export interface Generation {
  readonly promptTokens: readonly number[]
  readonly maxTokens: number
  readonly sampling: Sampling
  /** Done to raw logits before sampling. Default nothing. */
  readonly adjustments?: Adjustments
  /** Which tokens may come. Default all. */
  readonly constraint?: Constraint
  /** Seed bytes for S23; see sampler.ts. */
  readonly seed: Uint8Array
  /** Index of this answer among those of one request. Default 0. */
  readonly choice?: number
  /** Generation ends after one of these, or after an end-of-generation token; that last token is yielded too. */
  readonly stopTokens?: ReadonlySet<number>
  /** Alternatives to report per token, 0 to {@link maxTopLogprobs}. Absent: no probabilities are computed at all. */
  readonly topLogprobs?: number
  readonly signal?: AbortSignal
  /** Told after each part of a long prompt that was evaluated: there is no token yet. */
  readonly onProgress?: () => void
  /** For replays only: see {@link Guide}. */
  readonly guide?: Guide
}

/**
 * What somebody who repeats an answer knows of it. Expected tokens are evaluated together, up to a batch, instead of one after the other; under the
 * canonical profile that gives the same bits, so they save time and change no choice.
 */
export interface Guide {
  /** The tokens that probably follow `tokens`, the answer so far. Wrong ones cost time only. */
  expect(tokens: readonly number[]): readonly number[]
  /** Told of each choice; gives the token to go on with, whose logit is known if it was expected. Absent: goes on with the choice. */
  replace?(choice: Choice): number
}

/** How one token was chosen. */
export interface Choice {
  readonly position: number
  readonly token: number
  /** Logits after adjustments, of tokens that may come, highest first: at least the candidates of the sampler, and the expected token if it may come. */
  readonly candidates: readonly (readonly [token: number, logit: number])[]
  /** The random number of this position, from 0 to below 1. */
  draw(): number
}

export interface Embedding {
  readonly vector: Float32Array
  /** What was evaluated: the tokens given, and those that the model file asks for at the ends. */
  readonly tokens: readonly number[]
}

export interface TokenLogprob {
  readonly token: number
  /**
   * Natural logarithm of the model's own probability, before temperature and truncation. The engine sums in single precision and in an order
   * that depends on what else was asked for, so the last digits vary: for reading, not for proofs.
   */
  readonly logprob: number
}

export interface GeneratedToken {
  readonly token: number
  /** null where `topLogprobs` was absent. */
  readonly logprob: number | null
  /** The most likely tokens at this position, most likely first. */
  readonly top: readonly TokenLogprob[]
}
