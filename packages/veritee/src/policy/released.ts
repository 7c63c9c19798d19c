import type { QuoteClaims, Verified } from '../attestation/claims.ts'
import type { PolicyCode } from '../errors/policy-texts.ts'
import type { EvidencePolicy, ReleasePolicy } from './policy.ts'
import { type Finding, failed, passed, waived } from './verdict.ts'

/** What a release statement says of the code of one role. `withReleases` of `veritee/release` verifies statements and makes these. */
export interface ReleasedCode {
  /** The demand under which the statement was verified, in the form of {@link releaseDemand}: under another one it shows nothing. */
  readonly demand: string
  /** Under which name the newest statement of these signers is remembered, and what is remembered of it (`ReleaseSeen` of `veritee/release`). */
  readonly keySet: string
  readonly sequence: number
  readonly digest: string
  /** Unix seconds. */
  readonly issued: number
  readonly release: string
  readonly commit: string
  /** Enclaves of this role whose measurement somebody has computed. */
  readonly enclaves: readonly {
    readonly mrenclave: string
    readonly isvProdId: number
    readonly isvSvn: number
    readonly cpuVariant: string | null
  }[]
  /** Lowest security version of this role that is still good. */
  readonly svnFloor: number
  readonly withdrawn: readonly string[]
}

/** What a descriptor says of the code, which the quote binds. */
export interface StatedCode {
  readonly release: { readonly version: string; readonly commit: string | null }
  readonly engine: { readonly cpu_variant: string } | null
}

/** Clocks of those who issue and those who read may differ by this. */
export const releaseSkewSeconds = 300

/** A demand as text: equal for equal demands. */
export function releaseDemand({ product, keys, threshold, maxReleaseAge, log }: ReleasePolicy): string {
  const logged = log === 'any' ? log : [log.origin, log.key, log.witnesses, log.quorum]
  return JSON.stringify([product, keys, threshold, maxReleaseAge, logged])
}

/**
 * Judges code by the statements of a policy (spec/release-statement.md, "Judging running code"), in this order: there is a statement that was verified under
 * this very demand; one of a good age names the measurement; no statement, of whatever age, withdraws that release; product id and security version are those
 * stated, and no lower than any floor; what the descriptor says of release, commit and build of the engine is the same, where there is one.
 */
export function releaseFinding(claims: Verified<QuoteClaims>, policy: EvidencePolicy, at: Date, stated: StatedCode | null): Finding {
  const id = 'policy.release'
  const { release: wanted, released = [] } = policy
  if (wanted === 'any') return waived(id, 'no release statement is demanded')
  const { body } = claims
  const refuse = (code: PolicyCode, detail: string): Finding => failed(id, code, detail)
  if (body.tee !== 'sgx') return refuse('policy_release', 'release statements name enclaves of SGX, found a TD')
  const demand = releaseDemand(wanted)
  const known = released.filter((one) => one.demand === demand)
  if (known.length === 0) return refuse('policy_release', 'expected a statement of the makers that the policy names, found none')
  const age = ({ issued }: ReleasedCode): number => Math.floor(at.getTime() / 1000) - issued
  const fresh = known.filter((one) => age(one) >= -releaseSkewSeconds && age(one) <= wanted.maxReleaseAge)
  if (fresh.length === 0)
    return refuse(
      'release_expired',
      `expected a statement of at most ${wanted.maxReleaseAge} s, found ${known.map((one) => `${age(one)} s`).join(', ')}`,
    )
  const enclaveOf = (one: ReleasedCode): ReleasedCode['enclaves'][number] | undefined =>
    one.enclaves.find(({ mrenclave }) => mrenclave === body.mrenclave)
  const naming = fresh.filter((one) => enclaveOf(one) !== undefined).sort((a, b) => b.issued - a.issued)
  const [statement] = naming
  const enclave = statement && enclaveOf(statement)
  if (statement === undefined || enclave === undefined)
    return refuse(
      'release_measurement_unknown',
      `MRENCLAVE ${body.mrenclave} is not of ${fresh.map(({ release }) => release).join(', ')} in this role`,
    )
  const names = [statement.release, ...(stated === null ? [] : [stated.release.version])]
  const withdrawn = names.find((name) => known.some((one) => one.withdrawn.includes(name)))
  if (withdrawn !== undefined) return refuse('release_withdrawn', `release ${withdrawn} is withdrawn`)
  const floor = Math.max(...known.map(({ svnFloor }) => svnFloor))
  if (body.isvProdId !== enclave.isvProdId || body.isvSvn !== enclave.isvSvn || body.isvSvn < floor)
    return refuse(
      'release_svn',
      `expected ISVPRODID ${enclave.isvProdId}, ISVSVN ${enclave.isvSvn}, at least ${floor}, found ISVPRODID ${body.isvProdId}, ISVSVN ${body.isvSvn}`,
    )
  const contradiction = stated === null ? null : contradicted(stated, statement, enclave.cpuVariant)
  return contradiction === null
    ? passed(id, `release ${statement.release}, commit ${statement.commit}, of a statement of ${age(statement)} s`)
    : refuse('release_measurement_unknown', contradiction)
}

/**
 * Unix seconds until which the statements of a policy say of this code that it is good: the latest end of those that name its measurement. `Infinity` where no statement is demanded; 0 where none
 * names it. Whoever relies on evidence for longer judges it again then.
 */
export function releasedUntil({ body }: Verified<QuoteClaims>, { release, released = [] }: EvidencePolicy): number {
  if (release === 'any') return Number.POSITIVE_INFINITY
  const demand = releaseDemand(release)
  const naming = released.filter(
    (one) => one.demand === demand && body.tee === 'sgx' && one.enclaves.some(({ mrenclave }) => mrenclave === body.mrenclave),
  )
  return Math.max(0, ...naming.map(({ issued }) => issued + release.maxReleaseAge))
}

/** What a descriptor says otherwise than the statement. A commit that it does not name is no contradiction: the measurement is of the whole code. */
function contradicted({ release, engine }: StatedCode, statement: ReleasedCode, cpuVariant: string | null): string | null {
  if (release.version !== statement.release || (release.commit !== null && release.commit !== statement.commit))
    return `the descriptor names release ${release.version}, commit ${release.commit ?? 'none'}; the statement ${statement.release}, ${statement.commit}`
  if (engine !== null && engine.cpu_variant !== cpuVariant)
    return `the descriptor names the CPU variant ${engine.cpu_variant}; the statement ${cpuVariant ?? 'none'}`
  return null
}
