// What a gateway on node:http and undici cannot do without, and nothing else: `bare` passes bytes on; with `proofs` it does the same cryptography as a
// controller: digests of both bodies, a leaf hash for each event and the root of their tree; of each answer's own receipt, which comes as a trailer, the
// signature and the digest, and that of its key; a signature, a digest, two keyed names and a sealed row of its own, committed in groups, durably, before the
// answer ends. It parses nothing, compares nothing, chooses nothing and keeps nothing in order: what it signs is always as long, and says nothing. With `ehbp` it
// opens the body of each request and seals that of the answer as well, in as many frames as a controller.
import { createHash, createHmac, createPublicKey, createSecretKey, generateKeyPairSync, hash, randomBytes, sign, verify } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Dispatcher, Pool } from 'undici'
import { leafHash, merkleRoot, toHex } from 'veritee/bytes'
import { BoxSeal } from '../../packages/services/src/enclave/runtime/receipts/box.ts'
import { GroupCommit } from '../../packages/services/src/enclave/runtime/receipts/group-commit.ts'
import { sealingKey } from '../../packages/services/src/enclave/runtime/sealing-key.ts'
import { type Answer, type Recipient, recipient } from './passthrough-ehbp.ts'

export interface PassthroughOrder {
  readonly upstream: string
  /** TLS 1.3 towards requesters with this key; null: plain. */
  readonly tls: { readonly key: string; readonly cert: string } | null
  /** Where rows are committed, and the key of the worker's receipts, hex; null: bare. */
  readonly proofs: { readonly directory: string; readonly receiptKey: string } | null
  /** Bodies are encrypted. */
  readonly ehbp?: boolean
  /** HTTP/2 to the upstream, by ALPN; else HTTP/1.1 with a connection for each request. */
  readonly http2?: boolean
}

export interface PassthroughReady {
  readonly port: number
  /** To which bodies are encrypted, hex. */
  readonly ehbp: string | null
}

interface Row {
  readonly key: string
  readonly box: Uint8Array
}

const event = Buffer.from('\n\n')
/** From the signature on, what every receipt ends with, and the signature's part of that: both are of one length. */
const tailLength = 14 + 128 + 35 + 64 + 2
const signaturePlace = { from: 14, to: 14 + 128 } as const

interface Proofs {
  /** Of a worker's receipt and its key: throws where the signature does not verify. */
  check(receipt: string, key: string): void
  /** Resolves when the row is durable. */
  seal(said: string, theirs: string): Promise<void>
}

function proofs({ directory, receiptKey }: NonNullable<PassthroughOrder['proofs']>): Proofs {
  const { privateKey } = generateKeyPairSync('ed25519')
  const spki = Buffer.from(`302a300506032b6570032100${receiptKey}`, 'hex')
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  // With what it is given as long as a controller's receipt.
  const ours = randomBytes(500).toString('hex')
  const box = new BoxSeal(sealingKey('file', randomBytes(32)))
  const names = createSecretKey(randomBytes(32))
  const name = (of: string): string => createHmac('sha256', names).update(of).digest('hex').slice(0, 32)
  const database = new DatabaseSync(join(directory, 'passthrough.db'))
  database.exec(
    'PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (number INTEGER PRIMARY KEY, key TEXT, alias TEXT, box BLOB) STRICT',
  )
  const insert = database.prepare('INSERT INTO rows (key, alias, box) VALUES (?, ?, ?)')
  const commits = new GroupCommit<Row & { readonly alias: string }>({
    write: async (group) => {
      database.exec('BEGIN IMMEDIATE')
      for (const { key, alias, box: content } of group) insert.run(key, alias, content)
      database.exec('COMMIT')
    },
  })
  return {
    check: (receipt, key) => {
      const tail = receipt.length - tailLength
      const message = Buffer.from(receipt.slice(0, tail) + receipt.slice(tail + signaturePlace.to + 1))
      const signature = Buffer.from(receipt.slice(tail + signaturePlace.from, tail + signaturePlace.to), 'hex')
      if (!verify(null, message, publicKey, signature)) throw new Error('the signature does not verify')
      hash('sha256', key, 'hex')
    },
    seal: (said, theirs) => {
      const text = said + hash('sha256', theirs, 'hex') + ours
      const signed = text + sign(null, Buffer.from(text), privateKey).toString('hex')
      const key = name(hash('sha256', signed, 'hex'))
      return commits.add({ key, alias: name(said), box: box.seal('rows', key, Buffer.from(signed + theirs)) })
    },
  }
}

