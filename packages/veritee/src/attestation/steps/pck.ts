import { sameBytes } from '#crypto'
import { toHex } from '../../bytes/hex.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import type { PooledCertificate } from '../pki/certificate.ts'
import { type Chain, type ChainProfile, checkWindow, verifyChain } from '../pki/chain.ts'
import type { CertificatePool } from '../pki/pool.ts'
import type { SgxExtension } from '../pki/sgx-extension.ts'
import type { CertificationData } from '../quote/certification.ts'
import type { Quote } from '../quote/quote.ts'
import { holdsIntelKey, type Root } from '../roots/intel.ts'
import type { Session } from './session.ts'

/** The certificates a quote carries for its quoting enclave's key. */
export interface Pck {
  readonly chain: Chain
  readonly leaf: PooledCertificate
  readonly intermediate: PooledCertificate
  readonly root: PooledCertificate
  readonly sgx: SgxExtension
  /** True unless the chain ends in Intel's compiled-in key, whatever the caller trusts (S15). */
  readonly simulated: boolean
}

/** Common names as Intel's library has them: parts of names. */
const pckProfile: ChainProfile = { names: ['SGX PCK Certificate', 'CA', 'SGX Root CA'], authoritiesOnly: false }
/** The same above the leaf. */
export const pckIssuerProfile: ChainProfile = { names: pckProfile.names.slice(1), authoritiesOnly: true }

/**
 * `pck.*`: reads the PCK chain of a quote, compares its root with the trusted ones, checks chain and windows.
 * Throws `quote_no_pck_chain`, `malformed_encoding`, `certificate_malformed`, `chain_untrusted`, `chain_invalid`, `certificate_expired`,
 * `certificate_not_yet_valid`, each as `VerificationError`.
 */
export function verifyPck({ checks, pool, chains, roots, at, validAt }: Session, quote: Quote): MaybePromise<Pck> {
  checks.begin('pck.format')
  const pck = readPck(pool, quote)
  const { chain, root } = pck
  checks.pass(`PCK certificate of FMSPC ${pck.sgx.fmspc}`)
  checks.begin('pck.root')
  checkRoot(root, roots)
  checks.pass(pck.simulated ? "a trusted root, but not Intel's: SIMULATED" : "Intel's root")
  checks.begin('pck.chain')
  return whenDone(verifyChain(pool, chain, pckProfile), () => {
    checks.pass(`issued by the PCK ${pckAuthority(pck)} CA`)
    checks.begin('pck.window')
    checkWindow(chain, at)
    checks.pass(validAt)
    chains.push(chain)
    return pck
  })
}

function readPck(pool: CertificatePool, { certification }: Quote): Pck {
  if (certification.kind !== 'pck-chain')
    throw fail('quote_no_pck_chain', `expected certification data of type 5, found ${certification.type}: ${whatToFetch(certification)}`)
  const { chain, sgx } = pool.quotedChain(certification.pem)
  const [leaf, intermediate, root] = chain.certificates as readonly [PooledCertificate, PooledCertificate, PooledCertificate]
  return { chain, leaf, intermediate, root, sgx, simulated: !holdsIntelKey(root) }
}

/** What the vendor's service asks for, so that whoever reads the message can fetch the certificate. */
function whatToFetch(data: Exclude<CertificationData, { readonly kind: 'pck-chain' }>): string {
  if (data.kind === 'pck-leaf') return 'fetch the chain of the PCK certificate in it'
  const ppid = `${data.type === 1 ? 'PPID' : 'encrypted PPID'} ${toHex(data.ppid)}`
  return `fetch the PCK chain of ${ppid}, PCE id ${toHex(data.pceId)}, CPU SVN ${toHex(data.cpuSvn)}, PCE SVN ${data.pceSvn}`
}

/** Whole certificates are compared, so the root's own signature, constraints and dates are the trusted ones. */
function checkRoot(root: PooledCertificate, roots: readonly Root[]): void {
  if (!roots.some((trusted) => sameBytes(trusted, root.der)))
    throw fail('chain_untrusted', `the root '${(root.subject.commonName ?? '').slice(0, 64)}' is not one you trust`)
}

/** Which of Intel's two authorities issued the leaf. Throws `chain_invalid` for any other. */
export function pckAuthority(pck: Pck): 'processor' | 'platform' {
  const name = pck.intermediate.subject.commonName ?? ''
  if (name.includes('SGX PCK Processor CA')) return 'processor'
  if (name.includes('SGX PCK Platform CA')) return 'platform'
  throw fail('chain_invalid', `expected the PCK Processor or Platform CA, found '${name.slice(0, 64)}'`)
}

/** All collateral must come from the quote's own root: with several trusted roots, one vendor must not vouch for another's platforms (S15). */
export function checkSameRoot(chain: Chain, pck: Pck): void {
  const { root } = chain
  if (root !== pck.root && !sameBytes(root.der, pck.root.der)) throw fail('chain_untrusted', "the collateral's root is not the root of the quote")
}
