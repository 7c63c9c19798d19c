import type { IncomingMessage, ServerResponse } from 'node:http'
import { fromUtf8, parseJson, Shape } from 'veritee/bytes'
import type { Quoter } from '../enclave/runtime/quote.ts'
import { readRequestBody, sendError, sendJson } from './body.ts'
import { HttpError } from './errors.ts'
import type { RateLimit } from './rate-limit.ts'

/** Of the answers of these routes, so that nobody compares report data by the rule of the image that they come from. */
export const legacyScheme = 'veritee.legacy-attest.v1'

export interface LegacyAttestOptions {
  readonly quoter: Quoter
  readonly keysetDigest: () => string
  /** Each costs a quote. */
  readonly limit: RateLimit
}

/** One quote over the caller's `userdata` by the scheme of spec/legacy-attest.md, in base64. */
export type LegacyAttest = (incoming: IncomingMessage, response: ServerResponse, answer: (quote: string) => object) => Promise<void>

const shape = new Shape('malformed_document')

/**
 * The attestation routes of BigDL's image (rule S1): the body is `{"userdata": text}` with at most 4096 characters, the quote never has report data of the
 * caller's choice. They prove less than the report of aci/1, which names the keys and a nonce; they are for programs that must not be changed.
 */
export function createLegacyAttest({ quoter, keysetDigest, limit }: LegacyAttestOptions): LegacyAttest {
  return async (incoming, response, answer) => {
    try {
      const wait = limit.take(incoming.socket.remoteAddress ?? 'unknown')
      if (wait > 0)
        throw new HttpError(429, 'rate_limit_error', `too many challenges from this address; retry in ${wait} s`, {
          headers: { 'retry-after': String(wait) },
        })
      const body = await readRequestBody(incoming, 65_536)
      const { userdata } = shape.object(parseJson(fromUtf8(body), { maxLength: 65_536, maxDepth: 2 }), 'body', ['userdata'])
      const text = shape.string(userdata, 'userdata', 4096)
      const quote = await quoter.quote({ purpose: legacyScheme, userdata: text, keysetDigest: keysetDigest() })
      sendJson(response, JSON.stringify({ ...answer(Buffer.from(quote).toString('base64')), report_data_scheme: legacyScheme }))
    } catch (error) {
      sendError(response, error)
    }
  }
}
