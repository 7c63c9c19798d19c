/** What the name of every model has that no attestation stands behind, so that nobody takes it for one that is verified (rule S22). */
export const unverifiedSuffix = ':unverified'

/** The name with the suffix; once, where it has it already. */
export function unverifiedName(name: string): string {
  return name.endsWith(unverifiedSuffix) ? name : `${name}${unverifiedSuffix}`
}
