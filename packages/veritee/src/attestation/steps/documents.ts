import * as crypto from '#crypto'
import { utf8 } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import { type ErrorCode, fail } from '../../errors.ts'
import { type Chain, checkWindow, verifyChain } from '../pki/chain.ts'
import { checkNotRevoked } from '../pki/revocation.ts'
import type { Quote } from '../quote/quote.ts'
import type { SignedDocument } from '../tcb/document.ts'
import { parseQeIdentity, type QeIdentity } from '../tcb/qe-identity.ts'
import { parseTcbInfo, type TcbInfo } from '../tcb/tcb-info.ts'
import { checkSameRoot, type Pck } from './pck.ts'
import type { RevocationLists } from './revocation.ts'
import { type Session, validAt } from './session.ts'

const signingNames: readonly string[] = ['SGX TCB Signing', 'SGX Root CA']

/** `tcb-info.*`: signing chain, signature over the exact text, format, window, and that it is for this quote's TEE and platform family. */
export async function verifyTcbInfo(session: Session, pck: Pck, lists: RevocationLists, quote: Quote): Promise<TcbInfo> {
  const { checks } = session
  const { tcbInfo: text, tcbInfoIssuerChain, tcbInfoSignature } = session.collateral
  const chain = await checks.take('tcb-info.chain', () => verifySigner(session, tcbInfoIssuerChain, pck, lists), describeSigner)
  await checks.take(
    'tcb-info.signature',
    () => verifyText(chain, text, tcbInfoSignature, 'tcb_info_signature_invalid'),
    () => 'over the exact text',
  )
  const info = await checks.take('tcb-info.format', () => parseTcbInfo(text), describeDocument)
  await checks.take('tcb-info.window', () => checkDocumentWindow(info, session.at, 'tcb_info_expired'), validAt(session))
  await checks.take(
    'tcb-info.match',
    () => {
      if (info.tee !== quote.tee) throw fail('tcb_info_mismatch', `expected TCB info for ${quote.tee}, found ${info.tee}`)
      const fmspc = toHex(info.fmspc)
      const pceId = toHex(info.pceId)
      if (fmspc !== pck.sgx.fmspc) throw fail('tcb_info_mismatch', `expected FMSPC ${pck.sgx.fmspc}, found ${fmspc}`)
      if (pceId !== pck.sgx.pceId) throw fail('tcb_info_mismatch', `expected PCE id ${pck.sgx.pceId}, found ${pceId}`)
    },
    () => `for ${quote.tee}, FMSPC ${pck.sgx.fmspc}, PCE id ${pck.sgx.pceId}`,
  )
  return info
}

/** `qe-identity.*`: the same for the identity of the quoting enclave, `QE` for SGX and `TD_QE` for TDX (P9). */
export async function verifyQeIdentity(session: Session, pck: Pck, lists: RevocationLists, quote: Quote): Promise<QeIdentity> {
  const { checks } = session
  const { qeIdentity: text, qeIdentityIssuerChain, qeIdentitySignature } = session.collateral
  const chain = await checks.take('qe-identity.chain', () => verifySigner(session, qeIdentityIssuerChain, pck, lists), describeSigner)
  await checks.take(
    'qe-identity.signature',
    () => verifyText(chain, text, qeIdentitySignature, 'qe_identity_signature_invalid'),
    () => 'over the exact text',
  )
  const identity = await checks.take('qe-identity.format', () => parseQeIdentity(text), describeDocument)
  await checks.take('qe-identity.window', () => checkDocumentWindow(identity, session.at, 'qe_identity_expired'), validAt(session))
  const expected = quote.tee === 'sgx' ? 'QE' : 'TD_QE'
  await checks.take(
    'qe-identity.match',
    () => {
      if (identity.id !== expected) throw fail('qe_identity_mismatch', `expected the identity ${expected}, found ${identity.id}`)
    },
    () => expected,
  )
  return identity
}

async function verifySigner(session: Session, pem: string, pck: Pck, lists: RevocationLists): Promise<Chain> {
  const chain = session.pool.chain(pem, 2)
  checkSameRoot(chain, pck)
  await verifyChain(session.pool, chain, signingNames)
  checkWindow(chain, session.at)
  checkNotRevoked(lists.root, chain[0])
  session.chains.push(chain)
  return chain
}

/** Over the text exactly as received (P6). Nothing in it is parsed before its signature holds (P5, P25). */
async function verifyText(chain: Chain, text: string, signature: Uint8Array, code: ErrorCode): Promise<void> {
  const { publicKey } = chain[0]
  if (publicKey === null || !(await crypto.verifyP256(publicKey, signature, utf8(text))))
    throw fail(code, 'the signature is not by the TCB signing key over this text')
}

/** Both bounds inclusive; Intel's library has no lower one. */
function checkDocumentWindow(document: SignedDocument, at: Date, code: ErrorCode): void {
  const { issueDate, nextUpdate } = document
  if (at < issueDate || at > nextUpdate)
    throw fail(code, `for ${issueDate.toISOString()} to ${nextUpdate.toISOString()}, verified at ${at.toISOString()}`)
}

function describeSigner(chain: Chain): string {
  return `'${chain[0].subject.commonName}', valid until ${chain[0].notAfter.toISOString()}`
}

function describeDocument(document: SignedDocument): string {
  return `evaluation ${document.evaluationDataNumber}, issued ${document.issueDate.toISOString()}`
}
