export {
  type ChoiceResult,
  type Completion,
  type CompletionDelta,
  type CompletionResult,
  promptTokensOf,
  runToEnd,
  startCompletion,
  startText,
} from './completion/completion.ts'
export { decimal, type EffectiveParameters } from './completion/parameters.ts'
export type {
  Choice,
  Embedding,
  Engine,
  Generation,
  Guide,
  Sampling,
  Vocabulary,
} from './engine.ts'
export { type LlamaEngineOptions, openLlamaEngine } from './llama/llama.ts'
export { type ChatTemplate, loadChatTemplate } from './prompt/chat.ts'
export { isTooLong } from './prompt/text-length.ts'
export { type ChatRequest, parseChatRequest } from './request/chat-request.ts'
export { type EmbeddingRequest, parseEmbeddingRequest } from './request/embedding-request.ts'
export type { ChatMessage } from './request/messages.ts'
export { readSeed, withExactSeed } from './request/seed.ts'
export { parseTextRequest, type TextRequest } from './request/text-request.ts'
export { RequestError } from './request-error.ts'
export { seedBytes } from './sampling/sampler.ts'
export { CallReader, type ToolCall } from './tools/call-reader.ts'
export { loadSources, loadWeights } from './weights/index.ts'
