import { fail, VeriteeError } from '../../errors.ts'
import type { Service } from '../establish.ts'
import type { GetDocument } from '../exchange/documents.ts'
import { PlainRefusal } from '../exchange/sending.ts'
import { fetchText } from '../fetch-text.ts'
import type { Held, ServiceKeeper } from './keeper.ts'

/** What a verified service gave, and how to let go of its transport. */
export interface Carried<T> {
  readonly result: T
  readonly held: Held
  readonly release: () => void
}

/** Sends over a service that is verified, once more where it turned out to have other keys, or to be gone: nobody has read anything then. */
export async function sendVerified<T>(
  keeper: ServiceKeeper,
  signal: AbortSignal,
  send: (service: Service, held: Held) => Promise<T>,
): Promise<Carried<T>> {
  const attempt = async (held: Held): Promise<Carried<T>> => {
    const release = keeper.acquire(held)
    try {
      return { result: await send(held.service, held), held, release }
    } catch (error) {
      release()
      if (!signal.aborted && isGone(error)) keeper.suspect(held)
      throw error
    }
  }
  const first = await keeper.current()
  try {
    return await attempt(first)
  } catch (error) {
    if (!isStale(error) && !isUnreached(error)) throw error
    return attempt(await keeper.refresh(first))
  }
}

/** Fetches documents from whoever answered over `held`, within the time that `signal` gives. Throws `receipt_missing`, `service_unavailable`, `response_too_large`. */
export function documentsFrom(
  keeper: ServiceKeeper,
  held: Held,
  authorization: { readonly [name: string]: string },
  signal: AbortSignal,
  timeoutMs: number,
): GetDocument {
  const request = (service: Service, path: string, maxBytes: number): Promise<string> =>
    fetchText(service.transport, { method: 'GET', path, headers: authorization, signal }, maxBytes, 'receipt_missing')
  const underWay = new Set<Promise<unknown>>()
  return async (path, maxBytes) => {
    const first = request(held.service, path, maxBytes)
    underWay.add(first)
    try {
      return await first
        .catch(async (error: unknown) => {
          underWay.delete(first)
          if (!isStale(error) && !isCut(error, signal)) throw error
          // A balancer has led a second connection elsewhere. The one that carried the answer leads to who has the receipt, and is free when the others are done.
          if (isStale(error)) await Promise.allSettled(underWay)
          return request(held.service, path, maxBytes)
        })
        .catch(async (error: unknown) => {
          if (!isStale(error) && !isCut(error, signal)) throw error
          // A replica that has gone meanwhile has left the receipt in the store that it shares with others.
          return request((await keeper.refresh(held)).service, path, maxBytes)
        })
    } catch (error) {
      if (!signal.aborted) throw error
      throw fail('receipt_missing', `expected ${path.split('?')[0]} within ${timeoutMs} ms, found nothing`, error)
    }
  }
}

/** It does not answer, or somebody on the way says that it does not. */
function isGone(error: unknown): boolean {
  return error instanceof VeriteeError && (error.code === 'service_unavailable' || (error instanceof PlainRefusal && error.status === 503))
}

/** The connection ended before there was a document. To ask for it again does no harm, and what comes is verified whoever gives it. */
function isCut(error: unknown, signal: AbortSignal): boolean {
  return !signal.aborted && error instanceof VeriteeError && error.code === 'service_unavailable'
}

/** No connection was made, so nothing was sent. */
function isUnreached(error: unknown): boolean {
  if (!(error instanceof VeriteeError) || error.code !== 'service_unavailable') return false
  const { cause } = error
  return cause instanceof Error && 'code' in cause && ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND'].includes(String(cause.code))
}

/** Verifying the service again may help: it has other keys than those it was verified with, and read nothing. */
function isStale(error: unknown): boolean {
  return error instanceof VeriteeError && ['channel_mismatch', 'ehbp_stale_key', 'access_token_invalid'].includes(error.code)
}
