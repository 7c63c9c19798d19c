import type { ServerResponse } from 'node:http'
import { type ErrorCode, errorTexts, VeriteeError } from 'veritee/errors'
import { HttpError } from '../../http/errors.ts'

/** The problem types of Trustee's KBS (kbs/src/error.rs) that this broker answers with. */
export type ProblemType =
  | 'AttestationError'
  | 'TokenNotFound'
  | 'TokenVerifierError'
  | 'PolicyDeny'
  | 'InvalidRequestPath'
  | 'PluginNotFound'
  | 'PluginInternalError'
const typePrefix = 'https://github.com/confidential-containers/kbs/errors'

/** An answer other than success, in the protocol's form (ErrorInformation). */
export interface Problem {
  readonly status: number
  readonly type: ProblemType
  /** Why, for our client, the audit trail and whoever reads answers. Trustee's clients pass over it. */
  readonly code: ErrorCode | null
  readonly detail: string
  readonly headers?: { readonly [name: string]: string }
}

/**
 * What is told about a failure: its code and what that code means. The error's own message stays here: it could say how a policy is made, or what a
 * descriptor of somebody else holds.
 */
export function problemOf(error: unknown, type: ProblemType): Problem {
  if (error instanceof HttpError) {
    const { status, headers } = error
    return { status, type, code: status === 429 || status === 503 ? 'kbs_busy' : 'kbs_request_malformed', detail: error.message, headers }
  }
  if (!(error instanceof VeriteeError)) return { status: 500, type: 'PluginInternalError', code: null, detail: 'the broker failed on this request' }
  const { code, kind } = error
  const detail = errorTexts[code]
  if (code === 'kbs_resource_unknown') return { status: 404, type: 'InvalidRequestPath', code, detail }
  if (kind === 'unavailable' && type !== 'AttestationError') return { status: 503, type: 'PluginInternalError', code, detail }
  // By the protocol every other refusal is a 401, that of a policy too.
  return { status: 401, type, code, detail }
}

export function sendProblem(response: ServerResponse, { status, type, code, detail, headers = {} }: Problem): void {
  const body = JSON.stringify({ type: `${typePrefix}/${type}`, detail, ...(code === null ? {} : { code }) })
  if (response.headersSent) response.destroy()
  else response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers }).end(body)
}
