import type { Check, QuoteClaims, SgxClaims, TcbLevelResult, TcbStatus, TdxClaims, Verified } from '../attestation/claims.ts'
import { fromHex } from '../bytes/hex.ts'
import type { PolicyCode } from '../errors/policy-texts.ts'
import type { AllowDeny, Any, EvidencePolicy, Identity, MaskedValue } from './policy.ts'
import { releaseFinding, type StatedCode } from './released.ts'
import { concludeVerdict, type Finding, failed, passed, type Verdict, waived } from './verdict.ts'

const simulatedDetail = "SIMULATED: the chain does not end in Intel's key, so this proves nothing about hardware"

/**
 * Judges genuineness only (rule S14): no policy, so the code is not judged. Revoked, NotSupported, Unrecognized and simulated evidence is rejected;
 * debug mode and each other status below UpToDate is a warning.
 */
export function evaluateGenuineness(claims: Verified<QuoteClaims>, checks: readonly Check[]): Verdict {
  const { status, current } = claims.tcb
  const hopeless = isHopeless(status) || isHopeless(current.status)
  const findings: Finding[] = [
    ...checks,
    claims.simulated
      ? failed('genuine.simulated', 'policy_simulated', simulatedDetail)
      : passed('genuine.simulated', "the chain ends in Intel's key"),
    hopeless ? failed('genuine.tcb-status', 'policy_tcb_status', `found ${bothStatuses(claims)}`) : passed('genuine.tcb-status', status),
  ]
  const warnings = [...commonWarnings(claims), 'the code in it was not judged: pass a policy to judge it']
  return concludeVerdict('genuineness', claims, findings, warnings)
}

const onlyReportsShow = ['policy.role', 'policy.models', 'policy.engine', 'policy.operator', 'policy.attestation-age', 'policy.channel'] as const

/**
 * Evaluates verified claims under one role's section of a policy, in the order of spec/policy.md. Never throws for a rejection.
 *
 * What only a report can show (role, models, engine, operator, attestation age, channel) is not judged here, and listed as waived: see `evaluateReport`.
 */
export function evaluate(claims: Verified<QuoteClaims>, policy: EvidencePolicy, at: Date, checks: readonly Check[] = []): Verdict {
  const notShown =
    'a quote alone does not show role, models, engine, operator, attestation age or channel: what the policy demands of them was not judged'
  const unjudged = onlyReportsShow.map((id) => waived(id, 'not judged: a quote alone does not show it'))
  return concludeVerdict(
    'policy',
    claims,
    [...checks, ...quoteFindings(claims, policy, at, null), ...unjudged],
    [...policyWarnings(claims, policy), notShown],
  )
}

/** The findings of {@link evaluate} alone, for verdicts over more than a quote: `stated` is what a descriptor that the quote binds says of the code. */
export function quoteFindings(claims: Verified<QuoteClaims>, policy: EvidencePolicy, at: Date, stated: StatedCode | null): Finding[] {
  return [
    among('policy.tee', 'policy_tee', policy.tee, claims.body.tee),
    simulated(claims, policy),
    debug(claims, policy),
    ...identity(claims, policy),
    ...(claims.body.tee === 'sgx' ? [maskedValue('policy.attributes', policy.attributes, claims.body.attributes)] : tdx(claims.body, policy)),
    tcbStatus(claims, policy, at),
    advisories(claims, policy),
    evaluationNumber(claims, policy),
    collateralAge(claims, policy, at),
    allowDeny('policy.fmspc', policy.platform.fmspc, claims.platform.fmspc),
    allowDeny('policy.ppid', policy.platform.ppid, claims.platform.ppid),
    flag('policy.dynamic-platform', policy.platform.dynamicPlatform, claims.platform.dynamicPlatform),
    flag('policy.cached-keys', policy.platform.cachedKeys, claims.platform.cachedKeys),
    flag('policy.smt', policy.platform.smt, claims.platform.smtEnabled),
    physical(claims, policy),
    releaseFinding(claims, policy, at, stated),
    waived('policy.log', policy.log === 'any' ? 'no log is demanded' : 'not judged here: receipts show it'),
  ]
}

export function policyWarnings(claims: QuoteClaims, policy: EvidencePolicy): string[] {
  return policy.physical === 'any' ? [...commonWarnings(claims), "the machine's owner could have opened it"] : commonWarnings(claims)
}

function commonWarnings(claims: QuoteClaims): string[] {
  const warnings: string[] = []
  if (claims.simulated) warnings.push(simulatedDetail)
  if (claims.debug) warnings.push('DEBUG enclave: the host can read its memory')
  if (claims.tcb.status !== 'UpToDate') warnings.push(`TCB status is ${claims.tcb.status}${advisoryList(claims.tcb.advisories)}`)
  if (claims.trailingBytes > 0) warnings.push(`${claims.trailingBytes} unsigned bytes follow the quote`)
  return warnings
}

