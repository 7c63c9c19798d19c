import { concatAll } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { fail } from '../../errors.ts'
import { openResponse, type SealedRequest, type SealedResponse } from '../../seal/ehbp/index.ts'
import type { TransportResponse } from '../transport.ts'

/** An answer to a sealed request while it is opened. */
export interface Opening {
  readonly sealed: SealedResponse
  /** Plain text of whole, authentic frames. Throws `ehbp_not_authentic`, `ehbp_malformed` where one is not. */
  readonly body: AsyncIterable<Uint8Array>
  /** Digest of the encrypted body as it came, once it has come. */
  wireDigest(): Promise<string>
}

/** Begins to open an answer. Throws the codes of `openResponse`. */
export async function beginOpening(request: SealedRequest, response: TransportResponse): Promise<Opening> {
  const sealed = await openResponse(request, response.status, response.headers)
  const wire: Uint8Array[] = []
  return { sealed, body: opened(sealed, response.body, wire), wireDigest: () => sha256Digest(concatAll(wire)) }
}

async function* opened({ frames }: SealedResponse, body: AsyncIterable<Uint8Array>, wire: Uint8Array[]): AsyncGenerator<Uint8Array> {
  let length = 0
  for await (const part of body) {
    length += part.length
    if (length > maxWireBytes) throw fail('response_too_large', `expected at most ${maxWireBytes} bytes`)
    wire.push(part)
    yield* await frames.push(part)
  }
  frames.end()
}

const maxWireBytes = 80 << 20
