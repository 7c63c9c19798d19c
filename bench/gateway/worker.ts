// The upstream of every row: a worker without a model. Its quote is a simulator's and its answers are made up, its receipts are really signed, over the
// bytes that it was sent and sends, so that a controller accepts them as matching. HTTP/1.1 on bare sockets and HTTP/2 by Node, with TLS (whichever the gateway asks for) and without.
import { createHash, randomBytes } from 'node:crypto'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { type Json, jcs, toHex, utf8 } from 'veritee/bytes'
import type { Policy } from 'veritee/policy'
import { type ReceiptEvent, type ServiceDescriptor, StreamTree } from 'veritee/receipt'
import { demoPolicy } from '../../packages/services/src/demo/policy.ts'
import { simulateMachine } from '../../packages/services/src/demo/system.ts'
import { createIdentity } from '../../packages/services/src/enclave/runtime/identity.ts'
import { createQuoter } from '../../packages/services/src/enclave/runtime/quote.ts'
import { keyEvents } from '../../packages/services/src/enclave/runtime/receipts/key-event.ts'
import { createSimDevice } from '../../packages/services/src/enclave/runtime/sim-device.ts'
import { type RawRequest, readRequests } from './http-socket.ts'
import { type Reply, readStreams, SocketReply } from './reply.ts'

/** `forged`: receipts over other requests, to see that whoever measures notices. */
export type WorkerOrder = 'true' | 'forged'

/** What the others need to know of it. */
export interface WorkerReady {
  readonly plainPort: number
  /** HTTP/2 without TLS, for who knows it. */
  readonly plainHttp2Port: number
  readonly tlsPort: number
  readonly keysetDigest: string
  /** Of its receipts, hex. */
  readonly receiptKey: string
  readonly root: Uint8Array
  readonly policy: Policy
  /** A key for gateways that have none of their own. */
  readonly tls: { readonly key: string; readonly cert: string }
}

const now = (): Date => new Date()
const zeros = `sha256:${'0'.repeat(64)}`
const endpoint = '/v1/chat/completions'
const weights = { name: 'bench', files: [{ name: 'bench.gguf', sha256: `sha256:${'ab'.repeat(32)}`, size: 1_000_000 }] }
const described = { ...weights, format: 'gguf', sealed: false, chat_template_digest: zeros } as const
const engine = { name: 'llama.cpp', version: 'b6881', build: zeros, cpu_variant: 'haswell' }
const descriptor: ServiceDescriptor = {
  version: 'veritee.descriptor.v1',
  role: 'worker',
  configuration_digest: zeros,
  models: [described],
  engine,
  admission: null,
  operator_key: null,
  release: { version: '0', commit: null },
  extensions: {},
}

const machine = await simulateMachine(now)
const identity = await createIdentity({
  descriptor,
  quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.worker)),
  collateral: () => machine.platform.collateral,
  now,
})

/** The last receipts, for controllers that fetch them. */
const receipts = new Map<string, string>()
let answers = 0
let previous: string | null = null

interface Exchange {
  readonly id: string
  readonly chatId: string
  readonly requestHash: string
  readonly clientNonce: string | null
  readonly key: Buffer
}

function begin({ body, headers }: RawRequest): Exchange {
  const number = String(++answers).padStart(12, '0')
  return {
    id: `rcpt-${number}`,
    chatId: `chatcmpl-${number}`,
    requestHash: forged ? zeros : hashOf(body),
    clientNonce: headers.get('x-veritee-nonce') ?? null,
    key: randomBytes(32),
  }
}

function hashOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** As long, and with the same events, as the receipt of a worker with a model. */
function sign({ id, chatId, requestHash, clientNonce, key }: Exchange, bodyHash: string, tokens: number, stream: ReceiptEvent | null): string {
  const hmac = zeros.slice(7)
  const unsigned = {
    api_version: 'aci/1',
    receipt_id: id,
    chat_id: chatId,
    model: 'bench',
    workload_keyset_digest: identity.keysetDigest,
    endpoint,
    method: 'POST',
    served_at: Math.floor(Date.now() / 1000),
    event_log: [
      { type: 'request.received', body_hash: requestHash },
      { type: 'request.forwarded', body_hash: requestHash },
      { type: 'veritee.request', client_nonce: clientNonce },
      { type: 'veritee.model', ...described, provenance: 'hashed_while_loading' },
      {
        type: 'veritee.inference',
        engine,
        profile: 'default',
        prompt_tokens: 12,
        completion_tokens: tokens,
        prompt_tokens_hmac: hmac,
        completion_tokens_hmac: hmac,
        parameters: { temperature: '0.7', top_p: '1', min_p: '0', top_k: 1024, max_tokens: 256, stop: [], seed_source: 'enclave' },
        seed: hmac.slice(32),
        ignored_parameters: [],
        outcome: 'complete',
      },
      ...(stream === null ? [] : [stream]),
      { type: 'response.returned', body_hash: bodyHash },
      ...keyEvents(key),
      { type: 'veritee.chain', sequence: answers, previous },
    ],
    key_id: identity.receiptKeyId,
  }
  const text = jcs(unsigned as unknown as Json)
  const place = text.lastIndexOf(',"workload_keyset_digest":')
  const signed = `${text.slice(0, place)},"signature":"${toHex(identity.signReceipt(utf8(text)))}"${text.slice(place)}`
  previous = hashOf(utf8(signed))
  receipts.set(id, signed)
  const [oldest] = receipts.keys()
  if (receipts.size > 4096 && oldest !== undefined) receipts.delete(oldest)
  return signed
}

