import { VeriteeError } from 'veritee/errors'

export interface Problem {
  readonly mediaType: string
  readonly type: string
}

/** An error a service answers with: OpenAI's shape on the wire, aci/1 section 10 for its types. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number
  readonly type: string
  readonly code: string | null
  readonly param: string | null
  readonly headers: { readonly [name: string]: string }
  /** Told as a problem document (RFC 9457) of this type and not in OpenAI's shape. */
  readonly problem: Problem | null

  constructor(
    status: number,
    type: string,
    message: string,
    options: {
      code?: string | null
      param?: string | null
      headers?: { readonly [name: string]: string }
      problem?: Problem
      cause?: unknown
    } = {},
  ) {
    super(message, { cause: options.cause })
    this.status = status
    this.type = type
    this.code = options.code ?? null
    this.param = options.param ?? null
    this.headers = options.headers ?? {}
    this.problem = options.problem ?? null
  }
}

export function errorObject({ message, type, param, code }: HttpError): { readonly error: object } {
  return { error: { message, type, param, code } }
}

export function errorBody(error: HttpError): string {
  if (error.problem !== null) return JSON.stringify({ type: error.problem.type, title: error.message, status: error.status })
  return JSON.stringify(errorObject(error))
}

/** Any thrown thing as an answer. What is not an error about the request is told without its details: they could hold a prompt. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error
  if (error instanceof VeriteeError) {
    if (error.code === 'malformed_json' || error.code === 'malformed_encoding' || error.code === 'malformed_document')
      return new HttpError(400, 'invalid_request_error', `the request body is not acceptable JSON: ${error.message}`, { code: error.code })
    if (error.code === 'ehbp_binding_mismatch') return new HttpError(400, 'invalid_request_error', error.message, { code: error.code })
    if (error.code === 'quote_busy' || error.code === 'engine_busy')
      return new HttpError(429, 'rate_limit_error', error.message, { code: error.code, headers: { 'retry-after': retryAfter(error) } })
    return new HttpError(error.kind === 'unavailable' ? 503 : 500, 'server_error', error.message, { code: error.code })
  }
  return new HttpError(500, 'server_error', 'the service failed on this request', { cause: error })
}

function retryAfter(error: VeriteeError): string {
  return 'retryAfterSeconds' in error && typeof error.retryAfterSeconds === 'number' ? String(error.retryAfterSeconds) : '1'
}
