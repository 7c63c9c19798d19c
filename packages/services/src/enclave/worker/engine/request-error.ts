/** A refusal that the client can act on, in OpenAI's vocabulary. `message` names what was expected, never what a client wrote. */
export class RequestError extends Error {
  override readonly name: string = 'RequestError'
  readonly status: number
  readonly type: 'invalid_request_error' = 'invalid_request_error'
  readonly code: string | null
  /** The member of the request at fault. */
  readonly param: string | null

  constructor(message: string, options: { readonly param?: string; readonly code?: string; readonly status?: number } = {}) {
    super(message)
    this.status = options.status ?? 400
    this.code = options.code ?? null
    this.param = options.param ?? null
  }
}