interface OpenStream {
  readonly reply: Reply
  readonly exchange: Exchange
  readonly trailer: boolean
  readonly hash: ReturnType<typeof createHash>
  readonly tree: StreamTree
  readonly wanted: number
  readonly paceMs: number
  sent: number
  nextAt: number
}

const open = new Set<OpenStream>()
const tickMs = 4

/** All streams take their step in one turn, as those of one batch do. Each event is a write of its own. */
setInterval(() => {
  const at = performance.now()
  for (const stream of open) {
    if (stream.reply.gone) open.delete(stream)
    else if (at >= stream.nextAt) {
      stream.nextAt += stream.paceMs
      if (stream.sent < stream.wanted) emit(stream, dataOf(stream.exchange, stream.sent++))
      else {
        open.delete(stream)
        void end(stream)
      }
    }
  }
}, tickMs)

function dataOf({ chatId }: Exchange, i: number): Buffer {
  const delta = { index: 0, delta: { content: ` token${i % 1000}` }, logprobs: null, finish_reason: null }
  return Buffer.from(
    `data: ${JSON.stringify({ id: chatId, object: 'chat.completion.chunk', created: 1_700_000_000, model: 'bench', choices: [delta] })}\n\n`,
  )
}

function emit({ reply, hash, tree }: OpenStream, event: Buffer): void {
  hash.update(event)
  void tree.append(event)
  reply.part(event)
}

async function end(stream: OpenStream): Promise<void> {
  const done = Buffer.from('data: [DONE]\n\n')
  stream.hash.update(done)
  await stream.tree.append(done)
  const receipt = sign(stream.exchange, `sha256:${stream.hash.digest('hex')}`, stream.sent, await stream.tree.event())
  stream.reply.end(done, trailerOf(stream.trailer, receipt))
}

function trailerOf(wanted: boolean, receipt: string): Readonly<Record<string, string>> {
  return wanted ? { 'x-veritee-receipt': Buffer.from(receipt).toString('base64url') } : {}
}

function answer(reply: Reply, request: RawRequest): void {
  const exchange = begin(request)
  const text = request.body.toString('latin1')
  const trailer = request.headers.get('te')?.includes('trailers') === true
  const announced = {
    'x-receipt-id': exchange.id,
    'x-veritee-receipt-key': exchange.key.toString('hex'),
    ...(trailer && { trailer: 'x-veritee-receipt' }),
  }
  if (!text.includes('"stream":true')) {
    const message = { role: 'assistant', content: 'Words that answer what was asked, as many as a short answer has. '.repeat(4) }
    const body = Buffer.from(
      JSON.stringify({
        id: exchange.chatId,
        object: 'chat.completion',
        created: 1_700_000_000,
        model: 'bench',
        choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }],
        usage: { prompt_tokens: 12, completion_tokens: 64, total_tokens: 76 },
      }),
    )
    const receipt = sign(exchange, hashOf(body), 64, null)
    reply.whole(200, { 'content-type': 'application/json', ...announced }, body, trailer ? trailerOf(true, receipt) : null)
    return
  }
  reply.begin({ 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', ...announced })
  open.add({
    reply,
    exchange,
    trailer,
    hash: createHash('sha256'),
    tree: new StreamTree(),
    wanted: Number(/"max_tokens":(\d+)/.exec(text)?.[1] ?? 8),
    paceMs: Number(/"user":"pace-(\d+)"/.exec(text)?.[1] ?? tickMs),
    sent: 0,
    nextAt: performance.now(),
  })
}

function handle(request: RawRequest, reply: Reply): void {
  const { pathname, searchParams } = new URL(request.path, 'http://worker')
  const receipt = receipts.get(pathname.slice('/v1/aci/receipts/'.length))
  const send = (status: number, text: string): void => reply.whole(status, { 'content-type': 'application/json' }, Buffer.from(text), null)
  if (request.method === 'POST') answer(reply, request)
  else if (pathname === '/v1/aci/attestation') void identity.report(searchParams.get('nonce')).then((report) => send(200, report))
  else if (receipt !== undefined) send(200, receipt)
  else send(404, '{}')
}

function serve(socket: Socket): void {
  const reply = new SocketReply(socket)
  readRequests(socket, (request) => handle(request, reply))
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  return (server.address() as AddressInfo).port
}

let forged = false
process.on('disconnect', () => process.exit())
process.once('message', (order: WorkerOrder) => {
  forged = order === 'forged'
  void ready().then((told) => process.send?.(told))
})

async function ready(): Promise<WorkerReady> {
  return {
    plainPort: await listening(createServer(serve)),
    plainHttp2Port: await listening(createServer((socket) => readStreams(socket, handle))),
    tlsPort: await listening(
      createTlsServer({ ...identity.tls, minVersion: 'TLSv1.3', ALPNProtocols: ['h2', 'http/1.1'] }, (socket) =>
        socket.alpnProtocol === 'h2' ? readStreams(socket, handle) : serve(socket),
      ),
    ),
    keysetDigest: identity.keysetDigest,
    receiptKey: identity.keyset.receipt_signing_keys[0]?.public_key ?? '',
    root: machine.platform.root,
    policy: demoPolicy(machine.enclaves, { bench: weights.files.map(({ sha256 }) => sha256) }),
    tls: identity.tls,
  }
}
