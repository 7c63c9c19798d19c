import { constants, generateKeyPair, type KeyObject, privateDecrypt, publicEncrypt, verify } from 'node:crypto'
import { promisify } from 'node:util'
import { modulusBytes, type ParsedToken, parseTokenKey, type TokenKey, type TokenKeyTerms, tokenKeySpki } from 'veritee/tokens'

/** Tokens of one key. Each that was issued may be spent, and is then remembered until the key ends: some 70 bytes of memory each. */
const maxIssued = 1 << 19

/** SHA-384 for message and mask, a salt of 48 bytes (RFC 9578 section 6.5). */
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 } as const

/**
 * One key for access tokens, with what was spent under it (spec/access-tokens.md). The key is in this process only and so is that memory: neither outlives the other, and no store can put back a
 * token that was spent.
 */
export class TokenIssuer {
  readonly key: TokenKey
  readonly terms: TokenKeyTerms
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject
  readonly #modulus: Uint8Array
  readonly #capacity: number
  readonly #spent = new Set<string>()
  #issued = 0
  /** Kept when the signature that was asked for last is made. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(
    pair: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
    key: TokenKey,
    requestTokens: number,
    capacity: number,
  ) {
    this.#privateKey = pair.privateKey
    this.#publicKey = pair.publicKey
    this.#capacity = capacity
    this.#modulus = key.spki.subarray(-modulusBytes - 5, -5)
    this.key = key
    this.terms = { token_key_id: key.id, request_tokens: requestTokens, models: null }
  }

  static async create(requestTokens: number, capacity: number = maxIssued): Promise<TokenIssuer> {
    const pair = await promisify(generateKeyPair)('rsa', { modulusLength: 8 * modulusBytes, publicExponent: 65_537 })
    const modulus = Buffer.from(pair.publicKey.export({ format: 'jwk' }).n ?? '', 'base64url')
    return new TokenIssuer(pair, await parseTokenKey(tokenKeySpki(new Uint8Array(modulus))), requestTokens, capacity)
  }

  /** True once another key is due: this one soon issues no more. */
  get worn(): boolean {
    return this.#issued >= 0.75 * this.#capacity
  }

  hasRoom(count: number): boolean {
    return this.#issued + count <= this.#capacity
  }

  /** Counts what will be issued. */
  reserve(count: number): void {
    this.#issued += count
  }

  /** Whether 256 bytes are a number below the modulus, which alone can be signed. */
  isElement(blinded: Uint8Array): boolean {
    return Buffer.compare(blinded, this.#modulus) < 0
  }

  /**
   * The same as {@link sign}, when it is its turn: one is made in each round of the event loop, however many batches are under way, and they take turns. Else those who ask for many at the same time
   * would hold up every stream by all of them together.
   */
  signInTurn(blinded: Uint8Array): Promise<Buffer> {
    const signed = this.#last.then(() => new Promise<void>((resolve) => setImmediate(resolve))).then(() => this.sign(blinded))
    this.#last = signed.catch(() => undefined)
    return signed
  }

  /** The blind signature of an element (RFC 9474 section 4.3). While it is made nothing else runs. */
  sign(blinded: Uint8Array): Buffer {
    const signed = privateDecrypt({ key: this.#privateKey, padding: constants.RSA_NO_PADDING }, blinded)
    // A signature that was miscalculated would tell the key to whoever gets it.
    if (!publicEncrypt({ key: this.#publicKey, padding: constants.RSA_NO_PADDING }, signed).equals(blinded))
      throw new TypeError('TokenIssuer: miscalculated')
    return signed
  }

  isGenuine({ input, authenticator }: ParsedToken): boolean {
    return verify('sha384', input, { key: this.#publicKey, ...pss }, authenticator)
  }

  isSpent(token: ParsedToken): boolean {
    return this.#spent.has(nameOf(token))
  }

  /** False where it was spent before. */
  spend(token: ParsedToken): boolean {
    const name = nameOf(token)
    if (this.#spent.has(name)) return false
    this.#spent.add(name)
    return true
  }
}

/** One character for each byte: the smallest text that is another one for each nonce. */
function nameOf({ nonce }: ParsedToken): string {
  return Buffer.from(nonce.buffer, nonce.byteOffset, nonce.length).toString('latin1')
}
