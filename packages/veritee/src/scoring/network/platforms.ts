import type { AuditRecord, WorkerId } from '../audit/record.ts'
import { isOwn } from '../rules/charge.ts'

/**
 * Who holds each platform that is not shared (rule S17; spec/scoring.md, "Platforms"). `passes` are records by the weight of their validator, 0 included;
 * `counts` says which passes count.
 */
export function holdersAfter(
  before: ReadonlyMap<string, string>,
  records: ReadonlyMap<string, { readonly weight: bigint; readonly records: readonly AuditRecord[] }>,
  shared: ReadonlySet<string>,
  counts: (pass: AuditRecord) => boolean,
): { readonly holders: ReadonlyMap<string, string>; readonly excluded: (worker: WorkerId) => boolean } {
  // Each validator adds its weight once for each pair of platform and operator.
  const claims = new Map<string, Map<string, bigint>>()
  for (const { weight, records: own } of records.values()) {
    if (weight === 0n) continue
    const seen = new Set<string>()
    for (const record of own) {
      const { worker } = record
      if (record.verdict !== 'pass' || worker === null || !isOwn(record) || shared.has(worker.platform)) continue
      const key = `${worker.platform}/${worker.operator}`
      if (seen.has(key) || !counts(record)) continue
      seen.add(key)
      const ofPlatform = claims.get(worker.platform) ?? new Map<string, bigint>()
      claims.set(worker.platform, ofPlatform)
      ofPlatform.set(worker.operator, (ofPlatform.get(worker.operator) ?? 0n) + weight)
    }
  }
  const holders = new Map([...before].filter(([platform]) => !shared.has(platform)))
  const disputed = new Set<string>()
  for (const [platform, ofPlatform] of claims) {
    const holder = holders.get(platform)
    if (holder !== undefined && ofPlatform.has(holder)) continue
    const winner = heaviest(ofPlatform)
    if (winner !== null) holders.set(platform, winner)
    else {
      holders.delete(platform)
      disputed.add(platform)
    }
  }
  const excluded = ({ platform, operator }: WorkerId): boolean => {
    const holder = holders.get(platform)
    return disputed.has(platform) || (holder !== undefined && holder !== operator)
  }
  return { holders, excluded }
}

/** null where two weigh the same. */
function heaviest(claims: ReadonlyMap<string, bigint>): string | null {
  let winner: string | null = null
  let most = 0n
  for (const [operator, weight] of claims) {
    if (weight > most) {
      winner = operator
      most = weight
    } else if (weight === most) winner = null
  }
  return winner
}
