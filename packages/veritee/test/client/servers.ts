import { generateKeyPairSync, sign } from 'node:crypto'
import http, { type RequestListener } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import net from 'node:net'
import { afterEach } from 'vitest'
import { certificatePem, issueSelfSignedTls } from '../../src/attestation/pki/issue.ts'

export interface TlsIdentity {
  readonly key: string
  readonly cert: string
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly spki: string
}

/** A fresh TLS key of its own, as an enclave makes one. */
export async function tlsIdentity(): Promise<TlsIdentity> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certificate, spkiSha256 } = await issueSelfSignedTls({
    publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }).subarray(-64)),
    sign: (message) => new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    notBefore: new Date(Date.now() - 300_000),
    notAfter: new Date(Date.now() + 3_600_000),
  })
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificatePem(certificate), spki: spkiSha256 }
}

export interface Served {
  readonly url: string
  readonly port: number
  close(): Promise<void>
}

const open: Served[] = []
afterEach(async () => {
  for (const server of open.splice(0)) await server.close()
})

async function listening(server: net.Server, scheme: string, port: number): Promise<Served> {
  const sockets = new Set<net.Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy())
  })
  const ready = Promise.withResolvers<void>()
  server.once('error', ready.reject).listen(port, '127.0.0.1', ready.resolve)
  await ready.promise
  const bound = (server.address() as AddressInfo).port
  const served: Served = {
    url: `${scheme}://127.0.0.1:${bound}`,
    port: bound,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
  open.push(served)
  return served
}

export function serveHttp(handler: RequestListener, port = 0): Promise<Served> {
  return listening(http.createServer(handler), 'http', port)
}

export function serveHttps(tls: Pick<TlsIdentity, 'key' | 'cert'>, handler: RequestListener, port = 0): Promise<Served> {
  return listening(https.createServer({ key: tls.key, cert: tls.cert }, handler), 'https', port)
}

/** A server below HTTP, to say what no HTTP server says. */
export function serveTcp(handler: (socket: net.Socket) => void, scheme: 'http' | 'https' = 'http'): Promise<Served> {
  return listening(net.createServer(handler), scheme, 0)
}

export async function readAll(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts).toString('utf8')
}
