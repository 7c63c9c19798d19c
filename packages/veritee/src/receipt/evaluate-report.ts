import { among, policyWarnings, quoteFindings } from '../policy/evaluate.ts'
import type { EvidencePolicy, Role } from '../policy/policy.ts'
import { concludeVerdict, type Finding, failed, passed, type Verdict, waived } from '../policy/verdict.ts'
import type { ServiceDescriptor } from './descriptor.ts'
import { externalEngineFinding } from './external/judge.ts'
import type { VerifiedReport } from './report.ts'

/**
 * How the caller talks to the service: TLS to a key of the keyset; bodies encrypted to a key of the keyset over whatever carries them (spec/ehbp-binding.md);
 * plain HTTP on a loopback address; or not at all (a stored report).
 */
export type Channel = 'attested' | 'sealed' | 'loopback' | 'unattested' | 'stored'

export interface ReportContext {
  /** The role the caller means to talk to. */
  readonly role: Role
  readonly at: Date
  /** When the nonce was bound, as far as the caller knows; null for a stored report. */
  readonly attestedAt: Date | null
  readonly channel: Channel
}

/**
 * Evaluates a verified report under the policy section of a role: everything `evaluate` judges, then role, models, engine, operator,
 * attestation age and channel; release statements also by what the descriptor says of the code. Never throws for a rejection.
 */
export function evaluateReport(
  report: Pick<VerifiedReport, 'claims' | 'checks' | 'descriptor' | 'operator'>,
  policy: EvidencePolicy,
  context: ReportContext,
): Verdict {
  const { descriptor } = report
  const external = externalEngineFinding(report, policy)
  const findings: Finding[] = [
    ...report.checks,
    ...quoteFindings(report.claims, policy, context.at, descriptor),
    descriptor.role === context.role
      ? passed('policy.role', descriptor.role)
      : failed('policy.role', 'policy_role', `expected ${context.role}, found ${descriptor.role}`),
    models(descriptor, policy),
    engine(descriptor, policy),
    ...(external === null ? [] : [external]),
    operator(report, policy),
    age(policy, context),
    channel(policy, context),
  ]
  return concludeVerdict('policy', report.claims, findings, policyWarnings(report.claims, policy))
}

function models(descriptor: ServiceDescriptor, policy: EvidencePolicy): Finding {
  const id = 'policy.models'
  const wanted = policy.models
  const found = descriptor.models.map((model) => `${model.name} (${model.files.map((file) => file.sha256).join(', ')})`).join('; ') || 'none'
  if (wanted === 'any') return waived(id, found)
  const foreign = descriptor.models.find((model) => !sameWeights(Object.hasOwn(wanted, model.name) ? wanted[model.name] : undefined, model.files))
  return foreign === undefined
    ? passed(id, found)
    : failed(id, 'policy_models', `model ${JSON.stringify(foreign.name)} is not listed with these weights: found ${found}`)
}

function sameWeights(wanted: readonly string[] | undefined, files: readonly { readonly sha256: string }[]): boolean {
  return wanted !== undefined && wanted.length === files.length && wanted.every((digest, i) => digest === files[i]?.sha256)
}

function engine(descriptor: ServiceDescriptor, policy: EvidencePolicy): Finding {
  const id = 'policy.engine'
  const found = descriptor.engine
  const detail = found === null ? 'none' : `${found.name} ${found.version}, build ${found.build}, CPU variant ${found.cpu_variant}`
  if (policy.engine === 'any') return waived(id, detail)
  const known = found !== null && policy.engine.some((e) => e.build === found.build && (e.cpuVariant === 'any' || e.cpuVariant === found.cpu_variant))
  return known || (found === null && descriptor.models.length === 0) ? passed(id, detail) : failed(id, 'policy_engine', `found ${detail}`)
}

/** On the list is who is named by the descriptor and signed the keyset digest: neither side can be claimed alone (rule S17). */
function operator({ descriptor, operator: signed }: Pick<VerifiedReport, 'descriptor' | 'operator'>, policy: EvidencePolicy): Finding {
  const id = 'policy.operator'
  const named = descriptor.operator_key
  const finding = among(id, 'policy_operator', policy.operator, named ?? 'no operator key')
  return finding.status === 'pass' && signed !== named
    ? failed(id, 'policy_operator_unsigned', `expected a signature of ${named} over the keyset digest, found none`)
    : finding
}

function age(policy: EvidencePolicy, { at, attestedAt }: ReportContext): Finding {
  const id = 'policy.attestation-age'
  const seconds = attestedAt === null ? null : Math.max(0, Math.floor((at.getTime() - attestedAt.getTime()) / 1000))
  const found = seconds === null ? 'unknown: a stored report does not show when its nonce was drawn' : `${seconds} s`
  if (policy.maxAttestationAge === 'any') return waived(id, found)
  return seconds !== null && seconds <= policy.maxAttestationAge
    ? passed(id, found)
    : failed(id, 'policy_attestation_age', `expected at most ${policy.maxAttestationAge} s, found ${found}`)
}

function channel(policy: EvidencePolicy, context: ReportContext): Finding {
  const id = 'policy.channel'
  switch (context.channel) {
    case 'attested':
      return passed(id, 'TLS to a key of the attested keyset')
    case 'sealed':
      return passed(id, 'bodies encrypted to a key of the attested keyset; path, headers, times and lengths are not')
    case 'stored':
      return waived(id, 'a stored report is not a channel')
    case 'loopback': {
      const detail = 'plain HTTP on a loopback address: not bound to the attested keyset'
      return policy.channel === 'loopback' ? waived(id, detail) : failed(id, 'policy_channel', detail)
    }
    case 'unattested':
      return failed(id, 'policy_channel', 'expected TLS to a key of the attested keyset, found another channel')
  }
}
