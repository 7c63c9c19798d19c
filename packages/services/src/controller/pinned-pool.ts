import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { buildConnector, Pool } from 'undici'
import { spkiOf } from 'veritee/client'
import { fail } from 'veritee/errors'

/** PEM. */
export interface TlsKey {
  readonly key: string
  readonly cert: string
}

/**
 * Connections to one worker that all end in the TLS key its evidence binds. Certificates and authorities play no part;
 * a connection that shows another key is closed before a byte of a request is written (`channel_mismatch`). `own` is the key by which the worker knows this side.
 */
export function pinnedPool(origin: string, spkiSha256: string, connections = 1024, own: TlsKey | null = null): Pool {
  // A resumed session shows no certificate to check, so none is kept.
  const connect = buildConnector({ ...own, maxCachedSessions: 0, rejectUnauthorized: false, minVersion: 'TLSv1.3', timeout: 10_000 })
  return new Pool(origin, {
    connections,
    headersTimeout: 120_000,
    bodyTimeout: 120_000,
    connect: (options, callback) => {
      const servername = options.servername ?? options.hostname
      connect({ ...options, ...(isIP(servername) === 0 ? { servername } : {}) }, (error, socket) => {
        if (error !== null) return callback(error, null)
        const found = spkiOf(socket as TLSSocket)
        if (found !== spkiSha256) {
          socket.destroy()
          return callback(fail('channel_mismatch', `expected TLS key ${spkiSha256}, found ${found ?? 'none'}`), null)
        }
        return callback(null, socket)
      })
    },
  })
}
