import { randomBytes } from 'node:crypto'
import { fromUtf8, parseJson, utf8 } from 'veritee/bytes'
import { chatOfResponses, requestLimits } from 'veritee/receipt'
import { chatEndpoint, responsesEndpoint } from '../../../http/chat-request.ts'
import { HttpError } from '../../../http/errors.ts'
import { RequestError } from '../engine/index.ts'
import { readResponsesMembers } from '../responses/request.ts'
import { inOwnWords } from '../responses/words.ts'
import type { UpstreamCall } from './answer.ts'
import { chatForm } from './forms/chat.ts'
import type { UpstreamForm } from './forms/form.ts'
import { responsesForm } from './forms/responses.ts'
import { readUpstreamRequest, type UpstreamRequest } from './request.ts'

const endpoints = [chatEndpoint, responsesEndpoint] as const
export type UpstreamEndpoint = (typeof endpoints)[number]

/** Endpoints at which models of external engines are served. */
export function isUpstreamEndpoint(path: string): path is UpstreamEndpoint {
  return endpoints.includes(path as UpstreamEndpoint)
}

/** What an engine will be asked, before the patch, and how its answer will be told. */
export interface AskedChat {
  readonly request: UpstreamRequest
  readonly value: Record<string, unknown>
  readonly bytes: Uint8Array
  /** The client asked for a response, not for a chat. */
  readonly translated: boolean
  readonly form: UpstreamForm
  /** An error by the names of the endpoint. */
  inItsWords(error: HttpError): HttpError
}

/** Reads a request as its endpoint has it. Throws {@link RequestError}. */
export function understand({ endpoint, placed, spliced, created }: UpstreamCall): AskedChat {
  const { capabilities, name: model } = placed.model
  const id = randomBytes(16).toString('hex')
  if (endpoint === chatEndpoint) {
    const request = readUpstreamRequest(spliced.value, capabilities)
    const form = chatForm({ id: `chatcmpl-${id}`, created, model }, request)
    return { request, value: spliced.value, bytes: spliced.forwarded, translated: false, form, inItsWords: (error) => error }
  }
  const echo = readResponsesMembers(spliced.value)
  const value = chatOfResponses(parseJson(fromUtf8(spliced.forwarded), requestLimits) as Record<string, unknown>)
  const request = inOwnWords(() => readUpstreamRequest(value, capabilities))
  if (request.wantsTokenIds || request.wantsPromptLogprobs)
    throw new RequestError('token ids and logprobs of a prompt are not part of a response; ask for a chat completion', { code: 'unsupported_value' })
  return {
    request,
    value,
    bytes: utf8(JSON.stringify(value)),
    translated: true,
    form: responsesForm({ id: `resp_${id}`, created, model }, echo, value.logprobs === true),
    inItsWords: (error) =>
      error.param === 'messages' ? new HttpError(error.status, error.type, error.message, { code: error.code, param: 'input' }) : error,
  }
}
