import { createHmac, createSecretKey } from 'node:crypto'
import type { ChoicesEvent, EngineFacts as DescribedEngine, DescribedModel, InferenceEvent, ModelEvent, Outcome } from 'veritee/receipt'
import type { ChatTemplate, CompletionResult, EffectiveParameters, Engine } from './engine/index.ts'

/** One model this worker serves: its engine, its template, and how descriptor and receipts name it. */
export interface ServedModel {
  readonly name: string
  readonly engine: Engine
  readonly template: ChatTemplate
  readonly described: DescribedModel
  readonly describedEngine: DescribedEngine
  readonly event: ModelEvent
}

/** `fileName` is what the descriptor calls the (first) weight file; the digests are of the bytes the engine loaded. */
export function serveModel(name: string, fileName: string, engine: Engine, template: ChatTemplate): ServedModel {
  const described: DescribedModel = {
    name,
    files: engine.model.files.map(({ name: own, sha256, size }, i) => ({ name: i === 0 ? fileName : own, sha256: `sha256:${sha256}`, size })),
    format: 'gguf',
    sealed: engine.model.sealed,
    chat_template_digest: template.digest,
  }
  const { version, build, cpuVariant } = engine.facts
  return {
    name,
    engine,
    template,
    described,
    describedEngine: { name: engine.facts.name, version, build, cpu_variant: cpuVariant },
    event: { type: 'veritee.model', ...described, provenance: 'hashed_while_loading' },
  }
}

export interface InferenceFacts {
  readonly model: ServedModel
  readonly promptTokens: readonly number[]
  readonly parameters: EffectiveParameters
  readonly result: CompletionResult
  readonly outcome: Outcome
  readonly ignored: readonly string[]
  /** The receipt's key (rule S6): without it, a digest of a short answer would be a dictionary away from the answer. */
  readonly receiptKey: Uint8Array
}

/** Parameters as the receipt tells them: what an answer was held to as a keyed digest only. */
export function toldParameters(used: EffectiveParameters, receiptKey: Uint8Array): InferenceEvent['parameters'] {
  const { seed: _, seed_source, constraint_source: constraint, ...parameters } = used
  return {
    ...parameters,
    seed_source,
    ...(constraint !== undefined && { constraint_hmac: createHmac('sha256', receiptKey).update(constraint).digest('hex') }),
  }
}

export function inferenceEvent(facts: InferenceFacts): InferenceEvent {
  return {
    type: 'veritee.inference',
    engine: facts.model.describedEngine,
    profile: facts.model.engine.facts.profile,
    prompt_tokens: facts.promptTokens.length,
    completion_tokens: facts.result.completionTokens.length,
    prompt_tokens_hmac: tokensHmac(facts.receiptKey, facts.promptTokens),
    completion_tokens_hmac: tokensHmac(facts.receiptKey, facts.result.completionTokens),
    parameters: toldParameters(facts.parameters, facts.receiptKey),
    seed: facts.parameters.seed,
    ignored_parameters: facts.ignored,
    outcome: facts.outcome,
  }
}

/** The event for requests with several answers; none for those with one. */
export function choicesEvents({ choices }: CompletionResult, receiptKey: Uint8Array): ChoicesEvent[] {
  if (choices.length < 2) return []
  const told = choices.map(({ completionTokens, outcome }) => ({
    completion_tokens: completionTokens.length,
    completion_tokens_hmac: tokensHmac(receiptKey, completionTokens),
    outcome,
  }))
  return [{ type: 'veritee.choices', choices: told }]
}

/** HMAC-SHA-256 over the token ids as 4 bytes each, little-endian (spec/receipt-events.md). */
export function tokensHmac(key: Uint8Array, tokens: readonly number[]): string {
  const bytes = Buffer.alloc(4 * tokens.length)
  for (const [i, token] of tokens.entries()) bytes.writeUInt32LE(token, 4 * i)
  // Given the bare bytes, Node finds out what they are by throwing and catching four errors, which takes ten times as long.
  return createHmac('sha256', createSecretKey(key)).update(bytes).digest('hex')
}
