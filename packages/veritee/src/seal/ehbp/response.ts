import * as crypto from '#crypto'
import { fromHex, isHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import { type FrameLimits, FrameOpener } from './frames.ts'
import { ehbpHeaders, keyProblem } from './names.ts'
import type { SealedRequest } from './request.ts'
import { responseKeys } from './response-keys.ts'

/** An answer that only the holder of the attested key can have made, being opened. */
export interface SealedResponse {
  readonly frames: FrameOpener
  readonly responseNonce: string
  /** What fetches the worker's receipt. */
  readonly receiptCredential: string
  /** Key of the token digests in the receipt; null where there is none. */
  readonly receiptKey: Uint8Array | null
}

/** Of the longest answer; frames of one byte would be many. */
const limits: FrameLimits = { maxBytes: 64 << 20, maxFrames: 1 << 22 }

/**
 * Begins to open the answer to a sealed request. `headers` have names in lower case. A plain answer is never taken for one of the service: it throws `ehbp_stale_key`
 * for the 422 that asks for a fresh verification, `service_refused` for other errors, and `ehbp_malformed` where it claims success.
 */
export async function openResponse(
  request: SealedRequest,
  status: number,
  headers: { readonly [name: string]: string | undefined },
): Promise<SealedResponse> {
  const nonce = headers[ehbpHeaders.responseNonce]
  if (nonce === undefined) {
    if (status === 422 && headers['content-type']?.startsWith(keyProblem.mediaType) === true)
      throw fail('ehbp_stale_key', 'the service says that it no longer has this key: verify it again, and seal anew')
    if (status >= 200 && status < 300) throw fail('ehbp_malformed', 'expected an encrypted answer, found a plain one that claims success')
    throw fail('service_refused', `somebody on the way answered ${status} in plain: nothing in it is from the service`)
  }
  if (!isHex(nonce, 32)) throw fail('ehbp_malformed', `${ehbpHeaders.responseNonce}: expected 64 lower-case hex digits`)
  const keys = await responseKeys(request.context, fromHex(nonce))
  const sealedKey = headers[ehbpHeaders.sealedReceiptKey]
  let receiptKey: Uint8Array | null = null
  if (sealedKey !== undefined) {
    const { key, baseNonce } = keys.receiptKeySeal
    receiptKey = isHex(sealedKey, 48) ? await crypto.openAes256Gcm(key, baseNonce, fromHex(sealedKey)) : null
    if (receiptKey === null) throw fail('ehbp_not_authentic', `${ehbpHeaders.sealedReceiptKey} does not open`)
  }
  return { frames: new FrameOpener(keys.response, limits), responseNonce: nonce, receiptCredential: keys.receiptCredential, receiptKey }
}