process.on('disconnect', () => process.exit())
process.once('message', ({ upstream, tls, proofs: wanted, ehbp = false, http2 = false }: PassthroughOrder) => {
  const pool = poolOf(upstream, http2)
  const proof = wanted === null ? null : proofs(wanted)
  const sealed = ehbp ? recipient() : null
  const more = proof === null ? {} : { te: 'trailers' }
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const { plain: body, answer } = opened(sealed, request, parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts))
      const requestHash = proof === null ? '' : hash('sha256', body, 'hex')
      pool.dispatch(
        {
          method: 'POST',
          path: request.url ?? '/',
          headers: { 'content-type': 'application/json', 'x-veritee-nonce': headerOf(request, 'x-veritee-nonce'), ...more },
          body,
        },
        proof === null ? bare(response) : proving(response, proof, requestHash, answer),
      )
    })
  }
  const server = tls === null ? createServer(handle) : createTlsServer({ ...tls, minVersion: 'TLSv1.3' }, handle)
  server.listen(0, '127.0.0.1', 4096, () => {
    const { port } = server.address() as AddressInfo
    process.send?.({ port, ehbp: sealed?.publicKey ?? null } satisfies PassthroughReady)
  })
})

function poolOf(upstream: string, http2: boolean): Pool {
  const connect = { rejectUnauthorized: false, maxCachedSessions: 0 }
  // undici's own client for HTTP/2, which takes as many requests on a connection as it may; with few connections they share them.
  if (http2)
    return new Pool(upstream, {
      connections: 16,
      allowH2: true,
      pipelining: 128,
      maxConcurrentStreams: 128,
      connect: { ...connect, preferH2: true },
    })
  return new Pool(upstream, { connections: 1024, pipelining: 1, allowH2: false, connect })
}

function opened(sealed: Recipient | null, request: IncomingMessage, body: Buffer): { readonly plain: Buffer; readonly answer: Answer | null } {
  return sealed === null ? { plain: body, answer: null } : sealed.open(headerOf(request, 'ehbp-encapsulated-key'), body)
}

function headerOf({ headers }: IncomingMessage, name: string): string {
  return String(headers[name] ?? '')
}

function bare(response: ServerResponse): Dispatcher.DispatchHandler {
  return {
    onRequestStart: () => undefined,
    onResponseStart: (_, status, headers) => void response.writeHead(status, kept(headers)),
    onResponseData: (controller, part) => {
      if (response.write(part)) return
      controller.pause()
      response.once('drain', () => controller.resume())
    },
    onResponseEnd: () => void response.end(),
    onResponseError: () => void response.destroy(),
  }
}

function proving(response: ServerResponse, proof: Proofs, requestHash: string, answer: Answer | null): Dispatcher.DispatchHandler {
  const framed = (part: Buffer): Buffer => answer?.frame(part) ?? part
  const whole = createHash('sha256')
  const leaves: Uint8Array[] = []
  let key = ''
  /** Of a stream what has not gone out yet, for it waits for the commit; a plain answer whole, whose length is not known before its trailers. */
  let held: Buffer[] = []
  return {
    onRequestStart: () => undefined,
    onResponseStart: (_, status, headers) => {
      key = String(headers['x-veritee-receipt-key'])
      if (isStream(headers)) response.writeHead(status, { ...kept(headers), ...sealedHeaders(answer, key) })
    },
    onResponseData: (controller, part) => {
      whole.update(part)
      if (!response.headersSent) {
        held.push(part)
        return
      }
      for (let at = 0; at < part.length; ) {
        const end = part.indexOf(event, at)
        const next = end < 0 ? part.length : end + 2
        leaves.push(leafHash(part.subarray(at, next)) as Uint8Array)
        at = next
      }
      const [before] = held
      held = [part]
      if (before === undefined || response.write(framed(before))) return
      controller.pause()
      response.once('drain', () => controller.resume())
    },
    onResponseEnd: (_, trailers) => void finish(trailers),
    onResponseError: () => void response.destroy(),
  }

  async function finish(trailers: Headers): Promise<void> {
    const theirs = Buffer.from(String(trailers['x-veritee-receipt']), 'base64url').toString('latin1')
    proof.check(theirs, key)
    const root = leaves.length === 0 ? '' : toHex(await merkleRoot(leaves))
    await proof.seal(requestHash + whole.digest('hex') + root, theirs)
    const rest = Buffer.concat(held)
    if (!response.headersSent) {
      const type = { 'content-type': 'application/json' }
      response.writeHead(200, answer === null ? { ...type, 'content-length': rest.length } : { ...type, ...sealedHeaders(answer, key) })
    }
    response.end(framed(rest))
  }
}

function sealedHeaders(answer: Answer | null, receiptKey: string): Record<string, string> {
  return answer === null ? {} : { 'ehbp-response-nonce': answer.nonce, 'x-veritee-sealed-receipt-key': answer.receiptKey(receiptKey) }
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

function isStream(headers: Headers): boolean {
  return String(headers['content-type']).startsWith('text/event-stream')
}

function kept(headers: Headers): Record<string, string> {
  const length = headers['content-length']
  return { 'content-type': String(headers['content-type']), ...(length !== undefined && { 'content-length': String(length) }) }
}
