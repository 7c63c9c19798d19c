import { createHash } from 'node:crypto'
import type { OutgoingHttpHeader, ServerResponse } from 'node:http'
import { isHex } from 'veritee/bytes'
import { ehbpHeaders, type ResponseKeys } from 'veritee/ehbp'
import { FrameWriter, sealNow } from './frame-writer.ts'

/**
 * Encrypts everything that is written to a response from now on, whoever writes it: errors too. Backpressure is that of the response, and nothing is held back. The key of
 * a receipt that stands in a header goes out sealed. Resolves, once the last byte is handed to the transport or the requester is gone, to the digest of what was.
 */
export function sealResponse(response: ServerResponse, keys: ResponseKeys, responseNonce: string): Promise<string> {
  if (response.headersSent) throw new TypeError('sealResponse: the response has begun')
  const writer = new FrameWriter(keys.response)
  const hash = createHash('sha256')
  const written = Promise.withResolvers<string>()
  const plain = { writeHead: response.writeHead, write: response.write, end: response.end }
  let digest: string | null = null
  const settle = (): void => {
    digest ??= `sha256:${hash.digest('hex')}`
    written.resolve(digest)
  }
  const sealed = (chunk: unknown): Buffer => {
    const frames = writer.seal(typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : (chunk as Uint8Array))
    hash.update(frames)
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
  response.writeHead = writeHead as ServerResponse['writeHead']
  response.write = ((chunk: unknown): boolean => {
    begin()
    return plain.write.call(response, sealed(chunk), 'latin1')
  }) as ServerResponse['write']
  response.end = ((chunk?: unknown): ServerResponse => {
    begin()
    const frames = typeof chunk === 'string' || chunk instanceof Uint8Array ? sealed(chunk) : Buffer.alloc(0)
    settle()
    return plain.end.call(response, frames, 'latin1')
  }) as ServerResponse['end']
  response.once('close', settle)
  return written.promise
}
