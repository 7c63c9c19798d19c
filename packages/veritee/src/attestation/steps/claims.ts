import { toHex } from '../../bytes/hex.ts'
import type { QuoteClaims } from '../claims.ts'
import type { Chain } from '../pki/chain.ts'
import type { Quote } from '../quote/quote.ts'
import { holdsIntelKey } from '../roots/intel.ts'
import { isSgxDebug, sgxClaims } from '../sgx/report.ts'
import type { TcbEvaluation } from '../tcb/evaluate.ts'
import type { QeIdentity } from '../tcb/qe-identity.ts'
import type { TcbInfo } from '../tcb/tcb-info.ts'
import { isTdDebug, tdxClaims } from '../tdx/report.ts'
import { type Pck, pckAuthority } from './pck.ts'
import type { RevocationLists } from './revocation.ts'
import type { Session } from './session.ts'

/** Puts into words what the steps established. It checks nothing: only `verifyQuote` may call the result verified. */
export function collectClaims(
  session: Session,
  quote: Quote,
  pck: Pck,
  lists: RevocationLists,
  tcbInfo: TcbInfo,
  identity: QeIdentity,
  tcb: TcbEvaluation,
): QuoteClaims {
  const { tcbComponents: _, ...platform } = pck.sgx
  const { body } = quote
  const issued = [tcbInfo.issueDate.getTime(), identity.issueDate.getTime(), lists.pck.thisUpdate.getTime()]
  return {
    quoteVersion: quote.version,
    body: body.kind === 'sgx' ? sgxClaims(body) : tdxClaims(body),
    debug: body.kind === 'sgx' ? isSgxDebug(body) : isTdDebug(body),
    reportData: toHex(body.reportData),
    platform: { ...platform, ca: pckAuthority(pck) },
    tcb: { ...tcb.launch, ...tcb, evaluationDataNumber: Math.min(tcbInfo.evaluationDataNumber, identity.evaluationDataNumber) },
    simulated: !holdsIntelKey(pck.root),
    collateral: {
      earliestIssue: new Date(Math.min(...issued)),
      latestIssue: new Date(Math.max(...issued)),
      earliestExpiration: earliestEnd(session.chains, [tcbInfo, identity, lists.root, lists.pck]),
    },
    trailingBytes: quote.trailingBytes,
  }
}

function earliestEnd(chains: readonly Chain[], issued: readonly { readonly nextUpdate: Date }[]): Date {
  let end = Number.POSITIVE_INFINITY
  for (const { nextUpdate } of issued) end = Math.min(end, nextUpdate.getTime())
  for (const chain of chains) for (const { notAfter } of chain) end = Math.min(end, notAfter.getTime())
  return new Date(end)
}
