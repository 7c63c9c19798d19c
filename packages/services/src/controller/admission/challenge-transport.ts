import { Pool } from 'undici'
import { nodeTransport, type Transport, type TransportResponse } from 'veritee/client'
import { fail } from 'veritee/errors'
import { keyedConnector, type TlsKey } from '../pinned-pool.ts'

/**
 * A fresh connection to a worker for a challenge, on which this controller shows its own key: a worker that has verified it keeps a place in its queue of quotes for it (rule S22). The key
 * of the other side is remembered, and every byte comes from who holds it; whether it is the attested one is for the caller to find out. Without a key of its own, as the library's.
 */
export function challengeTransport(origin: string, own: TlsKey | null): Transport {
  if (own === null) return nodeTransport(origin)
  let seen: string | null = null
  const connect = keyedConnector(own, (found) => {
    seen ??= found
    return seen
  })
  const pool = new Pool(origin, { connections: 1, connect })
  return {
    origin,
    loopback: false,
    get spki() {
      return seen
    },
    send: async ({ method, path, headers = {}, body = null, signal, idleTimeoutMs = 60_000 }): Promise<TransportResponse> => {
      try {
        const timeouts = { headersTimeout: idleTimeoutMs, bodyTimeout: idleTimeoutMs }
        const answer = await pool.request({ method, path, headers: { ...headers }, body, ...timeouts, ...(signal !== undefined && { signal }) })
        const joined = Object.entries(answer.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')] as const)
        return { status: answer.statusCode, headers: Object.fromEntries(joined), body: answer.body }
      } catch (cause) {
        if (cause instanceof Error && 'code' in cause && cause.code === 'channel_mismatch') throw cause
        throw fail('service_unavailable', `${origin}: ${cause instanceof Error ? cause.message || cause.name : 'no answer'}`, cause)
      }
    },
    close: () => void pool.destroy(new Error('the transport was closed')).catch(() => undefined),
  }
}
