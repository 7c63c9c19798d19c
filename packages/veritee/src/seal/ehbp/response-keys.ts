import * as crypto from '#crypto'
import { concat, utf8 } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import type { FrameKey } from './frame-key.ts'
import { expand, exportSecret, extract, type HpkeContext } from './hpke.ts'

/** What both sides derive for the answer of one exchange. */
export interface ResponseKeys {
  readonly response: FrameKey
  /** Under it a sealed worker keeps the receipt of the exchange: 64 hex digits, known to the two sides only. */
  readonly receiptCredential: string
  /** Seals the key of the receipt's token digests, which in a plain header everybody on the way would read. */
  readonly receiptKeySeal: FrameKey
}

/** Derives the keys of an answer from the exchange and the 32 bytes that the service draws for it (EHBP section 4.4, which is RFC 9458's way). */
export async function responseKeys(context: HpkeContext, responseNonce: Uint8Array): Promise<ResponseKeys> {
  return deriveResponseKeys(await exportSecret(context, 'ehbp response', 32), context.enc, responseNonce)
}

/** {@link responseKeys} from what the context exports, as published vectors have it. All three are of 32 bytes. */
export async function deriveResponseKeys(secret: Uint8Array, enc: Uint8Array, responseNonce: Uint8Array): Promise<ResponseKeys> {
  if (secret.length !== 32 || enc.length !== 32 || responseNonce.length !== 32) throw new TypeError('deriveResponseKeys: expected 32 bytes')
  const prk = await extract(concat(enc, responseNonce), secret)
  const derive = (label: string, length: number): Promise<Uint8Array> => expand(prk, utf8(label), length)
  return {
    response: { key: await derive('key', 32), baseNonce: await derive('nonce', 12) },
    receiptCredential: toHex(await derive('veritee receipt credential', 32)),
    receiptKeySeal: { key: await derive('veritee receipt key', 32), baseNonce: await derive('veritee receipt key nonce', 12) },
  }
}

/** The value of `X-Veritee-Sealed-Receipt-Key` for a receipt key of 32 bytes: 96 hex digits. */
export async function sealReceiptKey({ receiptKeySeal }: ResponseKeys, receiptKey: Uint8Array): Promise<string> {
  if (receiptKey.length !== 32) throw new TypeError('sealReceiptKey: expected 32 bytes')
  return toHex(await crypto.sealAes256Gcm(receiptKeySeal.key, receiptKeySeal.baseNonce, receiptKey))
}
