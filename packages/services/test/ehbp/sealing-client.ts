import { createHash, randomBytes } from 'node:crypto'
import { concatAll, utf8 } from 'veritee/bytes'
import { connect, type Service, type Transport } from 'veritee/client'
import { type EhbpKey, ehbpWorkerKey, openResponse, type SealedRequest, sealRequest } from 'veritee/ehbp'
import { policyFor } from 'veritee/policy'
import {
  EventSplitter,
  parseReport,
  parseSession,
  type SealedExchange,
  type SealedRecords,
  type SealedWorker,
  StreamTree,
  verifyReport,
  verifySealedExchange,
} from 'veritee/receipt'
import { bytesOf, type Network, now } from '../e2e/network.ts'

export const chatPath = '/v1/chat/completions'
export const sha = (bytes: Uint8Array | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

export function chatBody(stream: boolean, prompt = 'what is the capital of japan'): Uint8Array {
  return utf8(JSON.stringify({ model: 'veritee-demo', temperature: 0, messages: [{ role: 'user', content: prompt }], ...(stream ? { stream } : {}) }))
}

/** A requester that seals to the worker behind a controller, written from spec/ehbp-binding.md alone. */
export interface SealingClient {
  readonly service: Service
  readonly worker: SealedWorker
  readonly key: EhbpKey
  readonly sessionText: string
}

export async function openClient(network: Network, transport: Transport, sessionId = network.sessionId): Promise<SealingClient> {
  const service = await connect(transport, network.options())
  const text = async (path: string): Promise<string> => {
    const response = await transport.send({ method: 'GET', path })
    const body = (await bytesOf(response)).toString()
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${body}`)
    return body
  }
  const sessionText = await text(`/v1/aci/sessions/${sessionId}`)
  const session = await parseSession(sessionText, sessionId)
  const nonce = randomBytes(32).toString('hex')
  const attestedAt = now()
  const report = await verifyReport(
    parseReport(await text(`/v1/veritee/workers/${sessionId}/attestation?nonce=${nonce}`)),
    nonce,
    network.machine.trust,
    now(),
  )
  return { service, sessionText, worker: { report, policy: policyFor(network.policy, 'worker'), attestedAt }, key: ehbpWorkerKey(session, report) }
}

export interface OpenedAnswer {
  readonly status: number
  readonly headers: { readonly [name: string]: string | undefined }
  readonly body: Buffer
  /** Lengths of the plain text of each frame. */
  readonly frames: readonly number[]
  readonly wire: Buffer
  readonly request: SealedRequest
  readonly opened: Awaited<ReturnType<typeof openResponse>>
}

export function sealTo(
  network: Network,
  client: Pick<SealingClient, 'key'>,
  body: Uint8Array,
  changes: Partial<SealedRequest['binding']> = {},
): Promise<SealedRequest> {
  const binding = { method: 'POST', model: 'veritee-demo', path: chatPath, session_id: network.sessionId, ...changes }
  return sealRequest(client.key, binding, body)
}

export async function send(
  transport: Transport,
  request: SealedRequest,
  path = chatPath,
  headers: { [name: string]: string } = {},
): Promise<OpenedAnswer> {
  const response = await transport.send({ method: 'POST', path, headers: { ...request.headers, ...headers }, body: request.body })
  const opened = await openResponse(request, response.status, response.headers)
  const plain: Uint8Array[] = []
  const wire: Uint8Array[] = []
  for await (const part of response.body) {
    wire.push(part)
    plain.push(...(await opened.frames.push(part)))
  }
  opened.frames.end()
  const { status } = response
  return {
    status,
    headers: response.headers,
    body: Buffer.from(concatAll(plain)),
    frames: plain.map(({ length }) => length),
    wire: Buffer.from(concatAll(wire)),
    request,
    opened,
  }
}

/** The worker's receipt, or a proof about it, by an encrypted question of its own. */
export async function workerReceipt(
  network: Network,
  client: SealingClient,
  answer: OpenedAnswer,
  prefix: number | null = null,
): Promise<OpenedAnswer> {
  const path = '/v1/veritee/receipts'
  const receipt_id = answer.headers['x-veritee-worker-receipt-id'] ?? 'none'
  const question = utf8(JSON.stringify({ credential: answer.opened.receiptCredential, prefix, receipt_id }))
  return send(client.service.transport, await sealTo(network, client, question, { model: null, path }), path)
}

export async function exchangeOf(network: Network, answer: OpenedAnswer, body: Uint8Array): Promise<SealedExchange> {
  const { request, opened, wire, headers } = answer
  let stream: StreamTree | null = null
  if (headers['content-type']?.startsWith('text/event-stream') === true) {
    stream = new StreamTree()
    for (const event of new EventSplitter().push(answer.body)) await stream.append(event)
  }
  return {
    requestBody: body,
    responseHash: sha(answer.body),
    stream,
    complete: true,
    clientNonce: request.binding.client_nonce,
    transport: { enc: request.enc, responseNonce: opened.responseNonce },
    sessionId: network.sessionId,
    path: chatPath,
    wire: { requestHash: sha(request.body), responseHash: sha(wire) },
  }
}

export async function recordsOf(network: Network, client: SealingClient, answer: OpenedAnswer): Promise<SealedRecords> {
  const receipt = await client.service.transport.send({ method: 'GET', path: `/v1/aci/receipts/${answer.headers['x-receipt-id']}` })
  const own = await workerReceipt(network, client, answer)
  if (own.status !== 200) throw new Error(`the worker's receipt: ${own.status} ${own.body}`)
  return {
    receipt: (await bytesOf(receipt)).toString(),
    session: { text: client.sessionText },
    workerReceipt: own.body.toString(),
    workerPrefixProof: null,
  }
}

export async function prove(
  network: Network,
  client: SealingClient,
  answer: OpenedAnswer,
  body: Uint8Array,
): ReturnType<typeof verifySealedExchange> {
  const exchange = await exchangeOf(network, answer, body)
  return verifySealedExchange(exchange, await recordsOf(network, client, answer), client.service.report, client.worker, now())
}

/** What an answer says, plain or streamed. */
export function textOf(body: string): string {
  if (!body.startsWith('data:')) return (JSON.parse(body) as { choices: { message: { content: string } }[] }).choices[0]?.message.content ?? ''
  const chunks = body.split('\n\n').filter((event) => event.startsWith('data: {'))
  return chunks
    .map((event) => (JSON.parse(event.slice(6)) as { choices: { delta: { content?: string } }[] }).choices[0]?.delta.content ?? '')
    .join('')
}
