import { fail, VeriteeError } from '../../errors.ts'
import { isLoopbackHost } from '../node-transport.ts'
import type { Get, GetResult } from './get.ts'

/** Intel's own service. */
export const intelPcs = 'https://api.trustedservices.intel.com'

/** One service that gives collateral: Intel's PCS, or a cache (PCCS) in front of it. */
export interface Source {
  /** What precedes `/sgx/certification/v4`. */
  readonly base: string
  /** Intel's own has no route for the root's list, and takes no `qeid`. */
  readonly intel: boolean
}

/**
 * Reads the base URL of a source; an ending of `/sgx/certification/v4`, as PCCS configurations have it, is taken off.
 * https, or http on a loopback host. Throws `usage`.
 */
export function parseSource(text: string): Source {
  if (!URL.canParse(text)) throw fail('usage', `expected the URL of a collateral service, found ${JSON.stringify(text.slice(0, 200))}`)
  const url = new URL(text)
  const path = url.pathname.replace(/\/+$/, '').replace(/\/sgx\/certification\/v4$/, '')
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopbackHost(url.hostname)))
    throw fail('usage', `expected an https URL, or http on a loopback host, found ${url.origin}`)
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw fail('usage', `expected a URL without credentials, query or fragment, found one at ${url.host}`)
  if (/\/certification(?:\/|$)/.test(path)) throw fail('usage', `expected API version 4, found ${url.origin}${path}`)
  return { base: url.origin + path, intel: url.origin === intelPcs }
}

/** A source that did not give what was asked: what it answered, and when it wants to be asked again, where it said so. */
export class SourceError extends VeriteeError {
  override readonly name: string = 'SourceError'
  /** HTTP status; null where there was no complete answer. */
  readonly status: number | null
  readonly retryAfterMs: number | null
  constructor(message: string, status: number | null, retryAfterMs: number | null, options?: { cause?: unknown }) {
    super('collateral_unavailable', message, options)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

/** What a request to a source needs. */
export interface Exchange {
  readonly get: Get
  readonly signal: AbortSignal
  readonly now: () => Date
}

const maxBodyBytes = 1 << 20

/** One GET that must answer 200. Redirects are answers like any other here: refused. Throws {@link SourceError}. */
export async function request(url: string, { get, signal, now }: Exchange): Promise<GetResult> {
  const where = new URL(url).pathname
  let result: GetResult
  try {
    result = await untilAborted(get(url, { signal, maxBytes: maxBodyBytes }), signal)
  } catch (cause) {
    const reason = signal.aborted ? 'no complete answer in time' : cause instanceof Error ? cause.message || cause.name : 'no answer'
    throw new SourceError(`${where}: ${reason}`, null, null, { cause })
  }
  if (result.body.length > maxBodyBytes) throw new SourceError(`${where}: expected at most ${maxBodyBytes} bytes`, null, null)
  if (result.status !== 200)
    throw new SourceError(`${where}: answered ${result.status}`, result.status, retryAfter(result.headers['retry-after'], now()))
  return result
}

/** An implementation that ignores the signal must not hold its caller. */
function untilAborted<T>(pending: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const stop = (): void => reject(new Error('aborted'))
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  pending.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  return promise
}

// A service may ask for patience, not for silence.
const maxRetryAfterMs = 3_600_000

/** Seconds or an HTTP date (RFC 9110 section 10.2.3), in milliseconds from `now`, at most an hour; null for anything else. */
function retryAfter(value: string | undefined, now: Date): number | null {
  if (value === undefined) return null
  const ms = /^[0-9]{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now.getTime()
  return Number.isNaN(ms) ? null : Math.min(maxRetryAfterMs, Math.max(0, ms))
}
