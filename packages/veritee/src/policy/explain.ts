import type { AllowDeny, EvidencePolicy, Identity, MaskedValue, Policy, Role } from './policy.ts'
import { roles } from './policy.ts'

/** One role's section in plain English. */
export interface ExplainedSection {
  readonly role: Role
  readonly demanded: readonly string[]
  /** What is not checked, or is accepted although it is a weakness. */
  readonly waived: readonly string[]
}

/** Says what a policy demands and what it waives, for people. It describes and judges nothing; the text may change between versions. */
export function explainPolicy(policy: Policy): ExplainedSection[] {
  return roles.flatMap((role) => {
    const section = policy.roles[role]
    return section === undefined ? [] : [explain(role, section)]
  })
}

type Line = readonly [kind: 'demanded' | 'waived', text: string]
const demanded = (text: string): Line => ['demanded', text]
const waived = (text: string): Line => ['waived', text]

function explain(role: Role, section: EvidencePolicy): ExplainedSection {
  const lines: readonly Line[] = [...codeLines(section), ...hardwareLines(section), ...tcbLines(section), ...serviceLines(section)]
  const of = (kind: Line[0]): string[] => lines.filter(([found]) => found === kind).map(([, text]) => text)
  return { role, demanded: of('demanded'), waived: of('waived') }
}

function codeLines({ identity, debug, attributes, tdx, tee }: EvidencePolicy): Line[] {
  const sgx = tee === 'any' || tee.includes('sgx')
  const td = tee === 'any' || tee.includes('tdx')
  return [
    ...identityLines(identity),
    debug === 'refuse' ? demanded('debugging is off') : waived('debugging may be on: the host can then read the memory'),
    ...(sgx ? [mask(attributes, 'SGX attributes')] : []),
    ...(td && tdx === 'any' ? [waived('TD attributes, XFAM, SEPT_VE_DISABLE and MRSERVICETD may be anything')] : []),
    ...(td && tdx !== 'any'
      ? [
          mask(tdx.attributes, 'TD attributes'),
          mask(tdx.xfam, 'XFAM'),
          tdx.septVeDisable === 'require' ? demanded('SEPT_VE_DISABLE is set') : waived('SEPT_VE_DISABLE may be clear'),
          tdx.mrServiceTd === 'any' ? waived('any service TD may be bound') : demanded(`MRSERVICETD is ${tdx.mrServiceTd.join(' or ')}`),
        ]
      : []),
  ]
}

function identityLines(identity: EvidencePolicy['identity']): Line[] {
  if (identity === 'released') return [demanded('the code is an enclave of a release, by its measurement, for this role')]
  return [
    demanded(`the code is ${identity.length === 1 ? '' : `one of ${identity.length}: `}${identity.map(describeIdentity).join('; or ')}`),
    ...identity.flatMap((wanted) => openRegisters(wanted).map((name) => waived(`${name} of the TD may be anything`))),
  ]
}

function releaseLines(release: EvidencePolicy['release']): Line[] {
  if (release === 'any') return [waived('no release statement')]
  const { product, keys, threshold, maxReleaseAge, log } = release
  return [
    demanded(
      `a statement of ${JSON.stringify(product)} that ${threshold} of ${keys.length} makers signed at most ${duration(maxReleaseAge)} ago names the measurement, and none withdraws the release`,
    ),
    log === 'any'
      ? waived('the statement may be in no log')
      : demanded(`the statement is in the log ${log.origin}, seen by ${log.quorum} of ${log.witnesses.length} witnesses`),
  ]
}

function hardwareLines({ tee, simulated, physical, platform }: EvidencePolicy): Line[] {
  return [
    tee === 'any' ? waived('any kind of TEE') : demanded(`the TEE is ${tee.map((kind) => kind.toUpperCase()).join(' or ')}`),
    simulated === 'refuse'
      ? demanded("the hardware is genuine: its chain ends in Intel's key")
      : waived('SIMULATED hardware is accepted, which proves nothing'),
    physical === 'trusted-site'
      ? demanded('the machine is one of a site whose staff you trust (platform.ppid)')
      : waived("the machine may be anybody's: its owner could have opened it"),
    ...allowDeny(platform.fmspc, 'platform family (FMSPC)'),
    ...allowDeny(platform.ppid, 'machine (PPID)'),
    platform.dynamicPlatform === 'refuse' ? demanded('processor packages cannot be added') : waived('processor packages may be added later'),
    platform.cachedKeys === 'refuse' ? demanded('Intel keeps no root keys of the platform') : waived('Intel may keep root keys of the platform'),
    platform.smt === 'refuse' ? demanded('hyper-threading is off') : waived('hyper-threading may be on'),
  ]
}

