import type { IncomingMessage, ServerResponse } from 'node:http'
import type { PendingReceipt } from '../../enclave/runtime/ledger.ts'
import { credentialOf, sendError } from '../../http/body.ts'
import { HttpError } from '../../http/errors.ts'
import { Cancellation, type CancelSignal } from '../cancellation.ts'
import type { ForwardDeps } from '../forward.ts'
import type { Grant, Settlement } from './access.ts'

/** What an answer came to, for accounts. */
export type Outcome = Pick<Settlement, 'outcome' | 'usage'>

/** What every request that runs a model has, whether it can be read here or not. */
export interface Turn {
  readonly receipt: PendingReceipt
  /** Aborted when the requester leaves, or when its time is up. */
  readonly signal: CancelSignal
  /** Asks for the right to a model; null where everybody is served. What is granted is settled at the end. Throws the refusal. */
  readonly admit: ((model: string, promptBytes: number, answerTokens: number | null) => Grant | Promise<Grant>) | null
}

/** Asks who may, runs the request within its time, and settles its account. Answers for whatever is thrown, without a receipt. Never throws. */
export async function withTurn(
  { ledger, registry, access }: ForwardDeps,
  incoming: IncomingMessage,
  response: ServerResponse,
  run: (turn: Turn) => Promise<Outcome>,
): Promise<void> {
  const cancellation = new Cancellation()
  response.on('close', () => {
    if (!response.writableFinished) cancellation.abort(new HttpError(499, 'invalid_request_error', 'the requester went away'))
  })
  let receipt: PendingReceipt | null = null
  const { answerMs } = registry.routing.limits
  const deadline = setTimeout(() => cancellation.abort(timeIsUp(answerMs)), answerMs)
  let granted = null as { readonly grant: Grant; readonly model: string } | null
  let outcome: Outcome = { outcome: 'error', usage: null }
  try {
    // Throws where receipts cannot be kept: nobody is answered without one.
    const opened = ledger.open(credentialOf(incoming))
    receipt = opened
    if (access === undefined) outcome = await run({ receipt: opened, signal: cancellation, admit: null })
    else {
      const asked = access.authenticate?.(incoming) ?? null
      const refusal = asked instanceof Promise ? await asked : asked
      if (refusal !== null) throw refusal
      const take = (grant: Grant | HttpError, model: string): Grant => {
        if (grant instanceof HttpError) throw grant
        granted = { grant, model }
        for (const name in grant.headers) response.setHeader(name, grant.headers[name] ?? '')
        return grant
      }
      // Not async: who knows at once is not waited for.
      const admit = (model: string, promptBytes: number, answerTokens: number | null): Grant | Promise<Grant> => {
        const grant = access.admit(incoming, model, promptBytes, answerTokens)
        return grant instanceof Promise ? grant.then((late) => take(late, model)) : take(grant, model)
      }
      outcome = await run({ receipt: opened, signal: cancellation, admit })
    }
  } catch (error) {
    receipt?.abandon()
    // Where the answer has begun, by whomever, Node throws at that, and nobody waits for a turn.
    if (!response.headersSent) response.removeHeader('x-receipt-id')
    sendError(response, error)
  } finally {
    clearTimeout(deadline)
    granted?.grant.settle({ receiptId: receipt?.id ?? '', model: granted.model, outcome: outcome.outcome, usage: outcome.usage })
  }
}

/** An answer has an end, however slowly it comes. */
function timeIsUp(answerMs: number): HttpError {
  return new HttpError(504, 'server_error', `the answer was not whole within ${answerMs / 1000} s`, { code: 'deadline_exceeded' })
}
