import { isIP } from 'node:net'
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import { buildConnector, Pool } from 'undici'
import { spkiOf } from 'veritee/client'
import { fail } from 'veritee/errors'

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
 * connection is closed before a byte of a request is written (`channel_mismatch`). `own` is the key by which the other side knows this one.
 */
export function keyedConnector(own: TlsKey | null, demanded: (found: string) => string): buildConnector.connector {
  // One for all connections: without it each would have its own. A resumed session shows no certificate to check, so none is kept.
  // undici offers HTTP/2 unless it is told not to, and its client ends an answer early, without an error, whose trailers come while it is paused.
  const connect = buildConnector({ secureContext: contextOf(own), maxCachedSessions: 0, rejectUnauthorized: false, timeout: 10_000, allowH2: false })
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

/** Connections to one worker that all end in the TLS key its evidence binds. */
export function pinnedPool(origin: string, spkiSha256: string, connections = 1024, own: TlsKey | null = null): Pool {
  return new Pool(origin, { connections, headersTimeout: 120_000, bodyTimeout: 120_000, connect: keyedConnector(own, () => spkiSha256) })
}