function tcbLines({ tcb, maxCollateralAge, maxAttestationAge }: EvidencePolicy): Line[] {
  const weaker = tcb.statuses.filter((status) => status !== 'UpToDate')
  return [
    demanded(`the platform's TCB status is ${tcb.statuses.join(' or ')}`),
    ...(weaker.length > 0 ? [waived(`platforms of status ${weaker.join(', ')} are accepted`)] : []),
    ...(tcb.gracePeriod > 0 ? [waived(`platforms out of date are accepted for ${duration(tcb.gracePeriod)} after the date of their level`)] : []),
    tcb.advisories === 'any'
      ? waived('any security advisory may apply')
      : demanded(tcb.advisories.length === 0 ? 'no security advisory applies' : `no security advisory applies but ${tcb.advisories.join(', ')}`),
    tcb.minTcbEvaluationDataNumber === 'any'
      ? waived('collateral of any TCB evaluation, however old')
      : demanded(`collateral is of TCB evaluation ${tcb.minTcbEvaluationDataNumber} or later`),
    maxCollateralAge === 'any' ? waived('collateral of any age, while valid') : demanded(`collateral is at most ${duration(maxCollateralAge)} old`),
    maxAttestationAge === 'any'
      ? waived('an attestation of any age')
      : demanded(`the attestation is at most ${duration(maxAttestationAge)} old, for a nonce of yours`),
  ]
}

function serviceLines({ models, engine, externalEngine = 'refuse', operator, release, log, channel }: EvidencePolicy): Line[] {
  return [
    ...(models === 'any'
      ? [waived('any models and weights')]
      : Object.entries(models).map(([name, files]) =>
          demanded(`model ${JSON.stringify(name)} has exactly the weights ${files.join(', ')}; no model that is not listed`),
        )),
    engine === 'any'
      ? waived('any engine')
      : demanded(
          `the engine is ${engine.map(({ build, cpuVariant }) => `build ${build}${cpuVariant === 'any' ? '' : ` for ${cpuVariant}`}`).join(' or ')}`,
        ),
    externalEngine === 'refuse' ? demanded("the engine is the worker's own") : waived(externalEngineLine[externalEngine]),
    operator === 'any' ? waived('any operator') : demanded(`the operator's key is ${operator.join(' or ')}`),
    ...releaseLines(release),
    log === 'any'
      ? waived('no transparency log')
      : demanded(
          `each receipt promises to be in the log ${log.origin}; it counts as logged under ${log.quorum} of ${log.witnesses.length} witnesses`,
        ),
    channel === 'attested'
      ? demanded('the connection ends in a TLS key of the attested keyset')
      : waived('plain HTTP on a loopback address is accepted: the connection is then bound to nothing'),
  ]
}

const externalEngineLine = {
  measured: 'the engine may be another process of a confidential VM, with engine and weights on a measured mount',
  any: 'the engine may be another process of a confidential VM, with weights that are only asserted',
} as const

function describeIdentity(wanted: Identity): string {
  if ('mrenclave' in wanted) return `the enclave ${wanted.mrenclave}`
  if ('mrsigner' in wanted)
    return `any enclave of signer ${wanted.mrsigner}, product ${wanted.isvProdId}, security version ${wanted.minIsvSvn} or later`
  const registers = (['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'] as const).filter((name) => wanted[name] !== 'any')
  return `the TD ${wanted.mrtd}${registers.map((name) => `, ${name} ${wanted[name]}`).join('')}`
}

function openRegisters(wanted: Identity): string[] {
  return 'mrtd' in wanted ? (['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'] as const).filter((name) => wanted[name] === 'any') : []
}

function mask(wanted: MaskedValue | 'any', what: string): Line {
  return wanted === 'any' ? waived(`${what} may be anything`) : demanded(`${what} are ${wanted.value} under the mask ${wanted.mask}`)
}

function allowDeny({ allow, deny }: AllowDeny, what: string): Line[] {
  return [
    allow === 'any' ? waived(`any ${what}`) : demanded(`the ${what} is ${allow.join(' or ')}`),
    ...(deny.length === 0 ? [] : [demanded(`the ${what} is not ${deny.join(' or ')}`)]),
  ]
}

function duration(seconds: number): string {
  for (const [unit, length] of [
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
  ] as const)
    if (seconds >= length && seconds % length === 0) return `${seconds / length} ${unit}${seconds === length ? '' : 's'}`
  return `${seconds} seconds`
}
