/** Synchronous under Node, a promise in browsers: callers always `await`. */
export type MaybePromise<T> = T | Promise<T>

/** The primitives the library needs. Node implements them with `node:crypto`, browsers with WebCrypto; both pass one suite. */
export interface Crypto {
  sha256(bytes: Uint8Array): MaybePromise<Uint8Array>
  hmacSha256(key: Uint8Array, bytes: Uint8Array): MaybePromise<Uint8Array>
  /**
   * Takes in a P-256 public key, the 64-byte point x || y, to verify with it any number of times: taking it in costs a quarter of a verification.
   * Null for any wrong input, including a point off the curve; never throws.
   */
  importP256(publicKey: Uint8Array): MaybePromise<P256Key | null>
  /** Ed25519 (RFC 8032). `publicKey` 32 bytes, `signature` 64 bytes. False for any wrong input; never throws. */
  verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): MaybePromise<boolean>
  generateP256(): MaybePromise<SigningKey>
  generateEd25519(): MaybePromise<SigningKey>
  randomBytes(length: number): Uint8Array
}

/** A P-256 public key, ready to verify. */
export interface P256Key {
  /**
   * ECDSA with SHA-256. `signature` is the 64-byte r || s. False for any wrong input; never throws. High-S signatures are valid (FIPS 186-5).
   */
  verify(signature: Uint8Array, message: Uint8Array): MaybePromise<boolean>
}

/** A private key that never leaves its holder. */
export interface SigningKey {
  /** P-256: 64 bytes x || y. Ed25519: 32 bytes. */
  readonly publicKey: Uint8Array
  /** P-256: 64 bytes r || s over SHA-256 of the message. Ed25519: 64 bytes. */
  sign(message: Uint8Array): MaybePromise<Uint8Array>
}
