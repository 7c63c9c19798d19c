import { toHex } from '../../bytes/hex.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { type ErrorCode, fail } from '../../errors.ts'
import type { CheckId } from '../checks.ts'
import { type Chain, type ChainProfile, checkWindow, verifyChain } from '../pki/chain.ts'
import type { Signed } from '../pki/pool.ts'
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
  const { checks, collateral, pool, at } = session
  checks.begin('tcb-info.chain')
  const chain = collateral.tcbInfoSigners(pool)
  return whenDone(verifySigner(session, 'tcb-info.chain', chain, pck, lists), () => {
    checks.begin('tcb-info.signature')
    return whenDone(verifyText(session, chain, collateral.tcbInfoText(), 'tcb_info_signature_invalid'), () => {
      checks.begin('tcb-info.format')
      const info = collateral.tcbInfo()
      checks.pass(collateral.words('tcb-info.format', () => describeDocument(info)))
      checks.begin('tcb-info.window')
      checkDocumentWindow(info, at, 'tcb_info_expired')
      checks.pass(session.validAt)
      checks.begin('tcb-info.match')
      checkPlatform(info, pck, quote)
      checks.pass(`for ${quote.tee}, FMSPC ${pck.sgx.fmspc}, PCE id ${pck.sgx.pceId}`)
      return info
    })
  })
}

/** `qe-identity.*`: the same for the identity of the quoting enclave, `QE` for SGX and `TD_QE` for TDX (P9). */
export function verifyQeIdentity(session: Session, pck: Pck, lists: RevocationLists, quote: Quote): MaybePromise<QeIdentity> {
  const { checks, collateral, pool, at } = session
  checks.begin('qe-identity.chain')
  const chain = collateral.qeIdentitySigners(pool)
  return whenDone(verifySigner(session, 'qe-identity.chain', chain, pck, lists), () => {
    checks.begin('qe-identity.signature')
    return whenDone(verifyText(session, chain, collateral.qeIdentityText(), 'qe_identity_signature_invalid'), () => {
      checks.begin('qe-identity.format')
      const identity = collateral.qeIdentity()
      checks.pass(collateral.words('qe-identity.format', () => describeDocument(identity)))
      checks.begin('qe-identity.window')
      checkDocumentWindow(identity, at, 'qe_identity_expired')
      checks.pass(session.validAt)
      checks.begin('qe-identity.match')
      const expected = quote.tee === 'sgx' ? 'QE' : 'TD_QE'
      if (identity.id !== expected) throw fail('qe_identity_mismatch', `expected the identity ${expected}, found ${identity.id}`)
      checks.pass(expected)
      return identity
    })
  })
}

function checkPlatform(info: TcbInfo, pck: Pck, quote: Quote): void {
  if (info.tee !== quote.tee) throw fail('tcb_info_mismatch', `expected TCB info for ${quote.tee}, found ${info.tee}`)
  const fmspc = toHex(info.fmspc)
  const pceId = toHex(info.pceId)
  if (fmspc !== pck.sgx.fmspc) throw fail('tcb_info_mismatch', `expected FMSPC ${pck.sgx.fmspc}, found ${fmspc}`)
  if (pceId !== pck.sgx.pceId) throw fail('tcb_info_mismatch', `expected PCE id ${pck.sgx.pceId}, found ${pceId}`)
}

function verifySigner(session: Session, id: CheckId, chain: Chain, pck: Pck, lists: RevocationLists): MaybePromise<void> {
  const { checks, collateral, pool, chains, at } = session
  checkSameRoot(chain, pck)
  return whenDone(verifyChain(pool, chain, signingProfile), () => {
    checkWindow(chain, at)
    checkNotRevoked(lists.root, chain.leaf)
    chains.push(chain)
    checks.pass(collateral.words(id, () => describeSigner(chain)))
  })
}

/** Over the text exactly as received (P6). Nothing in it is parsed before its signature holds (P5, P25). */
function verifyText({ checks, pool }: Session, chain: Chain, text: Signed, code: ErrorCode): MaybePromise<void> {
  return whenDone(pool.signed(chain.leaf, text), (valid) => {
    if (!valid) throw fail(code, 'the signature is not by the TCB signing key over this text')
    checks.pass('over the exact text')
  })
}

/** Both bounds inclusive; Intel's library has no lower one. */
function checkDocumentWindow(document: SignedDocument, at: Date, code: ErrorCode): void {
  const { issueDate, nextUpdate } = document
  const now = at.getTime()
  if (!(now >= issueDate.getTime() && now <= nextUpdate.getTime()))
    throw fail(code, `for ${issueDate.toISOString()} to ${nextUpdate.toISOString()}, verified at ${at.toISOString()}`)
}

function describeSigner({ leaf }: Chain): string {
  return `'${leaf.subject.commonName}', valid until ${leaf.notAfter.toISOString()}`
}

function describeDocument(document: SignedDocument): string {
  return `evaluation ${document.evaluationDataNumber}, issued ${document.issueDate.toISOString()}`
}
