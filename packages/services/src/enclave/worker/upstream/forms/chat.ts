import { chatEndpoint } from '../../../../http/chat-request.ts'
import { errorBody } from '../../../../http/errors.ts'
import type { AnswerFrame } from '../../chat-format.ts'
import { type EngineChunk, jsonOf } from '../chunk.ts'
import type { UpstreamRequest } from '../request.ts'
import type { UpstreamForm } from './form.ts'

/**
 * Chat completions. The client's objects are ours: id, time and model's name are set here, since an engine's own can be a path, or the same for several
 * requests (Ollama draws from 999); members of the top level that are not OpenAI's are left out, as they tell of the machine (`timings`) or of the prompt
 * (`prompt_token_ids`, `__verbose`). Choices go through as they are.
 */
export function chatForm({ id, created, model }: AnswerFrame, request: UpstreamRequest): UpstreamForm {
  const head = ({ from }: EngineChunk, object: string): object => ({
    id,
    object,
    created,
    model,
    ...(typeof from.system_fingerprint === 'string' && { system_fingerprint: from.system_fingerprint.slice(0, 128) }),
    ...(request.wantsTokenIds && from.prompt_token_ids !== undefined && { prompt_token_ids: from.prompt_token_ids }),
  })
  return {
    id,
    endpoint: chatEndpoint,
    begin: () => [],
    chunk: (chunk) => {
      const { choices, usage } = chunk
      if (choices.length === 0 && !(request.includeUsage && usage !== null)) return []
      const counts = request.includeUsage ? { usage: chunk.from.usage ?? null } : {}
      return [`data: ${jsonOf({ ...head(chunk, 'chat.completion.chunk'), choices, ...counts })}\n\n`]
    },
    end: () => [],
    failed: (error) => [`data: ${errorBody(error)}\n\n`],
    done: () => 'data: [DONE]\n\n',
    whole: (answer) => {
      const logprobs = request.wantsPromptLogprobs ? { prompt_logprobs: answer.from.prompt_logprobs ?? null } : {}
      return jsonOf({ ...head(answer, 'chat.completion'), choices: answer.choices, usage: answer.from.usage ?? null, ...logprobs })
    },
  }
}
