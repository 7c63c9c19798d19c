import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Ledger } from '../enclave/runtime/ledger.ts'
import { bearer, sendError } from '../http/body.ts'
import { HttpError } from '../http/errors.ts'
import { network } from '../http/rate-limit.ts'
import type { Registry } from './registry.ts'
import type { Access, Grant } from './stages/access.ts'
import { type Outcome, relay } from './stages/answer.ts'
import { dispatch } from './stages/dispatch.ts'
import { readRequest } from './stages/read-request.ts'
import { absent, refusalOf, refuse, refuseAfter } from './stages/refuse.ts'
import { Unanswered } from './stages/served.ts'

export interface ForwardDeps {
  readonly ledger: Ledger
  readonly registry: Registry
  /** API keys and limits; without it everybody is served. */
  readonly access?: Access
}

/**
 * An endpoint that runs a model, at a controller: asks who may, reads the request, routes it to a verified worker, passes bytes on unchanged, checks the
 * worker's receipt, signs its own, and settles the account. Never throws.
 */
export async function handleForward(endpoint: string, deps: ForwardDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const { ledger, registry, access } = deps
  const abort = new AbortController()
  const { signal } = abort
  // An answer that has ended needs no signal, which costs more than its hash.
  response.once('close', () => {
    if (!response.writableFinished) abort.abort(new HttpError(499, 'invalid_request_error', 'the requester went away'))
  })
  const receipt = ledger.open(bearer(incoming))
  const { answerMs } = registry.routing.limits
  const deadline = setTimeout(() => abort.abort(timeIsUp(answerMs)), answerMs)
  let settle = (_: Outcome): void => undefined
  let outcome: Outcome = { outcome: 'error', usage: null }
  try {
    const refusal = (await access?.authenticate?.(incoming)) ?? null
    if (refusal !== null) throw refusal
    const request = await readRequest(endpoint, incoming)
    const grant = access === undefined ? null : granted(await access.admit(incoming, request.model, request.bytes))
    for (const [name, value] of Object.entries(grant?.headers ?? {})) response.setHeader(name, value)
    if (grant !== null) settle = (facts) => grant.settle({ receiptId: receipt.id, model: request.model, ...facts })
    const served = await dispatch(registry, request, grant?.tenant ?? tenantOf(incoming), signal)
    if (served instanceof HttpError) {
      outcome = { outcome: 'refused', usage: null }
      await refuse(request, served, receipt, response)
    } else if (served instanceof Unanswered) {
      const { worker, error } = served
      await refuseAfter(request, worker, refusalOf(error), { upstream: absent(error.message), outcome: 'error' }, receipt, response)
    } else
      try {
        outcome = await relay(registry, { request, receipt, response, signal }, served)
      } finally {
        served.lease.end()
      }
  } catch (error) {
    receipt.abandon()
    response.removeHeader('x-receipt-id')
    sendError(response, error)
  } finally {
    clearTimeout(deadline)
    settle(outcome)
  }
}

function granted(answer: Grant | HttpError): Grant {
  if (answer instanceof HttpError) throw answer
  return answer
}

/** Without API keys, whoever sends the same token, or comes from the same place. */
function tenantOf(incoming: IncomingMessage): string {
  const token = bearer(incoming)
  return token === null ? `address ${network(incoming.socket.remoteAddress ?? 'unknown')}` : `token ${token}`
}

/** An answer has an end, however slowly it comes. */
export function timeIsUp(answerMs: number): HttpError {
  return new HttpError(504, 'server_error', `the answer was not whole within ${answerMs / 1000} s`, { code: 'deadline_exceeded' })
}
