// Convictions, on all grounds, and what follows from them.
import type { AuditRecord, EpochInput, WorkerId } from '../../../src/scoring/index.ts'
import { type Any, cmp, type Facts, id, unique } from './facts.ts'
import { total } from './numbers.ts'
import type { Sides } from './sides.ts'

/** Takes from the convicted what they had: `sides` are changed. */
export function convict({ policy, e, roster, records, weightOf, ownerOf, chargeOf, before }: Facts, input: Pick<EpochInput, 'proven'>, sides: Sides) {
  const grounds: { operator: string; platform: string | null; ground: Any }[] = []
  const keysets = new Set<string>(before.keysets)
  for (const p of [...input.proven].sort((a, b) => cmp(a.keyset, b.keyset)))
    if (!keysets.has(p.keyset)) {
      keysets.add(p.keyset)
      grounds.push({ operator: p.operator, platform: p.platform, ground: { kind: 'proof', keyset: p.keyset } })
    }
  const heavy = records.filter((r) => weightOf(r.validator) > 0n && r.replay?.level === 1 && r.worker !== null)
  const accusations = heavy.filter((r) => r.kind !== 'confirmation' && r.replay?.outcome === 'fail' && chargeOf.get(r) === 'worker')
  for (const r of accusations.sort((a, b) => cmp(a.validator, b.validator) || a.index - b.index)) {
    const others = heavy.filter(
      (x) =>
        x.kind === 'confirmation' &&
        x.verdict !== 'inconclusive' &&
        x.validator !== r.validator &&
        x.view?.digest === r.view?.digest &&
        x.replay?.engine === r.replay?.engine &&
        id(x.worker as WorkerId) === id(r.worker as WorkerId),
    )
    const agrees = (x: AuditRecord): boolean =>
      x.verdict === 'fail' && x.replay?.tokens.total === r.replay?.tokens.total && x.replay?.tokens.equal === r.replay?.tokens.equal
    const against = unique(others.filter((x) => !agrees(x)).map((x) => x.validator))
    const by = unique(others.map((x) => x.validator)).filter((v) => !against.includes(v))
    const voice = (v: string): string => ownerOf(v) ?? v
    const voices = unique(by.map(voice)).filter((v) => v !== voice(r.validator))
    const weigh = (vs: readonly string[]): bigint => total(vs.map(weightOf))
    if (voices.length >= policy.confirmations && weigh([r.validator, ...by]) > weigh(against))
      grounds.push({
        operator: r.worker?.operator ?? '',
        platform: r.worker?.platform ?? null,
        ground: { kind: 'level1', validator: r.validator, index: r.index, confirmed_by: by },
      })
  }
  const named = (v: Any): string => `${v.validator}/${v.operator}/${v.platform ?? ''}`
  const standing = [...before.votes.filter((v: Any) => e < v.epoch + policy.sprt.voteEpochs), ...sides.flatMap((s) => s.votes)]
  const newest = unique(standing.map(named)).map((n) => standing.filter((v) => named(v) === n).reduce((a, b) => (b.epoch > a.epoch ? b : a)))
  for (const o of unique(newest.map((v) => v.operator))) {
    const judging = policy.validators.filter((v) => weightOf(v.key) > 0n && v.operator !== o)
    const against = newest.filter((v) => v.operator === o && judging.some((j) => j.key === v.validator))
    const weight = total(judging.filter((j) => against.some((v) => v.validator === j.key)).map((j) => weightOf(j.key)))
    if (2n * weight > total(judging.map((j) => weightOf(j.key))))
      for (const v of against)
        grounds.push({
          operator: o,
          platform: v.platform,
          ground: { kind: 'level2', validator: v.validator, epoch: v.epoch, platform: v.platform },
        })
  }
  const numbers = { operators: new Map<string, Any>(), platforms: new Map<string, Any>() }
  for (const x of before.operators) numbers.operators.set(x.operator, x)
  for (const x of before.platforms) numbers.platforms.set(x.platform, x)
  const convictions = unique(grounds.map((g) => g.operator)).map((operator) => {
    const mine = grounds.filter((g) => g.operator === operator)
    const named = unique(mine.flatMap((g) => (g.platform === null || roster.shared.includes(g.platform) ? [] : [g.platform])))
    const k = Math.max(
      before.operators.find((x: Any) => x.operator === operator)?.convictions ?? 0,
      ...named.map((p) => before.platforms.find((x: Any) => x.platform === p)?.convictions ?? 0),
    )
    const until = e + 2 ** Math.min(k, policy.ban.maxExponent)
    const note = (map: Map<string, Any>, name: string, key: string): void => {
      const was = map.get(key)
      map.set(key, { [name]: key, convictions: (was?.convictions ?? 0) + 1, until: Math.max(until, was?.until ?? 0) })
    }
    note(numbers.operators, 'operator', operator)
    for (const p of named) note(numbers.platforms, 'platform', p)
    return { operator, platforms: named, grounds: mine.map((g) => g.ground), until }
  })
  const fallen = (o: string): boolean => convictions.some((c) => c.operator === o)
  for (const side of sides) {
    for (const x of side.operators) if (fallen(x.o)) x.score = x.entry = 0n
    for (const x of side.workers) if (fallen(x.w.operator)) x.part = x.entry = 0n
    for (const [name, x] of side.ratios) if (fallen(x.operator)) side.ratios.delete(name)
  }
  return { convictions, numbers, newest, keysets, fallen }
}
