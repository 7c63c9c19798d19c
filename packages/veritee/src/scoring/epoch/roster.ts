import type { SignedAdmissionManifest } from '../../admission/manifest.ts'
import type { EpochContext } from './verify.ts'

/**
 * What an admission manifest says of an epoch's roster (spec/epoch.md, "Files"): operators are those that its sections of workers and controllers list, together;
 * null where anybody may be a worker's. A section for controllers that accepts any lists none: they need not show whose they are. The caller has verified the manifest.
 */
export function rosterOf({
  manifest: { roles, platforms },
  digest,
}: Pick<SignedAdmissionManifest, 'manifest' | 'digest'>): NonNullable<EpochContext['roster']> {
  const lists = [roles.worker, roles.controller].flatMap((section) => (section === undefined ? [] : [section.operator]))
  const listed = lists.flatMap((list) => (list === 'any' ? [] : list))
  const operators = (roles.worker?.operator ?? 'any') === 'any' ? null : [...new Set(listed)].sort()
  return { manifest: digest, salt: platforms.salt, operators, shared: platforms.shared }
}
