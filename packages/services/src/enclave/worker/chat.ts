import { chatEndpoint } from '../../http/chat-request.ts'
import { drawHex } from '../runtime/random.ts'
import type { GeneratingEndpoint } from './answer.ts'
import { chatShape } from './chat-format.ts'
import { type ChatRequest, parseChatRequest, startCompletion } from './engine/index.ts'

/** `POST /v1/chat/completions` of a worker. */
export const chat: GeneratingEndpoint<ChatRequest> = {
  path: chatEndpoint,
  parse: (body) => parseChatRequest(body, { handled: ['provider'] }),
  start: (request, { engine, template }, signal) => startCompletion({ engine, template, request, signal }),
  shape: (request, model, completion, created) => chatShape({ id: `chatcmpl-${drawHex(16)}`, created, model: model.name }, request, completion),
}
