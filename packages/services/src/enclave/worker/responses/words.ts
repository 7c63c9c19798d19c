import { RequestError } from '../engine/index.ts'

const words = { messages: 'input', max_tokens: 'max_output_tokens', response_format: 'text.format', logprobs: 'include' } as const

/** Errors of a chat by the names that `/v1/responses` has for its members. The messages of these errors hold nothing of a request. */
export function inOwnWords<T>(start: () => T): T {
  try {
    return start()
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    const told = (text: string): string =>
      text
        .replace('the messages are', 'the input is')
        .replace(/\b(messages|max_tokens|response_format|logprobs)\b/g, (word) => words[word as keyof typeof words])
    throw new RequestError(told(error.message), {
      status: error.status,
      ...(error.param !== null && { param: told(error.param) }),
      ...(error.code !== null && { code: error.code }),
    })
  }
}
