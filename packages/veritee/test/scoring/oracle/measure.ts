// Counters and factors of one worker, or of one operator as a whole, from the records about it.
import type { AuditRecord } from '../../../src/scoring/index.ts'
import { type Any, big, type Counter, type Facts, own, unique, via } from './facts.ts'
import { decimal, div, E18, fine, half, least, most, mul, nano, quo, sqrt, total } from './numbers.ts'

export function measure(
  { policy, close, carry, model, passed, inconclusive, toWorker, bound, sure, median }: Facts,
  all: readonly AuditRecord[],
  was: { quality: Counter; availability: Counter; mismatches?: Any },
  { P, k }: { P: readonly string[]; k: bigint },
) {
  const direct = (r: AuditRecord): boolean => r.path.length === 0
  const taken = (r: AuditRecord): boolean => direct(r) || P.includes(via(r))
  const mine = all.filter((r) => taken(r) || toWorker(r, 'honesty', 'pause', 'availability'))
  const scale = (r: AuditRecord, weight: bigint): bigint => (!direct(r) && taken(r) ? mul(weight, k) : weight)
  const age = (was: Counter, trials: readonly (readonly [AuditRecord, boolean])[]): Counter => {
    const sum = (of: readonly (readonly [AuditRecord, boolean])[]) => total(of.map(([r]) => scale(r, half(close - r.at, policy.halfLife))))
    return {
      successes: nano(mul(fine(was.successes), carry) + sum(trials.filter(([, ok]) => ok))),
      trials: nano(mul(fine(was.trials), carry) + sum(trials)),
    }
  }
  const quality = age(was.quality, [
    ...mine.filter((r) => own(r) && passed(r)).map((r) => [r, true] as const),
    ...mine.filter((r) => r.kind !== 'confirmation' && toWorker(r, 'honesty')).map((r) => [r, false] as const),
  ])
  const availability = age(was.availability, [
    ...mine.filter((r) => own(r) && (passed(r) || inconclusive(r) || toWorker(r, 'honesty', 'pause'))).map((r) => [r, true] as const),
    ...mine.filter((r) => own(r) && toWorker(r, 'availability')).map((r) => [r, false] as const),
  ])
  const timed = all.filter((r) => own(r) && passed(r))
  const latency = (r: AuditRecord): bigint =>
    least(E18, div((model(r)?.firstMs ?? 0n) * E18, BigInt(Math.max(1, r.timings?.worker?.first_ms ?? 0, r.timings?.validator.first_ms ?? 0))))
  const speed = (r: AuditRecord): bigint =>
    least(
      E18,
      div(
        BigInt(r.output_tokens) * 1000n * 10n ** 36n,
        BigInt(Math.max(1, r.timings?.worker?.total_ms ?? 0, r.timings?.validator.total_ms ?? 0)) * (model(r)?.tokensPerSecond ?? 1n),
      ),
    )
  const best = (of: (r: AuditRecord) => bigint): bigint => {
    const paths = unique(timed.map(via))
      .map((p) => timed.filter((r) => via(r) === p))
      .filter((rs) => rs.length >= policy.minPathRecords)
    return paths.length > 0 ? most(...paths.map((rs) => median(rs.map(of)))) : median(timed.map(of))
  }
  const replayed = all.filter(
    (r) =>
      own(r) &&
      r.replay?.level === 2 &&
      model(r)?.level2?.calibration === r.replay.calibration &&
      (passed(r) || (toWorker(r, 'honesty') && r.reason === 'replay_mismatch')),
  )
  const seen = (of: readonly AuditRecord[], p: (r: AuditRecord) => bigint): bigint =>
    total(of.map((r) => mul(half(close - r.at, policy.halfLife), p(r))))
  const failures = nano(
    mul(fine(big(was.mismatches?.failures ?? '0')), carry) +
      seen(
        replayed.filter((r) => !passed(r)),
        () => E18,
      ),
  )
  const allowed = nano(mul(fine(big(was.mismatches?.allowed ?? '0')), carry) + seen(replayed, (r) => model(r)?.level2?.p0Upper ?? 0n))
  const zz = mul(policy.z, policy.z)
  const b = fine(failures) + div(zz, 2n) - mul(policy.z, sqrt(fine(failures) + div(zz, 4n)))
  const A = fine(allowed) + E18
  const y = was.mismatches === undefined || b <= A ? E18 : quo(A, b)
  const q = bound(quality)
  const a = bound(availability)
  const l = best(latency)
  const t = best(speed)
  const judged = mine.filter((r) => r.kind !== 'confirmation' && (passed(r) || inconclusive(r) || toWorker(r, 'honesty', 'pause', 'availability')))
  const unclear = judged.filter(inconclusive)
  return {
    quality,
    availability,
    q,
    a,
    l,
    t,
    y,
    mismatches: { failures: decimal(failures), allowed: decimal(allowed) },
    g: mul(sure(mul(q, y), a), mul(policy.speedShare, t) + mul(E18 - policy.speedShare, l)),
    judged: judged.length,
    inconclusive: unclear.length,
    unclear: BigInt(unclear.length) * E18 > policy.maxInconclusive * BigInt(judged.length),
    tokens: total(timed.filter(taken).map((r) => BigInt(r.output_tokens))),
    relayed: total(timed.filter((r) => taken(r) && !direct(r)).map((r) => BigInt(r.output_tokens))),
    last: all
      .filter((r) => r.kind !== 'confirmation' && (passed(r) || toWorker(r, 'honesty', 'pause', 'availability')))
      .sort((x, y) => y.at - x.at || y.index - x.index)[0],
  }
}
