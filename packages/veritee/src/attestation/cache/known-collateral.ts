import { sameBytes } from '#crypto'
import { utf8 } from '../../bytes/bytes.ts'
import type { CheckId } from '../checks.ts'
import type { Collateral } from '../collateral.ts'
import type { Chain } from '../pki/chain.ts'
import type { PooledCrl } from '../pki/crl.ts'
import type { CertificatePool, Signed } from '../pki/pool.ts'
import { parseQeIdentity, type QeIdentity } from '../tcb/qe-identity.ts'
import { parseTcbInfo, type TcbInfo } from '../tcb/tcb-info.ts'

/**
 * One set of collateral, in copies that nobody else holds, with what its pieces parse to: each is parsed when it is first asked for, and once. A cache
 * keeps it whole, so a verification that brings the same nine pieces again looks it up once.
 *
 * Nothing in it is a verdict: signatures that held are remembered with the key they held under, and windows, revocation and matches are judged each time.
 */
export class KnownCollateral {
  readonly #own: Collateral
  readonly #words = new Map<CheckId, string>()
  #rootCrl: PooledCrl | null = null
  #pckCrl: PooledCrl | null = null
  #pckCrlIssuers: Chain | null = null
  #tcbInfoSigners: Chain | null = null
  #qeIdentitySigners: Chain | null = null
  #tcbInfoText: Signed | null = null
  #qeIdentityText: Signed | null = null
  #tcbInfo: TcbInfo | null = null
  #qeIdentity: QeIdentity | null = null

  /** A member of a wrong type is a `TypeError`. */
  constructor(collateral: Collateral) {
    this.#own = {
      pckCrlIssuerChain: text(collateral.pckCrlIssuerChain),
      rootCaCrl: copy(collateral.rootCaCrl),
      pckCrl: copy(collateral.pckCrl),
      tcbInfoIssuerChain: text(collateral.tcbInfoIssuerChain),
      tcbInfo: text(collateral.tcbInfo),
      tcbInfoSignature: copy(collateral.tcbInfoSignature),
      qeIdentityIssuerChain: text(collateral.qeIdentityIssuerChain),
      qeIdentity: text(collateral.qeIdentity),
      qeIdentitySignature: copy(collateral.qeIdentitySignature),
    }
  }

  /** True if every character and every byte is the same. */
  is(other: Collateral): boolean {
    const own = this.#own
    return (
      own.tcbInfo === other.tcbInfo &&
      own.qeIdentity === other.qeIdentity &&
      own.pckCrlIssuerChain === other.pckCrlIssuerChain &&
      own.tcbInfoIssuerChain === other.tcbInfoIssuerChain &&
      own.qeIdentityIssuerChain === other.qeIdentityIssuerChain &&
      same(own.rootCaCrl, other.rootCaCrl) &&
      same(own.pckCrl, other.pckCrl) &&
      same(own.tcbInfoSignature, other.tcbInfoSignature) &&
      same(own.qeIdentitySignature, other.qeIdentitySignature)
    )
  }

  /** Under which a cache keeps it. There may be others of the same name: see {@link KnownCollateral.is}. */
  get name(): string {
    return this.#own.tcbInfo
  }

  /** What a check says of a piece, which depends on it alone: putting dates into words takes longer than checking them. */
  words(id: CheckId, words: () => string): string {
    const known = this.#words.get(id)
    if (known !== undefined) return known
    const said = words()
    this.#words.set(id, said)
    return said
  }

  rootCrl(pool: CertificatePool): PooledCrl {
    this.#rootCrl ??= pool.crl(this.#own.rootCaCrl)
    return this.#rootCrl
  }

  pckCrl(pool: CertificatePool): PooledCrl {
    this.#pckCrl ??= pool.crl(this.#own.pckCrl)
    return this.#pckCrl
  }

  pckCrlIssuers(pool: CertificatePool): Chain {
    this.#pckCrlIssuers ??= pool.chain(this.#own.pckCrlIssuerChain, 2)
    return this.#pckCrlIssuers
  }

  tcbInfoSigners(pool: CertificatePool): Chain {
    this.#tcbInfoSigners ??= pool.chain(this.#own.tcbInfoIssuerChain, 2)
    return this.#tcbInfoSigners
  }

  /** The very chain of TCB info where it is the same text, as Intel's is. */
  qeIdentitySigners(pool: CertificatePool): Chain {
    const { qeIdentityIssuerChain, tcbInfoIssuerChain } = this.#own
    this.#qeIdentitySigners ??= qeIdentityIssuerChain === tcbInfoIssuerChain ? this.tcbInfoSigners(pool) : pool.chain(qeIdentityIssuerChain, 2)
    return this.#qeIdentitySigners
  }

  /** The exact text, as the signature is over it (P6). */
  tcbInfoText(): Signed {
    this.#tcbInfoText ??= { tbs: utf8(this.#own.tcbInfo), signature: this.#own.tcbInfoSignature, signer: null }
    return this.#tcbInfoText
  }

  qeIdentityText(): Signed {
    this.#qeIdentityText ??= { tbs: utf8(this.#own.qeIdentity), signature: this.#own.qeIdentitySignature, signer: null }
    return this.#qeIdentityText
  }

  tcbInfo(): TcbInfo {
    this.#tcbInfo ??= parseTcbInfo(this.#own.tcbInfo)
    return this.#tcbInfo
  }

  qeIdentity(): QeIdentity {
    this.#qeIdentity ??= parseQeIdentity(this.#own.qeIdentity)
    return this.#qeIdentity
  }
}

function same(own: Uint8Array, other: unknown): boolean {
  return other instanceof Uint8Array && sameBytes(own, other)
}

function copy(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError('verifyQuote: expected collateral of strings and byte arrays')
  return new Uint8Array(value)
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('verifyQuote: expected collateral of strings and byte arrays')
  return value
}
