// What a gateway on node:http and undici cannot do without, and nothing else: `bare` passes bytes on; with `proofs` it does the same cryptography as a
// controller (hashes of both bodies, a leaf hash for each event, one signature checked and one made for each answer) and commits one row for each answer in
// groups, durably, before the answer ends. It parses nothing, chooses nothing and fetches nothing: the signature it checks is the same one each time.
import { createHash, generateKeyPairSync, hash, randomBytes, sign, verify } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Dispatcher, Pool } from 'undici'
import { GroupCommit } from '../../packages/services/src/enclave/runtime/receipts/group-commit.ts'

export interface PassthroughOrder {
  readonly upstream: string
  /** TLS 1.3 towards requesters with this key; null: plain. */
  readonly tls: { readonly key: string; readonly cert: string } | null
  /** Where rows are committed; null: bare. */
  readonly directory: string | null
}

interface Row {
  readonly key: string
  readonly box: Uint8Array
}

const event = Buffer.from('\n\n')

function proofs(directory: string): { readonly check: () => void; readonly seal: (hashes: string) => Promise<void> } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  // As long as a worker's receipt and a controller's.
  const theirs = randomBytes(1024).toString('hex')
  const signature = sign(null, Buffer.from(theirs), privateKey)
  const ours = randomBytes(800).toString('hex')
  const database = new DatabaseSync(join(directory, 'passthrough.db'))
  database.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (number INTEGER PRIMARY KEY, key TEXT UNIQUE, box BLOB) STRICT',
  )
  const insert = database.prepare('INSERT INTO rows (key, box) VALUES (?, ?)')
  const commits = new GroupCommit<Row>({
    write: async (group) => {
      database.exec('BEGIN IMMEDIATE')
      for (const { key, box } of group) insert.run(key, box)
      database.exec('COMMIT')
    },
  })
  return {
    check: () => {
      if (!verify(null, Buffer.from(theirs), publicKey, signature)) throw new Error('the signature does not verify')
    },
    seal: (hashes) => {
      const text = hashes + ours
      const box = Buffer.from(text + sign(null, Buffer.from(text), privateKey).toString('hex') + theirs)
      return commits.add({ key: randomBytes(16).toString('hex'), box })
    },
  }
}

process.on('disconnect', () => process.exit())
process.once('message', ({ upstream, tls, directory }: PassthroughOrder) => {
  const pool = new Pool(upstream, { connections: 1024, pipelining: 1, connect: { rejectUnauthorized: false, maxCachedSessions: 0 } })
  const proof = directory === null ? null : proofs(directory)
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts)
      const requestHash = proof === null ? '' : hash('sha256', body, 'hex')
      pool.dispatch(
        { method: 'POST', path: request.url ?? '/', headers: { 'content-type': 'application/json', 'x-veritee-nonce': nonceOf(request) }, body },
        proof === null ? bare(response) : proving(response, proof, requestHash),
      )
    })
  }
  const server = tls === null ? createServer(handle) : createTlsServer({ ...tls, minVersion: 'TLSv1.3' }, handle)
  server.listen(0, '127.0.0.1', 4096, () => process.send?.({ port: (server.address() as AddressInfo).port }))
})

function nonceOf({ headers }: IncomingMessage): string {
  return String(headers['x-veritee-nonce'] ?? '')
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

function proving(response: ServerResponse, proof: ReturnType<typeof proofs>, requestHash: string): Dispatcher.DispatchHandler {
  const whole = createHash('sha256')
  let last: Buffer | null = null
  return {
    onRequestStart: () => undefined,
    onResponseStart: (_, status, headers) => void response.writeHead(status, kept(headers)),
    onResponseData: (controller, part) => {
      whole.update(part)
      for (let at = 0; at < part.length; ) {
        const end = part.indexOf(event, at)
        const next = end < 0 ? part.length : end + 2
        hash('sha256', part.subarray(at, next), 'buffer')
        at = next
      }
      // The last part waits for the commit.
      const before = last
      last = part
      if (before === null || response.write(before)) return
      controller.pause()
      response.once('drain', () => controller.resume())
    },
    onResponseEnd: () => {
      proof.check()
      void proof.seal(requestHash + whole.digest('hex')).then(() => response.end(last))
    },
    onResponseError: () => void response.destroy(),
  }
}

function kept(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const length = headers['content-length']
  return { 'content-type': String(headers['content-type']), ...(length !== undefined && { 'content-length': String(length) }) }
}
