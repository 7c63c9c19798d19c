import type { PlatformClaims, QuoteClaims, SgxClaims, TdxClaims } from '../attestation/claims.ts'
import type { ReleasePolicy, Role } from './policy.ts'

/** What evidence says that a policy may be written from. Nothing of it needs to be verified, since nothing written from it is accepted as it stands. */
export interface InitFacts {
  readonly body: SgxClaims | TdxClaims
  /** Of the PCK certificate; null where the quote carries none. */
  readonly platform: Pick<PlatformClaims, 'fmspc' | 'ppid'> | null
  /** Of the collateral; null where there is none. */
  readonly evaluationDataNumber: QuoteClaims['tcb']['evaluationDataNumber'] | null
  /** Of the service descriptor; null where there is no report. */
  readonly service: {
    readonly models: readonly { readonly name: string; readonly files: readonly { readonly sha256: string }[] }[]
    readonly engine: { readonly build: string; readonly cpu_variant: string } | null
    readonly operatorKey: string | null
  } | null
}

export interface InitialPolicy {
  /** A complete document of version `veritee.policy.v1`, strict JSON; every parser refuses it until its marks are removed. */
  readonly text: string
  /** One for each field that needs a decision or an explanation; they are in the text too, as its `comments`. */
  readonly notes: readonly { readonly field: string; readonly why: string }[]
}

/** Marks a value that was copied from evidence and compared with nothing (spec/policy.md, rule S14). */
export const unreviewed = 'UNREVIEWED:'
const mark = (value: string): string => unreviewed + value
const week = 7 * 86_400
const zeros = (length: number): string => '00'.repeat(length)

/**
 * Writes a complete policy for one role from what evidence says (rule S14): every value that says *which* code, weights, machine or operator is copied
 * with the mark `UNREVIEWED:`, which no evaluation accepts; the code is not copied where `makers` say whose release statements name it; every other field is demanded as strictly as it can be. Where a field can only be waived
 * (`release`, `log`), or says nothing for this evidence, it is waived, and a note says so.
 *
 * A person then compares each marked value with a build or a release that is trusted, removes the mark, and relaxes what must be relaxed.
 */
export function initPolicy(facts: InitFacts, role: Role, makers: ReleasePolicy | null = null): InitialPolicy {
  const { body } = facts
  const notes: { field: string; why: string }[] = []
  const note = <T>(field: string, why: string, value: T): T => {
    notes.push({ field, why })
    return value
  }
  const section = {
    tee: [body.tee],
    simulated: 'refuse',
    physical: note(
      'physical',
      'only the machines listed in platform.ppid.allow; for other people\'s machines write "any" in both, and each verdict warns',
      'trusted-site',
    ),
    debug: 'refuse',
    identity:
      makers === null
        ? note('identity', 'copied from the evidence: compare it with the build or the release that you trust, then remove the mark', [
            identityOf(body),
          ])
        : note('identity', 'whatever the statements that release demands name for this role; the evidence was not asked', 'released'),
    ...hardwareState(body, note),
    tcb: {
      statuses: ['UpToDate'],
      advisories: note('tcb', 'only platforms that are up to date and to which no advisory applies; list what you have read and tolerate', []),
      minTcbEvaluationDataNumber:
        facts.evaluationDataNumber ??
        note(
          'tcb.minTcbEvaluationDataNumber',
          'waived: without collateral the current number is not known; write the newest one you have seen',
          'any',
        ),
      gracePeriod: 0,
    },
    platform: platformOf(facts, note),
    maxCollateralAge: note('maxCollateralAge', 'a week, so that revocations arrive; lists are valid for about a month', week),
    maxAttestationAge: note('maxAttestationAge', 'an hour; a stored report whose nonce is not yours has no known age, and fails', 3600),
    ...serviceOf(facts, role, note),
    release:
      makers === null
        ? note('release', 'waived: evidence does not tell whose statements are right; name the makers with their keys to demand one', 'any')
        : note('release', 'as you said: evidence counts only with a statement of these makers; "log" may name the log that it must be in', makers),
    log: note('log', 'waived: evidence does not tell who watches a log; name one with its key, its witnesses and their quorum', 'any'),
    channel: note('channel', 'TLS to a key of the attested keyset; "loopback" also takes plain HTTP on this machine', 'attested'),
  }
  const comments = Object.fromEntries(notes.map(({ field, why }) => [`${role}.${field}`, why]))
  return { text: `${JSON.stringify({ version: 'veritee.policy.v1', comments, roles: { [role]: section } }, null, 2)}\n`, notes }
}

