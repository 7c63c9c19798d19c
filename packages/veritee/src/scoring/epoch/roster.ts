import type { SignedAdmissionManifest } from '../../admission/manifest.ts'
import type { EpochContext } from './verify.ts'

/**
 * What an admission manifest says of an epoch's roster (spec/epoch.md, "Files"): operators are those that its sections of workers and controllers list, together;
 * null where a section accepts any. The caller has verified the manifest.
 */
export function rosterOf({
  manifest: { roles, platforms },
  digest,
}: Pick<SignedAdmissionManifest, 'manifest' | 'digest'>): NonNullable<EpochContext['roster']> {
  const lists = [roles.worker, roles.controller].flatMap((section) => (section === undefined ? [] : [section.operator]))
  const listed = lists.flatMap((list) => (list === 'any' ? [] : list))
  const operators = lists.includes('any') || lists.length === 0 ? null : [...new Set(listed)].sort()
  return { manifest: digest, salt: platforms.salt, operators, shared: platforms.shared }
}
