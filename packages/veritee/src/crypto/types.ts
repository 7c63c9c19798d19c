/** Synchronous under Node, a promise in browsers: callers always `await`. */
export type MaybePromise<T> = T | Promise<T>

/** The primitives the library needs, and the encodings that are several times faster outside JavaScript. Node implements them with `node:crypto`, browsers with WebCrypto; both pass one suite. */
export interface Crypto {
  sha256(bytes: Uint8Array): MaybePromise<Uint8Array>
  /** SHA-256 as lower-case hex, of bytes or of a text in UTF-8: Node has it sooner than the bytes. */
  sha256Hex(content: Uint8Array | string): MaybePromise<string>
  /** SHA-256 of one byte and, behind it, these bytes. */
  sha256Behind(first: number, bytes: Uint8Array): MaybePromise<Uint8Array>
  /** SHA-256 of two arrays as one, as lower-case hex. */
  sha256HexOfBoth(first: Uint8Array, second: Uint8Array): MaybePromise<string>
  /** A text that is in two pieces, each well-formed, in UTF-8. */
  utf8OfBoth(first: string, second: string): Uint8Array
  hmacSha256(key: Uint8Array, bytes: Uint8Array): MaybePromise<Uint8Array>
  /**
   * Takes in a P-256 public key, the 64-byte point x || y, to verify with it any number of times: taking it in costs a quarter of a verification.
   * Null for any wrong input, including a point off the curve; never throws.
   */
  importP256(publicKey: Uint8Array): MaybePromise<P256Key | null>
  /** Takes in an Ed25519 public key of 32 bytes, to verify with it any number of times. Null for any wrong input; never throws. */
  importEd25519(publicKey: Uint8Array): MaybePromise<Ed25519Key | null>
  /** Ed25519 (RFC 8032). `publicKey` 32 bytes, `signature` 64 bytes. False for any wrong input; never throws. */
  verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): MaybePromise<boolean>
  generateP256(): MaybePromise<SigningKey>
  generateEd25519(): MaybePromise<SigningKey>
  generateX25519(): MaybePromise<AgreementKey>
  /** The key of 32 private bytes, for test vectors: a key in use is generated, and its private half is never seen. */
  importX25519(privateKey: Uint8Array): MaybePromise<AgreementKey>
  randomBytes(length: number): Uint8Array
  /** Bytes of hex of either case; null for an odd number of characters, and where one is no digit. */
  decodeHex(text: string): Uint8Array | null
  /** Lower-case hex. */
  encodeHex(bytes: Uint8Array): string
  /** Bytes of standard base64 in its canonical form (RFC 4648 section 4: padded, trailing bits zero, no white space); null for any other text. */
  decodeBase64(text: string): Uint8Array | null
  /** True for equal bytes, which are public: the time depends on them. */
  sameBytes(a: Uint8Array, b: Uint8Array): boolean
  /** HKDF with SHA-256 (RFC 5869). */
  hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): MaybePromise<Uint8Array>
  /** AES-256-GCM (NIST SP 800-38D) without additional data: the ciphertext and its 16-byte tag. `key` 32 bytes, `nonce` 12. */
  sealAes256Gcm(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array): MaybePromise<Uint8Array>
  /** The plain bytes, or null where the tag does not hold: nothing of a refused text is given. */
  openAes256Gcm(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array): MaybePromise<Uint8Array | null>
}

/** A P-256 public key, ready to verify. */
export interface P256Key {
  /**
   * ECDSA with SHA-256. `signature` is the 64-byte r || s. False for any wrong input; never throws. High-S signatures are valid (FIPS 186-5).
   */
  verify(signature: Uint8Array, message: Uint8Array): MaybePromise<boolean>
}

/** An Ed25519 public key, ready to verify. */
export interface Ed25519Key {
  /** Ed25519 (RFC 8032). `signature` is 64 bytes. False for any wrong input; never throws. */
  verify(signature: Uint8Array, message: Uint8Array): MaybePromise<boolean>
}

/** A private key that never leaves its holder. */
export interface SigningKey {
  /** P-256: 64 bytes x || y. Ed25519: 32 bytes. */
  readonly publicKey: Uint8Array
  /** P-256: 64 bytes r || s over SHA-256 of the message. Ed25519: 64 bytes. */
  sign(message: Uint8Array): MaybePromise<Uint8Array>
}

/** An X25519 key (RFC 7748) whose private half never leaves its holder. */
export interface AgreementKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** The 32 bytes shared with the holder of `peer`. Null for a peer of another length, and for one that makes every shared secret zero. */
  agree(peer: Uint8Array): MaybePromise<Uint8Array | null>
}