const advisoryList = (ids: readonly string[]): string => (ids.length === 0 ? '' : ` (${ids.join(', ')})`)

/** `found` is one of the allowed values, or the policy waives it. */
export function among(id: string, code: PolicyCode, allowed: readonly string[] | Any, found: string): Finding {
  if (allowed === 'any') return waived(id, `found ${found}`)
  return allowed.includes(found) ? passed(id, found) : failed(id, code, `expected ${allowed.join(' or ')}, found ${found}`)
}

function simulated(claims: QuoteClaims, policy: EvidencePolicy): Finding {
  const id = 'policy.simulated'
  if (!claims.simulated) return passed(id, "the chain ends in Intel's key")
  return policy.simulated === 'allow' ? waived(id, simulatedDetail) : failed(id, 'policy_simulated', simulatedDetail)
}

function debug(claims: QuoteClaims, policy: EvidencePolicy): Finding {
  if (!claims.debug) return passed('policy.debug', 'production mode')
  const detail = 'the enclave runs in debug mode'
  return policy.debug === 'any' ? waived('policy.debug', detail) : failed('policy.debug', 'policy_debug', detail)
}

function identity(claims: QuoteClaims, policy: EvidencePolicy): Finding[] {
  const found = describe(claims.body)
  if (policy.identity === 'released') return [waived('policy.identity', `found ${found}; policy.release says whether it is of a release`)]
  const match = policy.identity.find((wanted) => matches(wanted, claims.body))
  if (match === undefined)
    return [failed('policy.identity', 'policy_identity', `expected one of ${policy.identity.length} listed identities, found ${found}`)]
  const free = 'mrtd' in match ? registers.filter((name) => match[name] === 'any') : []
  return [passed('policy.identity', found), ...free.map((name) => waived(`policy.identity.${name}`, 'the matching identity leaves it open'))]
}

const registers = ['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'] as const

function describe(body: SgxClaims | TdxClaims): string {
  return body.tee === 'sgx'
    ? `MRENCLAVE ${body.mrenclave}, MRSIGNER ${body.mrsigner}, ISVPRODID ${body.isvProdId}, ISVSVN ${body.isvSvn}`
    : `MRTD ${body.mrtd}, RTMR0 ${body.rtmr0}, RTMR1 ${body.rtmr1}, RTMR2 ${body.rtmr2}, RTMR3 ${body.rtmr3}, MRSEAM ${body.mrseam}`
}

function matches(wanted: Identity, body: SgxClaims | TdxClaims): boolean {
  if ('mrenclave' in wanted) return body.tee === 'sgx' && body.mrenclave === wanted.mrenclave
  if ('mrsigner' in wanted)
    return body.tee === 'sgx' && body.mrsigner === wanted.mrsigner && body.isvProdId === wanted.isvProdId && body.isvSvn >= wanted.minIsvSvn
  if (body.tee !== 'tdx' || body.mrtd !== wanted.mrtd) return false
  return registers.every((name) => wanted[name] === 'any' || wanted[name] === body[name])
}

function maskedValue(id: string, wanted: MaskedValue | Any, found: string): Finding {
  if (wanted === 'any') return waived(id, `found ${found}`)
  const mask = fromHex(wanted.mask)
  const value = fromHex(wanted.value)
  const same = fromHex(found, mask.length).every((byte, i) => (byte & (mask[i] as number)) === value[i])
  return same ? passed(id, found) : failed(id, 'policy_attributes', `expected ${wanted.value} under mask ${wanted.mask}, found ${found}`)
}

/** TD attribute bits: Intel TDX Module ABI, ATTRIBUTES (SEPT_VE_DISABLE is bit 28). */
function tdx(body: TdxClaims, policy: EvidencePolicy): Finding[] {
  const wanted = policy.tdx
  if (wanted === 'any') return [waived('policy.tdx', `attributes ${body.tdAttributes}, XFAM ${body.xfam}`)]
  const disabled = ((fromHex(body.tdAttributes, 8)[3] as number) & 0x10) !== 0
  const serviceTd = body.mrServiceTd
  return [
    maskedValue('policy.td-attributes', wanted.attributes, body.tdAttributes),
    maskedValue('policy.xfam', wanted.xfam, body.xfam),
    wanted.septVeDisable === 'any'
      ? waived('policy.sept-ve-disable', disabled ? 'set' : 'not set')
      : disabled
        ? passed('policy.sept-ve-disable', 'set')
        : failed('policy.sept-ve-disable', 'policy_attributes', 'expected SEPT_VE_DISABLE to be set'),
    serviceTd === null && wanted.mrServiceTd !== 'any'
      ? failed('policy.mrservicetd', 'policy_attributes', 'expected MRSERVICETD, the quote does not state it')
      : among('policy.mrservicetd', 'policy_attributes', wanted.mrServiceTd, serviceTd ?? 'none stated'),
  ]
}

