import { toHex } from '../../bytes/hex.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { type ErrorCode, fail } from '../../errors.ts'
import { type Chain, type ChainProfile, checkWindow } from '../pki/chain.ts'
import { checkNotRevoked } from '../pki/revocation.ts'
import type { Quote } from '../quote/quote.ts'
import type { SignedDocument } from '../tcb/document.ts'
import type { QeIdentity } from '../tcb/qe-identity.ts'
import type { TcbInfo } from '../tcb/tcb-info.ts'
import { checkSameRoot, type Pck } from './pck.ts'
import type { RevocationLists } from './revocation.ts'
import type { Session } from './session.ts'

const signingProfile: ChainProfile = { names: ['SGX TCB Signing', 'SGX Root CA'], authoritiesOnly: false }

/** `tcb-info.*`: signing chain, signature over the exact text, format, window, and that it is for this quote's TEE and platform family. */
export function verifyTcbInfo(session: Session, pck: Pck, lists: RevocationLists, quote: Quote): MaybePromise<TcbInfo> {
  const { checks, pool, documents, at } = session
  const { tcbInfo: text, tcbInfoIssuerChain, tcbInfoSignature } = session.collateral
  const chain = checks.takeLater(
    'tcb-info.chain',
    () => verifySigner(session, tcbInfoIssuerChain, pck, lists),
    (found) => pool.describe(found, describeSigner),
  )
  const takeSignature = (signer: Chain): MaybePromise<void> =>
    checks.takeLater('tcb-info.signature', () => verifyText(session, signer, text, tcbInfoSignature, 'tcb_info_signature_invalid'), overText)
  return whenDone(whenDone(chain, takeSignature), () => {
    const info = checks.take(
      'tcb-info.format',
      () => documents.tcbInfo(text),
      (found) => pool.describe(found, describeDocument),
    )
    checks.take('tcb-info.window', () => checkDocumentWindow(info, at, 'tcb_info_expired'), session.validAt)
    checks.take(
      'tcb-info.match',
      () => checkPlatform(info, pck, quote),
      () => `for ${quote.tee}, FMSPC ${pck.sgx.fmspc}, PCE id ${pck.sgx.pceId}`,
    )
    return info
  })
}

/** `qe-identity.*`: the same for the identity of the quoting enclave, `QE` for SGX and `TD_QE` for TDX (P9). */
export function verifyQeIdentity(session: Session, pck: Pck, lists: RevocationLists, quote: Quote): MaybePromise<QeIdentity> {
  const { checks, pool, documents, at } = session
  const { qeIdentity: text, qeIdentityIssuerChain, qeIdentitySignature } = session.collateral
  const chain = checks.takeLater(
    'qe-identity.chain',
    () => verifySigner(session, qeIdentityIssuerChain, pck, lists),
    (found) => pool.describe(found, describeSigner),
  )
  const takeSignature = (signer: Chain): MaybePromise<void> =>
    checks.takeLater('qe-identity.signature', () => verifyText(session, signer, text, qeIdentitySignature, 'qe_identity_signature_invalid'), overText)
  return whenDone(whenDone(chain, takeSignature), () => {
    const identity = checks.take(
      'qe-identity.format',
      () => documents.qeIdentity(text),
      (found) => pool.describe(found, describeDocument),
    )
    checks.take('qe-identity.window', () => checkDocumentWindow(identity, at, 'qe_identity_expired'), session.validAt)
    const expected = quote.tee === 'sgx' ? 'QE' : 'TD_QE'
    checks.take(
      'qe-identity.match',
      () => {
        if (identity.id !== expected) throw fail('qe_identity_mismatch', `expected the identity ${expected}, found ${identity.id}`)
      },
      () => expected,
    )
    return identity
  })
}

function overText(): string {
  return 'over the exact text'
}

function checkPlatform(info: TcbInfo, pck: Pck, quote: Quote): void {
  if (info.tee !== quote.tee) throw fail('tcb_info_mismatch', `expected TCB info for ${quote.tee}, found ${info.tee}`)
  const fmspc = toHex(info.fmspc)
  const pceId = toHex(info.pceId)
  if (fmspc !== pck.sgx.fmspc) throw fail('tcb_info_mismatch', `expected FMSPC ${pck.sgx.fmspc}, found ${fmspc}`)
  if (pceId !== pck.sgx.pceId) throw fail('tcb_info_mismatch', `expected PCE id ${pck.sgx.pceId}, found ${pceId}`)
}

function verifySigner(session: Session, pem: string, pck: Pck, lists: RevocationLists): MaybePromise<Chain> {
  const chain = session.pool.chain(pem, 2)
  checkSameRoot(chain, pck)
  return whenDone(session.pool.verifyChain(chain, signingProfile), () => {
    checkWindow(chain, session.at)
    checkNotRevoked(lists.root, chain[0])
    session.chains.push(chain)
    return chain
  })
}

/** Over the text exactly as received (P6). Nothing in it is parsed before its signature holds (P5, P25). */
function verifyText(session: Session, chain: Chain, text: string, signature: Uint8Array, code: ErrorCode): MaybePromise<void> {
  return whenDone(session.pool.signed(chain[0], session.documents.text(text, signature)), (valid) => {
    if (!valid) throw fail(code, 'the signature is not by the TCB signing key over this text')
  })
}

/** Both bounds inclusive; Intel's library has no lower one. */
function checkDocumentWindow(document: SignedDocument, at: Date, code: ErrorCode): void {
  const { issueDate, nextUpdate } = document
  const now = at.getTime()
  if (!(now >= issueDate.getTime() && now <= nextUpdate.getTime()))
    throw fail(code, `for ${issueDate.toISOString()} to ${nextUpdate.toISOString()}, verified at ${at.toISOString()}`)
}

function describeSigner(chain: Chain): string {
  return `'${chain[0].subject.commonName}', valid until ${chain[0].notAfter.toISOString()}`
}

function describeDocument(document: SignedDocument): string {
  return `evaluation ${document.evaluationDataNumber}, issued ${document.issueDate.toISOString()}`
}
