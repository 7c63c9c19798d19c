import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Ledger } from '../enclave/runtime/ledger.ts'
import { bearer } from '../http/body.ts'
import { HttpError } from '../http/errors.ts'
import { network } from '../http/rate-limit.ts'
import { isUnattested, passUnattested, type UnattestedModels } from './fastchat/openai.ts'
import type { Registry } from './registry.ts'
import type { Asker } from './routing/router.ts'
import type { Access } from './stages/access.ts'
import { relay } from './stages/answer.ts'
import { dispatch } from './stages/dispatch.ts'
import { type Outcome, type Turn, withTurn } from './stages/exchange.ts'
import { answerTokensOf, type InferenceRequest, readRequest } from './stages/read-request.ts'
import { absent, refusalOf, refuse, refuseAfter } from './stages/refuse.ts'
import { type Served, Unanswered } from './stages/served.ts'

export interface ForwardDeps {
  readonly ledger: Ledger
  readonly registry: Registry
  /** API keys and limits; without it everybody is served. */
  readonly access?: Access
  /** Models of unattested workers; without it their names are unknown. */
  readonly unattested?: () => UnattestedModels | null
}

/**
 * An endpoint that runs a model, at a controller: asks who may, reads the request, routes it to a verified worker, passes bytes on unchanged, checks the
 * worker's receipt, signs its own, and settles the account. Never throws.
 */
export function handleForward(endpoint: string, deps: ForwardDeps, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const { registry } = deps
  const arrived = performance.now()
  return withTurn(deps, incoming, response, async (turn) => {
    const { receipt, signal } = turn
    const begun = await begin(endpoint, deps, incoming, response, turn)
    if ('outcome' in begun) return begun
    const { request, served } = begun
    if (served instanceof HttpError) {
      await refuse(request, served, receipt, response)
      return { outcome: 'refused', usage: null }
    }
    if (served instanceof Unanswered) {
      const { worker, error } = served
      await refuseAfter(request, worker, refusalOf(error), { upstream: absent(error.message), outcome: 'error' }, receipt, response)
      return { outcome: 'error', usage: null }
    }
    try {
      return await relay(registry, { request, receipt, response, signal, arrived }, served)
    } finally {
      served.lease.end()
    }
  })
}

interface Begun {
  readonly request: InferenceRequest
  readonly served: Served | Unanswered | HttpError
}

/**
 * Reads a request, asks who may, and routes it; where unattested workers serve the model, all of it. The content ends with this: an answer may take long, and there may be
 * thousands.
 */
async function begin(
  endpoint: string,
  { registry, unattested: others }: ForwardDeps,
  incoming: IncomingMessage,
  response: ServerResponse,
  { receipt, signal, admit }: Turn,
): Promise<Begun | Outcome> {
  const read = await readRequest(endpoint, incoming)
  const { request } = read
  const grant = admit === null ? null : await admit(request.model, request.bytes, answerTokensOf(read))
  const unattested = isUnattested(request.model) ? (others?.() ?? null) : null
  if (unattested !== null) {
    receipt.abandon()
    return { outcome: await passUnattested(unattested, read, response, signal), usage: null }
  }
  const asker = grant === null ? askerOf(incoming) : { tenant: grant.tenant, salt: grant.salt ?? grant.tenant }
  return { request, served: await dispatch(registry, read, asker, signal) }
}

/**
 * Without API keys. A token that nobody checks is as good as a random number: whoever wants more places in the queue would send as many as he likes, so those go by
 * address. It is good enough to keep what somebody has asked before from others.
 */
function askerOf(incoming: IncomingMessage): Asker {
  const socket: Asking = incoming.socket
  socket[byAddress] ??= addressAsker(socket.remoteAddress ?? 'unknown')
  const known = socket[byAddress]
  const token = bearer(incoming)
  return token === null ? known : { tenant: known.tenant, salt: `token ${token}` }
}

const byAddress = Symbol('byAddress')

/** The address of a connection does not change. */
type Asking = Socket & { [byAddress]?: Asker }

function addressAsker(address: string): Asker {
  const tenant = network(address)
  return { tenant, salt: `address ${tenant}` }
}
