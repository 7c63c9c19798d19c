import { type ClientHttp2Session, connect } from 'node:http2'
import { PassThrough, pipeline } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { buildConnector, Client } from 'undici'
import { spkiOf, type Transport } from 'veritee/client'
import type { Policy } from 'veritee/policy'
import { isInference } from '../../../src/http/chat-request.ts'
import { crossOrigin } from '../../../src/http/cross-origin.ts'
import { leaveConnection } from '../../../src/http/http2/streams.ts'
import { type Listening, listen } from '../../../src/http/listen.ts'
import { Gate } from '../../../src/process/gate.ts'
import type { Network } from '../../e2e/network.ts'

/** The API of a network's controller as its process serves it with TLS. */
export interface OverTls {
  readonly listening: Listening
  readonly gate: Gate
  /** Versions of HTTP that requests came over. */
  readonly versions: Set<string>
}

export const page = 'https://chat.example'

export async function serveOverTls({ controller }: Network): Promise<OverTls> {
  const { api, identity, keysetDigestOf } = controller.controller
  const gate = new Gate(leaveConnection)
  const gated = gate.wrap(api, isInference)
  const versions = new Set<string>()
  const bind = { host: '127.0.0.1', port: 0, tls: identity.tls, simulated: true, apiKeys: false, http2: 'requesters' } as const
  const listening = await listen(
    { ...bind, crossOrigin: crossOrigin([page], 'api') },
    (request, response) => {
      versions.add(request.httpVersion)
      return gated(request, response)
    },
    keysetDigestOf,
  )
  return { listening, gate, versions }
}

/** What a client demands that takes no plain HTTP. */
export function attestedChannel({ policy }: Network): Policy {
  const { controller } = policy.roles
  if (controller === undefined) throw new TypeError('attestedChannel: the policy says nothing of controllers')
  return { ...policy, roles: { ...policy.roles, controller: { ...controller, channel: 'attested' } } }
}

type Headers = { readonly [name: string]: string | string[] | number | undefined }

function texts(headers: Headers): { readonly [name: string]: string } {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : String(value)]))
}

/** The library's way to a service, over Node's client for HTTP/2 in place of its own. */
export function nodeHttp2({ url }: Listening): Transport & { readonly session: ClientHttp2Session } {
  const session = connect(url, { rejectUnauthorized: false })
  session.on('error', () => undefined)
  let spki: string | null = null
  return {
    session,
    origin: url,
    loopback: false,
    get spki() {
      return spki
    },
    close: () => session.destroy(),
    send: ({ method, path, headers = {}, body, signal }) => {
      const stream = session.request(
        { ':method': method, ':path': path, ...headers },
        { endStream: body === undefined, ...(signal !== undefined && { signal }) },
      )
      if (body !== undefined) stream.end(body)
      const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<Transport['send']>>>()
      stream.on('error', reject)
      stream.once('response', ({ ':status': status = 0, ...got }) => {
        spki = spkiOf(session.socket as TLSSocket)
        // Node gives up what nobody has begun to read by the end of its stream.
        resolve({ status, headers: texts(got), body: pipeline(stream, new PassThrough(), () => undefined) })
      })
      return promise
    },
  }
}

/** And over undici's. */
export function undiciHttp2({ url }: Listening): Transport {
  let spki: string | null = null
  const open = buildConnector({ allowH2: true, rejectUnauthorized: false })
  const client = new Client(url, {
    allowH2: true,
    connect: (options, callback) =>
      open(options, (...told) => {
        const [, socket] = told
        if (socket !== null) spki = spkiOf(socket as TLSSocket)
        callback(...told)
      }),
  })
  return {
    origin: url,
    loopback: false,
    get spki() {
      return spki
    },
    close: () => void client.destroy(),
    send: async ({ method, path, headers = {}, body, signal }) => {
      const answer = await client.request({ method, path, headers, body: body ?? null, ...(signal !== undefined && { signal }) })
      return { status: answer.statusCode, headers: texts(answer.headers), body: answer.body }
    },
  }
}