type Note = <T>(field: string, why: string, value: T) => T

function identityOf(body: SgxClaims | TdxClaims): object {
  if (body.tee === 'sgx') return { mrenclave: mark(body.mrenclave) }
  const { mrtd, rtmr0, rtmr1, rtmr2, rtmr3, mrseam } = body
  return { mrtd: mark(mrtd), rtmr0: mark(rtmr0), rtmr1: mark(rtmr1), rtmr2: mark(rtmr2), rtmr3: mark(rtmr3), mrseam: mark(mrseam) }
}

/** Attributes are demanded from what is safe, not from what was found. */
function hardwareState(body: SgxClaims | TdxClaims, note: Note): object {
  if (body.tee === 'sgx')
    return {
      // FLAGS: INIT and MODE64BIT and nothing else. XFRM is free.
      attributes: note('attributes', 'an initialised 64-bit enclave without debugging, provisioning key or launch key', {
        mask: `ffffffffffffffff${zeros(8)}`,
        value: `05${zeros(15)}`,
      }),
      tdx: note('tdx', 'waived: tee lists SGX only', 'any'),
    }
  return {
    attributes: note('attributes', 'waived: tee lists TDX only', 'any'),
    tdx: {
      attributes: note('tdx.attributes', 'SEPT_VE_DISABLE and nothing else: no debugging, no migration, no performance monitoring', {
        mask: 'ff'.repeat(8),
        value: '0000001000000000',
      }),
      xfam: note('tdx.xfam', 'copied from the evidence: the processor features this image needs', {
        mask: mark('ff'.repeat(8)),
        value: mark(body.xfam),
      }),
      septVeDisable: 'require',
      mrServiceTd:
        body.mrServiceTd === null
          ? note('tdx.mrServiceTd', 'waived: a body of TDX 1.0 does not state it', 'any')
          : note('tdx.mrServiceTd', 'no service TD is bound', [zeros(48)]),
    },
  }
}

function platformOf({ platform }: InitFacts, note: Note): object {
  return {
    fmspc: note('platform.fmspc', 'waived: the list of machines is narrower', { allow: 'any', deny: [] }),
    ppid: note('platform.ppid', 'the machine of the evidence: list the machines of the site that you trust', {
      allow: [mark(platform?.ppid ?? 'the 32 hex digits of a machine')],
      deny: [],
    }),
    dynamicPlatform: note('platform.dynamicPlatform', 'packages cannot be added later; servers with several packages need "any"', 'refuse'),
    cachedKeys: note('platform.cachedKeys', 'Intel keeps no root keys of the platform; registered servers need "any"', 'refuse'),
    smt: note('platform.smt', 'no hyper-threading; certificates of the Processor CA do not state it, and fail', 'refuse'),
  }
}

function serviceOf({ service }: InitFacts, role: Role, note: Note): object {
  const { models, engine, operatorKey } = service ?? { models: [], engine: null, operatorKey: null }
  const runsModels = role === 'worker' || models.length > 0
  const listed = models.map(({ name, files }) => [name, files.map(({ sha256 }) => mark(sha256))] as const)
  const wantedModels = listed.length > 0 ? Object.fromEntries(listed) : { [mark('name of the model')]: [mark('sha256:hex of its weight file')] }
  const wantedEngine = [{ build: mark(engine?.build ?? 'sha256:hex of the engine'), cpuVariant: engine?.cpu_variant ?? mark('its CPU variant') }]
  return {
    models: runsModels
      ? note('models', 'every model served and the sha256 of its weight files, as the hub of the model shows them', wantedModels)
      : note('models', `waived: a ${role} runs no models; the section of the worker lists them`, 'any'),
    engine: runsModels
      ? note('engine', 'the engine build that you have reviewed; cpuVariant may be "any"', wantedEngine)
      : note('engine', `waived: a ${role} runs no engine`, 'any'),
    operator:
      operatorKey === null
        ? note('operator', 'waived: the evidence names no operator; list the keys of operators that you know', 'any')
        : note('operator', 'copied from the evidence: compare it with what the operator publishes', [mark(operatorKey)]),
  }
}
