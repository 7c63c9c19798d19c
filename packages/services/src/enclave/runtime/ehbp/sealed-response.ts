import { createHash } from 'node:crypto'
import type { OutgoingHttpHeader, ServerResponse } from 'node:http'
import { isHex } from 'veritee/bytes'
import { ehbpHeaders } from 'veritee/ehbp'
import { FrameWriter, sealNow } from './frames.ts'
import type { AnswerKeys } from './key-schedule.ts'

/**
 * Encrypts everything that is written to a response from now on, whoever writes it: errors too. Backpressure is that of the response, and nothing is held back. The key of
 * a receipt that stands in a header goes out sealed. Where it is to be hashed, the promise is kept once the last byte is handed to the transport or the requester is gone, with the digest of what was.
 */
export function sealResponse(response: ServerResponse, keys: AnswerKeys, responseNonce: string, hashed: boolean): Promise<string> | null {
  if (response.headersSent) throw new TypeError('sealResponse: the response has begun')
  const writer = new FrameWriter(keys.response)
  const digest = hashed ? new WrittenDigest(response) : null
  const plain = { writeHead: response.writeHead, write: response.write, end: response.end }
  const sealed = (chunk: unknown): Buffer => {
    const frames = writer.seal(typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : (chunk as Uint8Array))
    digest?.add(frames)
    return frames
  }

  const writeHead = (status: number, ...rest: unknown[]): ServerResponse => {
    for (const [name, value] of Object.entries(rest.at(-1) ?? {})) response.setHeader(name, value as OutgoingHttpHeader)
    // That of the plain text; the encrypted body is longer.
    response.removeHeader('content-length')
    // Trailers would go out as they are.
    response.removeHeader('trailer')
    response.setHeader(ehbpHeaders.responseNonce, responseNonce)
    const receiptKey = response.getHeader(ehbpHeaders.receiptKey)
    response.removeHeader(ehbpHeaders.receiptKey)
    if (isHex(receiptKey, 32))
      response.setHeader(ehbpHeaders.sealedReceiptKey, sealNow(keys.receiptKeySeal, Buffer.from(receiptKey, 'hex')).toString('hex'))
    return plain.writeHead.call(response, status)
  }
  const begin = (): void => {
    if (!response.headersSent) writeHead(response.statusCode)
  }
  // By their names: V8 puts a function that is written where a property is assigned among its old objects, and keeps what it leads to, here the whole request, until it goes through all of them.
  const write = (chunk: unknown): boolean => {
    begin()
    return plain.write.call(response, sealed(chunk), 'latin1')
  }
  const end = (chunk?: unknown): ServerResponse => {
    begin()
    const frames = typeof chunk === 'string' || chunk instanceof Uint8Array ? sealed(chunk) : Buffer.alloc(0)
    digest?.settle()
    return plain.end.call(response, frames, 'latin1')
  }
  response.writeHead = writeHead as ServerResponse['writeHead']
  response.write = write as ServerResponse['write']
  response.end = end as ServerResponse['end']
  return digest?.written ?? null
}

/** Of what goes out over the wire. */
class WrittenDigest {
  readonly #hash = createHash('sha256')
  readonly #settled = Promise.withResolvers<string>()
  #over = false

  constructor(response: ServerResponse) {
    response.once('close', () => this.settle())
  }

  get written(): Promise<string> {
    return this.#settled.promise
  }

  add(bytes: Uint8Array): void {
    if (!this.#over) this.#hash.update(bytes)
  }

  settle(): void {
    if (this.#over) return
    this.#over = true
    this.#settled.resolve(`sha256:${this.#hash.digest('hex')}`)
  }
}
