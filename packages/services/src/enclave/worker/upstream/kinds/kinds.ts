import type { Capability, RewriteOperation } from 'veritee/receipt'

/** The engines that this worker knows how to speak to. Each is told apart from the others at start. */
export const engineKinds = ['vllm', 'sglang', 'llama-server', 'ollama'] as const
export type EngineKind = (typeof engineKinds)[number]

export type RewriteDefault = readonly [path: RewriteOperation['path'], value: number]

/** What is known of an engine without asking it. */
export interface KindFacts {
  /** What it does whatever its configuration. */
  readonly always: readonly Capability[]
  /** What it may do as well, by its arguments or its model: an operator says so, or it is detected. */
  readonly possible: readonly Capability[]
  /** Random bits of a seed drawn here; llama.cpp and what is made of it keep 32, of which one value means "none". */
  readonly seedBits: 31 | 48
  /** Parameters set where a request has none: the values that do nothing, as this engine writes them. */
  readonly defaults: readonly RewriteDefault[]
}

const plain: readonly RewriteDefault[] = [
  ['/temperature', 1],
  ['/top_p', 1],
]

export const kindFacts: Readonly<Record<EngineKind, KindFacts>> = {
  // Without these, vLLM takes the model's `generation_config.json`. `VLLM_BATCH_INVARIANT=1` makes it deterministic, and cannot be asked for over HTTP.
  vllm: {
    always: ['logprobs', 'promptLogprobs'],
    possible: ['deterministic', 'embeddings', 'tokenIds', 'tools'],
    seedBits: 48,
    defaults: [...plain, ['/top_k', -1], ['/min_p', 0], ['/repetition_penalty', 1]],
  },
  // The same file of the model. Token ids are not part of its OpenAI surface.
  sglang: {
    always: ['logprobs'],
    possible: ['deterministic', 'embeddings', 'tools'],
    seedBits: 48,
    defaults: [...plain, ['/top_k', -1], ['/min_p', 0], ['/repetition_penalty', 1]],
  },
  // Its own defaults are temperature 0.8, top_k 40, top_p 0.95, min_p 0.05. `top_k` 0 means all.
  'llama-server': {
    always: ['logprobs'],
    possible: ['deterministic', 'embeddings', 'tools'],
    seedBits: 31,
    defaults: [...plain, ['/top_k', 0], ['/min_p', 0]],
  },
  // `top_k` and `min_p` are not part of its OpenAI surface: its Modelfile decides. Names of models are not files, and nothing makes it repeat itself.
  ollama: { always: [], possible: ['embeddings', 'logprobs', 'tools'], seedBits: 31, defaults: plain },
}