/** A site vouches for machines that the policy names, so without a list of them nobody vouches. */
function physical(claims: QuoteClaims, { physical: wanted, platform }: EvidencePolicy): Finding {
  const id = 'policy.physical'
  if (wanted === 'any') return waived(id, "the machine's owner could have opened it")
  const { ppid } = claims.platform
  return platform.ppid.allow !== 'any' && platform.ppid.allow.includes(ppid) && !platform.ppid.deny.includes(ppid)
    ? passed(id, 'the machine is on the list of the trusted site')
    : failed(id, 'policy_platform', `expected a machine on the list of the trusted site, found PPID ${ppid}`)
}

/** Nothing accepts these, whatever a policy made in code may list. */
function isHopeless(status: TcbStatus): boolean {
  return status === 'Revoked' || status === 'NotSupported' || status === 'Unrecognized'
}

function bothStatuses({ tcb }: QuoteClaims): string {
  return tcb.current.status === tcb.status ? tcb.status : `${tcb.status}, current ${tcb.current.status}`
}

/** Both at launch and now, where a quote tells the two apart. */
function tcbStatus(claims: QuoteClaims, policy: EvidencePolicy, at: Date): Finding {
  const levels = [claims.tcb, claims.tcb.current].map((level) => tcbLevel(level, policy, at))
  return (
    levels.find(({ status }) => status === 'fail') ??
    levels.find(({ status }) => status === 'waived') ??
    passed('policy.tcb-status', bothStatuses(claims))
  )
}

function tcbLevel({ status, tcbDate }: TcbLevelResult, policy: EvidencePolicy, at: Date): Finding {
  const id = 'policy.tcb-status'
  if (!isHopeless(status) && policy.tcb.statuses.includes(status)) return passed(id, status)
  const outOfDate = status === 'OutOfDate' || status === 'OutOfDateConfigurationNeeded'
  if (outOfDate && tcbDate !== null && policy.tcb.gracePeriod > 0 && at.getTime() - tcbDate.getTime() <= policy.tcb.gracePeriod * 1000)
    return waived(id, `${status}, within the grace period of ${policy.tcb.gracePeriod} s from ${tcbDate.toISOString()}`)
  return failed(id, 'policy_tcb_status', `expected ${policy.tcb.statuses.join(' or ')}, found ${status}`)
}

function advisories(claims: QuoteClaims, policy: EvidencePolicy): Finding {
  const id = 'policy.advisories'
  const found = [...new Set([...claims.tcb.advisories, ...claims.tcb.current.advisories])].sort()
  const accepted = policy.tcb.advisories
  const detail = found.join(', ') || 'none'
  if (accepted === 'any') return waived(id, detail)
  const foreign = found.filter((advisory) => !accepted.includes(advisory))
  return foreign.length === 0 ? passed(id, detail) : failed(id, 'policy_advisory', `found ${foreign.join(', ')}`)
}

function evaluationNumber(claims: QuoteClaims, policy: EvidencePolicy): Finding {
  const id = 'policy.evaluation-number'
  const found = claims.tcb.evaluationDataNumber
  const wanted = policy.tcb.minTcbEvaluationDataNumber
  if (wanted === 'any') return waived(id, `${found}`)
  return found >= wanted ? passed(id, `${found}`) : failed(id, 'policy_evaluation_number', `expected at least ${wanted}, found ${found}`)
}

function collateralAge(claims: QuoteClaims, policy: EvidencePolicy, at: Date): Finding {
  const id = 'policy.collateral-age'
  const age = Math.floor((at.getTime() - claims.collateral.earliestIssue.getTime()) / 1000)
  if (policy.maxCollateralAge === 'any') return waived(id, `${age} s`)
  return age <= policy.maxCollateralAge
    ? passed(id, `${age} s`)
    : failed(id, 'policy_collateral_age', `expected at most ${policy.maxCollateralAge} s since the oldest issue date, found ${age} s`)
}

function allowDeny(id: string, wanted: AllowDeny, found: string): Finding {
  if (wanted.deny.includes(found)) return failed(id, 'policy_platform', `${found} is denied`)
  return among(id, 'policy_platform', wanted.allow, found)
}

/** A flag the certificate does not state is not known to be off. */
function flag(id: string, wanted: 'refuse' | Any, found: boolean | null): Finding {
  const detail = found === null ? 'not stated by the PCK certificate' : found ? 'on' : 'off'
  if (wanted === 'any') return waived(id, detail)
  return found === false ? passed(id, detail) : failed(id, 'policy_platform', `expected off, found ${detail}`)
}
