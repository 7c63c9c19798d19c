export { type ChatTemplate, loadChatTemplate } from './chat.ts'
export {
  type Completion,
  type CompletionDelta,
  type CompletionResult,
  type EffectiveParameters,
  runToEnd,
  startCompletion,
} from './completion.ts'
export type {
  Engine,
  Generation,
  Vocabulary,
} from './engine.ts'
export { openLlamaEngine } from './llama.ts'
export { type ChatMessage, type ChatRequest, parseChatRequest } from './request.ts'
export { RequestError } from './request-error.ts'
export { loadSource, loadWeights } from './weights.ts'
