import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Json, utf8 } from '../../src/bytes/index.ts'
import { type ConnectOptions, connect, nodeTransport, type Service } from '../../src/client/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import {
  parseReceipt,
  type ReceiptEvent,
  receiptDigest,
  requestLimits,
  type SessionDocument,
  sessionId,
  spliceConstraints,
} from '../../src/receipt/index.ts'
import { createEnclave, judgedAt, modelEvent, sha, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { plainAnswer, policyOf, prefixText, sessionOf, streamEvents, treeOf } from '../receipt/scenario.ts'
import { readAll, type Served, serveHttp, serveHttps, type TlsIdentity } from './servers.ts'

export const apiKey = 'sk-very-secret'

/** What a fake controller is asked to do differently. Everything may be changed while it runs. */
export interface Behaviour {
  keysetDigest?: string | null
  receiptId?: string | null
  /** `X-Veritee-Receipt-Key`, hex. */
  receiptKey?: string
  /** Answers to paths that begin with the key, in the place of the right ones. */
  answers: { [path: string]: { status: number; body: string; headers?: { [name: string]: string } } }
  /** Alters the report before it is sent. */
  report?: (text: string) => string
  plain?: string
  /** Of answers to chats. */
  status?: number
  stream?: readonly string[]
  /** Events after which the connection is cut. */
  cutAfter?: number
  /** Milliseconds between events. */
  pauseMs?: number
  beforeReport?: () => void
  /** Edits a document before it is served; null for 404. */
  document?: (path: string, text: string) => string | null | Promise<string | null>
  /** What goes over the wire in the place of the events that were signed. */
  wire?: (events: readonly string[]) => readonly string[]
  /** What the controller's receipt says, and who signs it. */
  sealing?: Sealing
  /** Where it says that its replicas are. */
  replicas?: readonly string[]
  /** Another keyset for the reports from now on. */
  reporter?: TestEnclave
}

export interface Sealing {
  readonly controllerEvents?: (events: readonly (ReceiptEvent | Json)[]) => readonly (ReceiptEvent | Json)[]
  readonly workerEvents?: (events: readonly (ReceiptEvent | Json)[]) => readonly (ReceiptEvent | Json)[]
  readonly controllerReceipt?: { readonly [name: string]: Json }
  readonly signer?: TestEnclave
  readonly session?: Partial<SessionDocument>
}

export interface FakeService extends Served {
  readonly behaviour: Behaviour
  /** `METHOD path` of every request, and the credentials that came with them. */
  readonly requests: string[]
  readonly credentials: (string | undefined)[]
  readonly controller: TestEnclave
  readonly worker: TestEnclave
}

interface Kept {
  readonly receipt: string
  readonly workerReceipt: string
  readonly session: { readonly id: string; readonly text: string }
}

/** A controller and its worker in one server, made with Node's crypto: the client's counterpart, not the product. */
export async function fakeService(behaviour: Partial<Behaviour> = {}, tls: TlsIdentity | null = null): Promise<FakeService> {
  const controller = await createEnclave('controller', tls === null ? {} : { spki: tls.spki })
  const worker = await createEnclave('worker')
  const state: Behaviour = { answers: {}, ...behaviour }
  const requests: string[] = []
  const credentials: (string | undefined)[] = []
  let kept: Kept | null = null

  async function chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readAll(request)
    const events = state.stream ?? (body.includes('"stream":true') ? streamEvents : null)
    const text = events === null ? (state.plain ?? plainAnswer) : events.join('')
    const forwarded = sha(spliceConstraints(utf8(body), requestLimits).forwarded)
    kept = await sign(controller, worker, body, forwarded, text, events, String(request.headers['x-veritee-nonce']), state.sealing)
    response.writeHead(state.status ?? 200, {
      'content-type': events === null ? 'application/json' : 'text/event-stream',
      ...(state.keysetDigest === null ? {} : { 'x-aci-keyset-digest': state.keysetDigest ?? controller.digest }),
      ...(state.receiptKey === undefined ? {} : { 'x-veritee-receipt-key': state.receiptKey }),
      ...(state.receiptId === null ? {} : { 'x-receipt-id': state.receiptId ?? 'rcpt-1' }),
    })
    const sent = events ?? [text]
    for (const [i, event] of (state.wire?.(sent) ?? sent).entries()) {
      if (i === state.cutAfter) return void response.destroy()
      await new Promise((sent) => response.write(event, sent))
      if (state.pauseMs !== undefined) await new Promise((passed) => setTimeout(passed, state.pauseMs))
    }
    if (state.cutAfter === undefined) response.end()
    else response.destroy()
  }

  async function document(path: string, prefix: string | null): Promise<string | null> {
    if (kept === null) return null
    if (path === '/v1/aci/receipts/rcpt-1') return prefix === null ? kept.receipt : prefixText(state.stream ?? streamEvents, Number(prefix))
    if (path === `/v1/aci/sessions/${kept.session.id}`) return kept.session.text
    if (path === '/v1/veritee/receipts/rcpt-1/upstream')
      return prefix === null ? kept.workerReceipt : prefixText(state.stream ?? streamEvents, Number(prefix))
    return null
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://x')
    requests.push(`${request.method} ${url.pathname}`)
    credentials.push(request.headers.authorization)
    const instead = Object.entries(state.answers).find(([path]) => url.pathname.startsWith(path))?.[1]
    if (instead !== undefined) {
      await readAll(request)
      return void response.writeHead(instead.status, { 'x-aci-keyset-digest': controller.digest, ...instead.headers }).end(instead.body)
    }
    if (url.pathname === '/v1/chat/completions') return chat(request, response)
    if (url.pathname === '/v1/veritee/replicas' && state.replicas !== undefined) {
      const replicas = state.replicas.map((replica) => ({ url: replica }))
      return void response.end(JSON.stringify({ version: 'veritee.replicas.v1', replicas }))
    }
    if (url.pathname === '/v1/models') return void response.end('{"object":"list","data":[{"id":"demo-model"}]}')
    if (url.pathname === '/v1/aci/attestation') {
      state.beforeReport?.()
      const report = await (state.reporter ?? controller).report(url.searchParams.get('nonce'))
      return void response.end(state.report?.(report) ?? report)
    }
    const made = await document(url.pathname, url.searchParams.get('prefix'))
    const text = made === null || state.document === undefined ? made : await state.document(url.pathname, made)
    response.writeHead(text === null ? 404 : 200).end(text ?? '{"error":{"message":"no such receipt"}}')
  }
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    handle(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  }
  const served = tls === null ? await serveHttp(handler) : await serveHttps(tls, handler)
  return { ...served, behaviour: state, requests, credentials, controller, worker }
}

