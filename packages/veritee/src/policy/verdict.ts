import type { Check, QuoteClaims, TcbStatus } from '../attestation/claims.ts'
import type { ErrorCode } from '../errors/codes.ts'
import { type PolicyCode, policyTexts } from '../errors/policy-texts.ts'

/** What a verdict says about the platform's TCB; null where verification did not get that far. */
export interface VerdictTcb {
  readonly status: TcbStatus
  /** RFC 3339, or null where no level matched. */
  readonly tcbDate: string | null
  readonly evaluationDataNumber: number
  readonly advisories: readonly string[]
}

/** The result of judging evidence: every check, passed, failed or waived. JSON form: spec/verdict.md. */
export interface Verdict {
  readonly verdict: 'accepted' | 'rejected'
  /** `genuineness`: the hardware was judged, the code in it was not. */
  readonly scope: 'policy' | 'genuineness'
  readonly simulated: boolean
  readonly tcb: VerdictTcb | null
  readonly checks: readonly Check[]
  /** What an accepting verdict does not hide: debug mode, a TCB status other than UpToDate, a physically exposed machine. */
  readonly warnings: readonly string[]
  readonly error: { readonly code: ErrorCode; readonly message: string } | null
}

/** A failed check remembers the code of its kind. */
export interface Finding<C extends ErrorCode = PolicyCode> extends Check {
  readonly code?: C
}

export function passed(id: string, detail: string): Finding {
  return { id, status: 'pass', detail }
}

export function waived(id: string, detail: string): Finding {
  return { id, status: 'waived', detail }
}

export function failed<C extends ErrorCode>(id: string, code: C, detail: string): Finding<C> {
  return { id, status: 'fail', detail, code }
}

/** The first failure decides `error`; any failure rejects. */
export function concludeVerdict(
  scope: Verdict['scope'],
  claims: Pick<QuoteClaims, 'simulated' | 'tcb'>,
  findings: readonly Finding[],
  warnings: readonly string[],
): Verdict {
  const failed = findings.find((finding) => finding.status === 'fail')
  const code = failed?.code ?? 'policy_invalid'
  return {
    verdict: failed === undefined ? 'accepted' : 'rejected',
    scope,
    simulated: claims.simulated,
    tcb: verdictTcb(claims),
    checks: findings.map(({ id, status, detail }) => ({ id, status, detail })),
    warnings,
    error: failed === undefined ? null : { code, message: `${policyTexts[code]}: ${failed.detail}` },
  }
}

export function verdictTcb({ tcb }: Pick<QuoteClaims, 'tcb'>): VerdictTcb {
  return {
    status: tcb.status,
    tcbDate: tcb.tcbDate === null ? null : tcb.tcbDate.toISOString().replace('.000Z', 'Z'),
    evaluationDataNumber: tcb.evaluationDataNumber,
    advisories: tcb.advisories,
  }
}
