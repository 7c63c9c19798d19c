import type { Policy } from '../../policy/index.ts'
import type { ReleaseDocument } from '../../release/demanded.ts'
import type { HeldReleases } from '../../release/held.ts'
import { lacksRelease } from '../../release/lacking.ts'
import { fetchTextIfThere } from '../fetch-text.ts'
import type { Transport } from '../transport.ts'

/** Where services show release statements (spec/release-statement.md). */
export const releasesPath = '/v1/veritee/releases'

/**
 * The policy with release statements: those that were given for it by hand; else those that the service shows, each verified as if it had been given, and those that `releases` holds. Nothing
 * is asked where no section demands one, or each was given one. Throws as `HeldReleases.judging`, `release_statement_malformed`, and what the transport throws.
 */
export async function policyWithReleases(transport: Transport, policy: Policy, releases: HeldReleases): Promise<Policy> {
  return releases.judging(policy, lacksRelease(policy) ? await offeredBy(transport) : [])
}

/** None where the service has no such route, as services from before have not. */
async function offeredBy(transport: Transport): Promise<readonly ReleaseDocument[]> {
  const { maxServedLength, parseServedReleases } = await import('../../release/served.ts')
  const text = await fetchTextIfThere(transport, { method: 'GET', path: releasesPath }, maxServedLength)
  return text === null ? [] : parseServedReleases(text)
}
