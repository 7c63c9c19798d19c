import { parseJson } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { parseChatRequest, RequestError, startCompletion } from '../enclave/worker/engine/index.ts'
import { chatEndpoint } from '../http/chat-request.ts'
import { parseAnswers } from './answer.ts'
import type { ReplayModel } from './model.ts'

/**
 * The text that a model of the verifier's own gives to a chat request, made by the worker's own code, token by token. Another time it gives the same only where the
 * request leaves no chance: `temperature` 0, or a seed. Null where the model cannot take the request, and where the signal ends it before its end.
 * Throws `engine_failed`.
 */
export async function expectedAnswer(body: Uint8Array, { engine, template }: ReplayModel, signal: AbortSignal): Promise<string | null> {
  try {
    const request = parseChatRequest(parseJson(new TextDecoder().decode(body), { maxLength: 1 << 23, maxDepth: 16 }), { handled: ['provider'] })
    const completion = startCompletion({ engine, template, request, signal })
    for await (const _ of completion);
    const { outcome, text, error } = await completion.result
    if (outcome === 'error') throw error
    return outcome === 'aborted' ? null : text
  } catch (error) {
    if (error instanceof RequestError) return null
    throw error
  }
}

/** The text of a chat answer, plain or streamed; null for a body that is none. */
export function textOfAnswer(response: Uint8Array, streamed: boolean): string | null {
  try {
    return parseAnswers(response, chatEndpoint, streamed, 1)[0]?.text ?? null
  } catch (error) {
    if (error instanceof VeriteeError || error instanceof TypeError) return null
    throw error
  }
}
