import { isIP } from 'node:net'
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import { buildConnector, Pool } from 'undici'
import { spkiOf } from 'veritee/client'
import { fail } from 'veritee/errors'
import { ByKind } from './worker-pool/by-kind.ts'
import { silenceMs } from './worker-pool/exchange.ts'
import { WorkerPool } from './worker-pool/pool.ts'

/** PEM. */
export interface TlsKey {
  readonly key: string
  readonly cert: string
}

/** By the key that the other side is shown; OpenSSL takes some 20 KB for each. None is kept for a key that is no longer in force. */
const contexts = new WeakMap<object, SecureContext>()
const noKey = {}

function contextOf(own: TlsKey | null): SecureContext {
  const known = contexts.get(own ?? noKey)
  if (known !== undefined) return known
  const context = createSecureContext({ ...own, minVersion: 'TLSv1.3' })
  contexts.set(own ?? noKey, context)
  return context
}

/**
 * Opens connections that certificates and authorities play no part in: `demanded` is told of the key (SHA-256 of its SubjectPublicKeyInfo, hex) that the other side has proven to hold, and gives the one it has to be; with another one the
 * connection is closed before a byte of a request is written (`channel_mismatch`). `own` is the key by which the other side knows this one. `http2`: the other side may choose it.
 */
export function keyedConnector(own: TlsKey | null, demanded: (found: string) => string, http2 = false): buildConnector.connector {
  const connect = buildConnector({
    // One for all connections: without it each would have its own.
    secureContext: contextOf(own),
    // A resumed session shows no certificate to check, so none is kept.
    maxCachedSessions: 0,
    rejectUnauthorized: false,
    timeout: 10_000,
    allowH2: http2,
    preferH2: http2,
  })
  return (options, callback) => {
    const servername = options.servername ?? options.hostname
    connect({ ...options, ...(isIP(servername) === 0 ? { servername } : {}) }, (error, socket) => {
      if (error !== null) return callback(error, null)
      const found = spkiOf(socket as TLSSocket)
      const expected = found === null ? 'of some kind' : demanded(found)
      if (found !== expected) {
        socket.destroy()
        return callback(fail('channel_mismatch', `expected TLS key ${expected}, found ${found ?? 'none'}`), null)
      }
      return callback(null, socket)
    })
  }
}

/** Connections of HTTP/1.1 that all end in one TLS key. */
export function pinnedPool(origin: string, spkiSha256: string, connections = 1024, own: TlsKey | null = null): Pool {
  const connect = keyedConnector(own, () => spkiSha256)
  return new Pool(origin, { connections, headersTimeout: silenceMs, bodyTimeout: silenceMs, allowH2: false, connect })
}

/** Connections to one worker that all end in the TLS key its evidence binds, for so many requests at a time. */
export function pinnedWorker(origin: string, spkiSha256: string, requests: number, own: TlsKey | null = null): ByKind {
  const streams = new WorkerPool(origin, requests, (http2) => keyedConnector(own, () => spkiSha256, http2))
  return new ByKind(streams, pinnedPool(origin, spkiSha256, requests, own))
}
