/** The words of spec/ehbp-binding.md. */

/** Version of the extension, as services list it and receipts name it. */
export const ehbpVersion = 'veritee.ehbp.v1'
/** `algo` of its keys in a keyset. A key of another name, that of E2EE v2 above all, never serves here. */
export const ehbpAlgorithm = 'veritee.ehbp.v1.x25519-hkdf-sha256-aes256gcm'

/** Header names, in the lower case that Node gives and takes. */
export const ehbpHeaders = {
  encapsulatedKey: 'ehbp-encapsulated-key',
  responseNonce: 'ehbp-response-nonce',
  session: 'x-veritee-session',
  binding: 'x-veritee-binding',
  nonce: 'x-veritee-nonce',
  receiptKey: 'x-veritee-receipt-key',
  sealedReceiptKey: 'x-veritee-sealed-receipt-key',
  workerReceiptId: 'x-veritee-worker-receipt-id',
} as const

/** What a stale key is answered with, beside status 422. */
export const keyProblem = { mediaType: 'application/problem+json', type: 'urn:ietf:params:ehbp:error:key-config' } as const

/** Plain bytes of a frame that this implementation writes. */
export const writtenFrameBytes = 65_536
/** Frames and parts of plain text are padded to a multiple of this, where they are padded. */
export const paddingBytes = 256
