import { type Completion, parseChatRequest, parseTextRequest, RequestError, startCompletion, startText } from '../enclave/worker/engine/index.ts'
import type { GenerationRequest } from '../enclave/worker/engine/request/generation-request.ts'
import { parseResponsesRequest } from '../enclave/worker/responses/request.ts'
import { chatEndpoint, completionsEndpoint, responsesEndpoint } from '../http/chat-request.ts'
import { Ended } from './report.ts'

type StartOptions = Omit<Parameters<typeof startCompletion>[0], 'request'>

/** A request of an endpoint whose answers can be replayed, with the worker's own way to start them. */
export interface Asked {
  readonly endpoint: typeof chatEndpoint | typeof completionsEndpoint | typeof responsesEndpoint
  readonly request: GenerationRequest
  /** Whether the model could call tools. */
  readonly offersTools: boolean
  /** Throws what the worker's own start throws. */
  start(options: StartOptions): Completion
}

const id = 'replay.request'

/** Reads a request as a worker reads it. Throws {@link Ended} for other endpoints, and what this version does not take. */
export function readAsked(endpoint: string, body: unknown): Asked {
  const options = { handled: ['provider'] }
  try {
    if (endpoint === chatEndpoint || endpoint === responsesEndpoint) {
      const request = endpoint === chatEndpoint ? parseChatRequest(body, options) : parseResponsesRequest(body, options)
      return { endpoint, request, offersTools: request.toolUse !== null, start: (rest) => startCompletion({ request, ...rest }) }
    }
    if (endpoint === completionsEndpoint) {
      const request = parseTextRequest(body, options)
      return { endpoint, request, offersTools: false, start: (rest) => startText({ request, ...rest }) }
    }
  } catch (error) {
    // Its message may quote the request.
    if (error instanceof RequestError) throw new Ended('request_unknown', id, 'this version does not take such a request')
    throw error
  }
  throw new Ended(
    'request_unknown',
    id,
    `expected a receipt of ${chatEndpoint}, ${completionsEndpoint} or ${responsesEndpoint}, found another endpoint`,
  )
}
