import * as crypto from '#crypto'
import { toHex } from '../../bytes/hex.ts'
import type { AgreementKey } from '../../crypto/types.ts'
import { type Binding, bindBody } from './binding.ts'
import { FrameSealer } from './frames.ts'
import { type HpkeContext, setupSender } from './hpke.ts'
import type { EhbpKey } from './key.ts'
import { ehbpHeaders, ehbpVersion } from './names.ts'

/** A request body on its way to the holder of one key, and what opens the answer to it. */
export interface SealedRequest {
  /** To be sent as they are, beside the caller's own. */
  readonly headers: { readonly [name: string]: string }
  readonly body: Uint8Array
  /** The encapsulated key in hex: what ties receipts to this exchange. */
  readonly enc: string
  readonly binding: Binding
  readonly context: HpkeContext
}

/** Seals one body for one request. Never send the result twice: a receiver refuses the second. `ephemeral` is for test vectors. */
export async function sealRequest(
  key: EhbpKey,
  request: Omit<Binding, 'client_nonce' | 'v'>,
  body: Uint8Array,
  clientNonce: string = toHex(crypto.randomBytes(32)),
  ephemeral?: AgreementKey,
): Promise<SealedRequest> {
  const { method, model, path, session_id } = request
  const binding: Binding = { client_nonce: clientNonce, method, model, path, session_id, v: 1 }
  const plain = bindBody(binding, body)
  const context = await setupSender(key.publicKey, ephemeral)
  const enc = toHex(context.enc)
  return {
    headers: {
      [ehbpHeaders.encapsulatedKey]: enc,
      [ehbpHeaders.binding]: ehbpVersion,
      [ehbpHeaders.nonce]: clientNonce,
      ...(session_id === null ? {} : { [ehbpHeaders.session]: session_id }),
    },
    body: await new FrameSealer(context.request).seal(plain),
    enc,
    binding,
    context,
  }
}
