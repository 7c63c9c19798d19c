import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Ledger } from '../enclave/runtime/ledger.ts'
import { bearer, sendError } from '../http/body.ts'
import { HttpError } from '../http/errors.ts'
import type { Registry } from './registry.ts'
import type { Access, Grant } from './stages/access.ts'
import { type Outcome, relay } from './stages/answer.ts'
import { dispatch } from './stages/dispatch.ts'
import { readRequest } from './stages/read-request.ts'
import { refuse } from './stages/refuse.ts'

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
  response.once('close', () => abort.abort())
  const receipt = ledger.open(bearer(incoming))
  let settle = (_: Outcome): void => undefined
  let outcome: Outcome = { outcome: 'error', usage: null }
  try {
    const refusal = (await access?.authenticate?.(incoming)) ?? null
    if (refusal !== null) throw refusal
    const request = await readRequest(endpoint, incoming)
    const grant = access === undefined ? null : granted(await access.admit(incoming, request.model, request.bytes))
    if (grant !== null) settle = (facts) => grant.settle({ receiptId: receipt.id, model: request.model, ...facts })
    const served = await dispatch(registry, request, abort.signal)
    if (served instanceof HttpError) {
      await refuse(request, served, receipt, response)
      outcome = { outcome: 'refused', usage: null }
      return
    }
    try {
      outcome = await relay(registry, request, served, receipt, response)
    } finally {
      served.end()
    }
  } catch (error) {
    receipt.abandon()
    response.removeHeader('x-receipt-id')
    sendError(response, error)
  } finally {
    settle(outcome)
  }
}

function granted(answer: Grant | HttpError): Grant {
  if (answer instanceof HttpError) throw answer
  return answer
}
