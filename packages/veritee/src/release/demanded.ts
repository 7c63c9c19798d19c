import type { Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import type { Json } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import { verifyTlogProof } from '../log/tlog-proof.ts'
import { parseLogTrust } from '../log/trust.ts'
import type { EvidencePolicy, Policy, ReleasePolicy, Role } from '../policy/policy.ts'
import { roles } from '../policy/policy.ts'
import { type ReleasedCode, releaseDemand } from '../policy/released.ts'
import { lacking } from './lacking.ts'
import { checkNewest, type ReleasesSeen, releaseKeySet } from './seen.ts'
import { releaseText, type SignedRelease } from './statement.ts'
import { type VerifiedRelease, verifySigners } from './verify.ts'

/** A statement as it is stored, and where a log is demanded the proof that it is in there. */
export interface ReleaseDocument {
  readonly statement: string
  /** A `tlog-proof` of {@link releaseEntry}; null where there is none. */
  readonly proof: string | null
}

/** The entry of a log for a statement: its JCS form with its signatures, so that whoever reads the log reads what was signed, and by whom. */
export function releaseEntry({ document, signatures }: Pick<SignedRelease, 'document' | 'signatures'>): Uint8Array {
  return utf8(releaseText(document as { readonly [name: string]: Json }, signatures))
}

/**
 * Verifies statements for a policy and gives the policy with them, which then judges evidence by them, offline (rule S25). For each section that demands
 * `release`, of each statement in this order: shape, product, signatures; inclusion in the log under a checkpoint with the quorum, where the section names one;
 * then that the newest of them is not older than the newest of these signers that was seen, where `seen` remembers one ({@link newestReleases}).
 * A statement of another product is passed over, where another section wants it.
 *
 * The age is not looked at here: it is judged with each piece of evidence. Nor is it known whether there is a newer statement than those that were ever seen.
 * Throws what the first three steps of `verifyRelease` throw; `log_entry_missing` where a proof is demanded and none is given, `log_key_malformed`,
 * and what `verifyTlogProof` throws; `release_rolled_back`; `usage` where the policy demands no statement.
 */
export async function withReleases(policy: Policy, documents: readonly ReleaseDocument[], seen: ReleasesSeen = new Map()): Promise<Policy> {
  const { policy: judging, used } = await withWantedReleases(policy, documents)
  if (documents.some((one) => !used.has(one))) {
    if (roles.every((role) => (policy.roles[role]?.release ?? 'any') === 'any'))
      throw fail('usage', 'a release statement was given, and the policy demands none')
    throw fail('release_product', 'a release statement was given that is of no product that the policy names')
  }
  checkNewest(judging, seen)
  return judging
}

/**
 * The policy with statements for the sections that demand some and were given none, and which of them are of a product that such a section names. The others are passed
 * over. Throws as {@link withReleases}, but for `usage`, `release_product` and `release_rolled_back`.
 */
export async function withWantedReleases(
  policy: Policy,
  documents: readonly ReleaseDocument[],
): Promise<{ readonly policy: Policy; readonly used: ReadonlySet<ReleaseDocument> }> {
  const used = new Set<ReleaseDocument>()
  const sections: { [R in Role]?: EvidencePolicy } = {}
  for (const role of roles) {
    const section = policy.roles[role]
    if (section === undefined) continue
    sections[role] = lacking(section) ? { ...section, released: await verifiedFor(section.release, role, documents, used) } : section
  }
  return { policy: { ...policy, roles: sections }, used }
}

async function verifiedFor(
  release: ReleasePolicy,
  role: Role,
  documents: readonly ReleaseDocument[],
  used: Set<ReleaseDocument>,
): Promise<readonly Verified<ReleasedCode>[]> {
  const keySet = await releaseKeySet(release)
  const found: Verified<ReleasedCode>[] = []
  for (const document of documents) {
    const verified = await ofProduct(document.statement, release)
    if (verified === null) continue
    if (release.log !== 'any') {
      if (document.proof === null)
        throw fail('log_entry_missing', `expected a proof that the statement is in the log ${release.log.origin}, found none`)
      await verifyTlogProof(document.proof, releaseEntry(verified), await parseLogTrust(release.log))
    }
    used.add(document)
    found.push(codeOf(verified, role, release, keySet))
  }
  return found
}

/** Null where it is of another product. */
async function ofProduct(text: string, release: ReleasePolicy): Promise<VerifiedRelease | null> {
  try {
    return await verifySigners(text, release)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'release_product') return null
    throw error
  }
}

function codeOf({ statement, digest }: VerifiedRelease, role: Role, release: ReleasePolicy, keySet: string): Verified<ReleasedCode> {
  const code: ReleasedCode = {
    demand: releaseDemand(release),
    keySet,
    sequence: statement.sequence,
    digest,
    issued: statement.issued,
    release: statement.release,
    commit: statement.commit,
    enclaves: statement.enclaves.flatMap(({ role: own, mrenclave, isv_prod_id, isv_svn, cpu_variant }) =>
      own === role && mrenclave !== null ? [{ mrenclave, isvProdId: isv_prod_id, isvSvn: isv_svn, cpuVariant: cpu_variant }] : [],
    ),
    svnFloor: statement.svn_floor[role] ?? 0,
    withdrawn: statement.withdrawn,
  }
  return code as Verified<ReleasedCode>
}