function same<T>(value: T): T {
  return value
}

async function sign(
  controller: TestEnclave,
  worker: TestEnclave,
  body: string,
  forwarded: string,
  answer: string,
  events: readonly string[] | null,
  clientNonce: string,
  sealing: Sealing = {},
): Promise<Kept> {
  const { controllerEvents = same, workerEvents = same, controllerReceipt, signer = controller } = sealing
  const streamed: ReceiptEvent[] = events === null ? [] : [await (await treeOf(events)).event()]
  const echo: ReceiptEvent = { type: 'veritee.request', client_nonce: clientNonce }
  const returned: ReceiptEvent = { type: 'response.returned', body_hash: sha(answer) }
  const workerReceipt = worker.receipt(workerEvents([{ type: 'request.received', body_hash: forwarded }, echo, modelEvent, ...streamed, returned]))
  const session = await sessionOf(worker, sealing.session)
  const id = await sessionId(session)
  const upstream: Json = { type: 'veritee.upstream_receipt', digest: await receiptDigest(parseReceipt(workerReceipt)), result: 'match', reason: null }
  const log = controllerEvents([
    { type: 'request.received', body_hash: sha(body) },
    echo,
    { type: 'request.forwarded', body_hash: forwarded },
    { type: 'upstream.verified', result: 'verified', required: true, model_id: 'demo-model', session_id: id },
    upstream,
    ...streamed,
    returned,
  ])
  const receipt = signer.receipt(log, controllerReceipt)
  return { receipt, workerReceipt, session: { id, text: JSON.stringify(session) } }
}

export async function optionsFor(changes: Partial<ConnectOptions> = {}): Promise<ConnectOptions> {
  return { policy: policyOf(), trust: await trust(), role: 'controller', now: () => judgedAt, ...changes }
}

export async function connected(service: Served, changes: Partial<ConnectOptions> = {}): Promise<Service> {
  return connect(nodeTransport(service.url), await optionsFor(changes))
}

export function strictChannel(): Policy {
  return policyOf({}, { channel: 'attested' })
}

export const request: Uint8Array = utf8('{"model":"demo-model","messages":[]}')
export const streamRequest: Uint8Array = utf8('{"model":"demo-model","stream":true,"messages":[]}')
