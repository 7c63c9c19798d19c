export { type ChatTemplate, loadChatTemplate } from './chat.ts'
export {
  type Completion,
  type CompletionDelta,
  type CompletionLogprob,
  type CompletionOptions,
  type CompletionResult,
  type EffectiveParameters,
  runToEnd,
  startCompletion,
} from './completion.ts'
export {
  type Engine,
  type EngineFacts,
  type EngineLoad,
  type GeneratedToken,
  type Generation,
  type ModelFacts,
  maxTopK,
  maxTopLogprobs,
  type Sampling,
  type SpecialToken,
  type TokenLogprob,
  type Vocabulary,
} from './engine.ts'
export { type LlamaEngineOptions, openLlamaEngine } from './llama.ts'
export { type ChatMessage, type ChatRequest, type ParseOptions, parseChatRequest } from './request.ts'
export { RequestError } from './request-error.ts'
export { type LoadedWeights, loadWeights, type WeightsOptions } from './weights.ts'
