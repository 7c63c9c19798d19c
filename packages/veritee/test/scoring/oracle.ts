// Scoring once more, from spec/scoring.md alone: every rule as a question over all records, nothing kept, nothing clever. Slow.
import type { AuditRecord, EpochInput, WorkerId } from '../../src/scoring/index.ts'
import { decimal, div, E18, fine, half, least, ln, most, mul, nano, pow, power, quo, shares, sqrt, total } from './oracle-numbers.ts'

type Any = ReturnType<typeof JSON.parse>
type Counter = { successes: bigint; trials: bigint }
type Party = { quality: Counter; availability: Counter; score: bigint }

const availabilityFaults = ['refused', 'timeout', 'cut_off', 'answer_error', 'receipt_unavailable', 'attestation_unavailable']
const pauseFaults = ['attestation_rejected', 'keyset_expired']
const classOf = (r: AuditRecord): string | null =>
  r.verdict === 'pass' || r.verdict === 'inconclusive'
    ? null
    : availabilityFaults.includes(r.reason ?? '')
      ? 'availability'
      : pauseFaults.includes(r.reason ?? '')
        ? 'pause'
        : 'honesty'
const own = (r: AuditRecord): boolean => r.kind === 'probe' || r.kind === 'canary'
const id = (w: WorkerId): string => `${w.operator} ${w.platform} ${String(w.slot).padStart(5, '0')}`
const via = (r: AuditRecord): string => r.path[0] ?? 'direct'
const cmp = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
const unique = (xs: readonly string[]): string[] => [...new Set(xs)].sort(cmp)
const big = (text: string): bigint => BigInt(text.replace('.', ''))
const counter = (c: Any): Counter => ({ successes: big(c.successes), trials: big(c.trials) })
const counterOut = (c: Counter): Any => ({ successes: decimal(c.successes), trials: decimal(c.trials) })
const zero: Counter = { successes: 0n, trials: 0n }

/** Takes the state as a document, and gives scores and state as documents. */
export function oracle(input: Omit<EpochInput, 'before'>, before: Any): { scores: Any; state: Any } {
  const { policy, epoch: e, roster } = input
  const opens = policy.epoch.genesis + e * policy.epoch.length
  const close = opens + policy.epoch.length
  const stateOf = (v: string): Any =>
    before.validators.find((x: Any) => x.validator === v) ?? { operators: [], workers: [], controllers: [], paths: [], ratios: [] }
  const isBanned = (kind: 'operators' | 'platforms', name: 'operator' | 'platform', key: string): boolean =>
    before[kind].some((x: Any) => x[name] === key && x.until >= e)
  const weightOf = (v: string): bigint =>
    input.failed.includes(v) || before.disqualified.some((x: Any) => x.validator === v && x.until >= e)
      ? 0n
      : (policy.validators.find((x) => x.key === v)?.weight ?? 0n)
  const ownerOf = (v: string): string | null => policy.validators.find((x) => x.key === v)?.operator ?? null
  const model = (r: AuditRecord) => policy.models.find((m) => m.weights === r.model?.weights)

  const records = input.records.filter(
    (r) =>
      r.worker === null ||
      (roster.operators.includes(r.worker.operator) &&
        !isBanned('operators', 'operator', r.worker.operator) &&
        r.worker.operator !== ownerOf(r.validator)),
  )
  const counts = (r: AuditRecord): boolean => model(r) !== undefined && (policy.log === 'any' || r.view?.log?.origin === policy.log.origin)
  const passed = (r: AuditRecord): boolean => r.verdict === 'pass' && counts(r)
  const inconclusive = (r: AuditRecord): boolean => r.verdict === 'inconclusive' || (r.verdict === 'pass' && !counts(r))
  // Who is charged.
  const paired = new Set<AuditRecord>()
  const blamable = records.filter((r) => own(r) && r.worker !== null && r.charged !== null)
  for (const r of [...blamable].sort((x, y) => x.at - y.at || x.index - y.index)) {
    const partner = blamable
      .filter(
        (o) =>
          o.validator === r.validator &&
          id(o.worker as WorkerId) === id(r.worker as WorkerId) &&
          classOf(o) === classOf(r) &&
          via(o) !== via(r) &&
          !paired.has(o) &&
          (o.at < r.at || (o.at === r.at && o.index < r.index)) &&
          r.at - o.at <= policy.repeatWindow,
      )
      .sort((x, y) => x.at - y.at || x.index - y.index)[0]
    if (partner !== undefined) paired.add(partner).add(r)
  }
  const chargeOf = new Map(records.map((r) => [r, paired.has(r) ? 'worker' : r.charged]))
  const toWorker = (r: AuditRecord, ...classes: string[]): boolean => chargeOf.get(r) === 'worker' && classes.includes(classOf(r) ?? '')

  // Platforms.
  const platforms = unique(input.records.flatMap((r) => (r.worker === null ? [] : [r.worker.platform])))
  const holders = new Map<string, string | null>()
  for (const { platform, operator } of before.holders) if (!roster.shared.includes(platform)) holders.set(platform, operator)
  for (const platform of platforms.filter((p) => !roster.shared.includes(p))) {
    const here = records.filter((r) => own(r) && passed(r) && r.worker?.platform === platform)
    const claim = (o: string): bigint =>
      total(policy.validators.filter((v) => here.some((r) => r.validator === v.key && r.worker?.operator === o)).map((v) => weightOf(v.key)))
    const claims = unique(here.map((r) => r.worker?.operator ?? ''))
      .map((o) => ({ o, w: claim(o) }))
      .filter(({ w }) => w > 0n)
    if (claims.length === 0 || claims.some(({ o }) => o === holders.get(platform))) continue
    const top = most(...claims.map(({ w }) => w))
    const winners = claims.filter(({ w }) => w === top)
    holders.set(platform, winners.length === 1 ? (winners[0]?.o ?? null) : null)
  }
  const isExcluded = (w: WorkerId): boolean => holders.has(w.platform) && holders.get(w.platform) !== w.operator

  const carry = half(policy.epoch.length, policy.halfLife)
  const age = (was: Counter, trials: readonly (readonly [AuditRecord, boolean])[]): Counter => ({
    successes: nano(mul(fine(was.successes), carry) + total(trials.filter(([, ok]) => ok).map(([r]) => half(close - r.at, policy.halfLife)))),
    trials: nano(mul(fine(was.trials), carry) + total(trials.map(([r]) => half(close - r.at, policy.halfLife)))),
  })
  const bound = (c: Counter): bigint => {
    if (c.trials === 0n) return 0n
    const s = fine(c.successes)
    const n = fine(c.trials)
    const zz = mul(policy.z, policy.z)
    return most(0n, quo(2n * s + zz - mul(policy.z, sqrt(quo(mul(4n * s, n - s), n) + zz)), 2n * (n + zz)))
  }
  const sure = (q: bigint, a: bigint): bigint => mul(power(q, policy.exponents.quality), power(a, policy.exponents.availability))
  const median = (xs: readonly bigint[]): bigint => [...xs].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))[Math.floor((xs.length - 1) / 2)] ?? 0n
  const follow = (s: bigint, raw: bigint): bigint => s + nano(mul(raw >= s ? policy.ema.up : policy.ema.down, fine(raw - s)))

  // Paths of one validator: what each shows of each operator, and which are believed of whom.
  function listen(mine: readonly AuditRecord[], was: Any) {
    const h = (r: AuditRecord): bigint => half(close - r.at, policy.halfLife)
    const isPath = (p: string): boolean => roster.operators.includes(p)
    const name = (x: Any): string => x.path
    const old = (p: string): Any => was.paths.find((x: Any) => name(x) === p)
    const by = (p: string) => mine.filter((r) => own(r) && via(r) === p)
    const tokensBy = (p: string) => by(p).filter((r) => passed(r) && r.worker !== null)
    const n = (r: AuditRecord): bigint => BigInt(r.output_tokens)
    const counted = unique([...was.paths.map(name), ...mine.filter(own).map(via)])
      .filter(isPath)
      .map((p) => {
        const names = unique([...(old(p)?.work.map((x: Any) => x.operator) ?? []), ...tokensBy(p).map((r) => r.worker?.operator ?? '')])
        const before = (text: string | undefined): bigint => (text === undefined ? 0n : fine(big(text)))
        return {
          p,
          trials: nano(mul(before(old(p)?.trials), carry) + total(by(p).map(h))),
          squares: nano(mul(mul(before(old(p)?.squares), carry), carry) + div(total(tokensBy(p).map((r) => (n(r) * h(r)) ** 2n)), E18)),
          work: names
            .filter((o) => roster.operators.includes(o))
            .map((o) => ({
              o,
              tokens: nano(
                mul(before(old(p)?.work.find((x: Any) => x.operator === o)?.tokens), carry) +
                  total(
                    tokensBy(p)
                      .filter((r) => r.worker?.operator === o)
                      .map((r) => n(r) * h(r)),
                  ),
              ),
            }))
            .filter((x) => x.tokens !== 0n),
        }
      })
      .filter((x) => x.trials > 0n)
      .sort((x, y) => (x.trials === y.trials ? cmp(x.p, y.p) : x.trials > y.trials ? -1 : 1))
      .slice(0, 64)
      .sort((x, y) => cmp(x.p, y.p))
    const allTokens = total(counted.flatMap((x) => x.work.map((y) => y.tokens)))
    const lasting = {
      trials: (p: string): bigint => counted.find((x) => x.p === p)?.trials ?? 0n,
      tokens: (p: string, o: string): bigint => counted.find((x) => x.p === p)?.work.find((y) => y.o === o)?.tokens ?? 0n,
      u: allTokens === 0n ? 0n : div(10n ** 9n * total(counted.map((x) => x.squares)), allTokens),
    }
    const here = counted.flatMap((x) => tokensBy(x.p))
    const sum = total(here.map(n))
    const present = {
      trials: (p: string): bigint => BigInt(by(p).length) * 10n ** 9n,
      tokens: (p: string, o: string): bigint => 10n ** 9n * total(tokensBy(p).flatMap((r) => (r.worker?.operator === o ? [n(r)] : []))),
      u: sum === 0n ? 0n : div(10n ** 9n * total(here.map((r) => n(r) ** 2n)), sum),
    }
    const zz = mul(policy.z, policy.z)
    const heard = (o: string) => {
      let P = counted.map((x) => x.p)
      for (const table of [lasting, present])
        while (table.u > 0n && P.length > 2) {
          const N = total(counted.map((x) => table.trials(x.p)))
          const NP = total(P.map(table.trials))
          const MP = total(P.map((p) => table.tokens(p, o)))
          const xs = P.map((p) => {
            const R = NP - table.trials(p)
            if (2n * R <= N) return -1n
            const E = div(table.trials(p) * (MP - table.tokens(p, o)), R)
            const V = table.u * (div(table.trials(p) * MP, R) + mul(zz, table.u))
            return V === 0n ? 0n : div((table.tokens(p, o) - E) ** 2n * E18, V)
          })
          const x = most(...xs)
          if (x <= zz) break
          const gone = xs.indexOf(x)
          P = P.filter((_, i) => i !== gone)
        }
      const NP = total(P.map(present.trials))
      const k = NP === 0n ? 0n : quo(total(counted.map((x) => present.trials(x.p))), NP)
      return { P, k, out: counted.map((x) => x.p).filter((p) => !P.includes(p)) }
    }
    const agreement = (p: string): bigint => {
      const names = unique(counted.flatMap((x) => x.work.map((y) => y.o)))
      const of = (o: string): bigint => total(counted.map((x) => lasting.tokens(x.p, o)))
      const X = total(names.filter((o) => heard(o).out.includes(p)).map(of))
      return allTokens === 0n ? E18 : quo(allTokens - X, allTokens)
    }
    const state = counted.map((x) => ({
      path: x.p,
      trials: decimal(x.trials),
      squares: decimal(x.squares),
      work: x.work.map((y) => ({ operator: y.o, tokens: decimal(y.tokens) })),
    }))
    return { heard, agreement, state }
  }

  function measure(
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

  const sides = policy.validators.map(({ key }) => {
    const was = stateOf(key)
    const mine = records.filter((r) => r.validator === key)
    const { heard, agreement, state: paths } = listen(mine, was)
    const about = mine.flatMap((r) => (r.worker === null ? [] : [r.worker]))
    const knownWorkers: WorkerId[] = was.workers.map((w: Any) => w.worker).filter((w: WorkerId) => roster.operators.includes(w.operator))
    const ids = [...new Map([...knownWorkers, ...about].map((w) => [id(w), w])).entries()].sort((a, b) => cmp(a[0], b[0])).map(([, w]) => w)
    const names = unique([
      ...was.operators.map((o: Any) => o.operator).filter((o: string) => roster.operators.includes(o)),
      ...ids.map((w) => w.operator),
    ])
    const workers = ids.map((w) => {
      const old = was.workers.find((x: Any) => id(x.worker) === id(w))
      const found = measure(
        mine.filter((r) => r.worker !== null && id(r.worker) === id(w)),
        old === undefined ? { quality: zero, availability: zero } : { quality: counter(old.quality), availability: counter(old.availability) },
        heard(w.operator),
      )
      const why = isBanned('platforms', 'platform', w.platform)
        ? 'platform_banned'
        : isExcluded(w)
          ? 'platform_excluded'
          : found.last !== undefined && classOf(found.last) === 'pause'
            ? 'paused'
            : found.unclear
              ? 'inconclusive'
              : null
      return { w, ...found, why, work: why === null ? found.tokens : 0n, oldPart: old === undefined ? 0n : big(old.part), part: 0n, entry: 0n }
    })
    const operators = names.map((o) => {
      const old = was.operators.find((x: Any) => x.operator === o)
      const found = measure(
        mine.filter((r) => r.worker?.operator === o),
        old === undefined
          ? { quality: zero, availability: zero, mismatches: { failures: '0', allowed: '0' } }
          : { quality: counter(old.quality), availability: counter(old.availability), mismatches: old.mismatches },
        heard(o),
      )
      const team = workers.filter((x) => x.w.operator === o)
      const relayed = total(team.map((x) => (x.why === null ? x.relayed : 0n)))
      const work = total(team.map((x) => x.work)) - relayed + div(heard(o).k * relayed, E18)
      const raw = work === 0n || found.unclear ? 0n : nano(mul(found.g, pow(work * E18, policy.exponents.work)))
      const s = old === undefined ? 0n : big(old.score)
      const score = follow(s, raw)
      const entry = found.unclear ? 0n : score
      const ways = [
        team.map((x) => mul(x.work * E18, x.g)),
        team.map((x) => x.work),
        team.map((x) => (x.why === null ? x.oldPart : 0n)),
        team.map(() => 0n),
      ]
      const way = ways.find((ws) => total(ws) > 0n) ?? team.map(() => 0n)
      for (const [i, x] of team.entries()) {
        x.part = shares(score, way)[i] ?? 0n
        x.entry = shares(entry, way)[i] ?? 0n
      }
      return { o, ...found, out: heard(o).out, work, raw, before: s, score, entry }
    })
    const controllerNames = unique([
      ...was.controllers.map((c: Any) => c.operator),
      ...mine.filter((r) => own(r) && r.path.length > 0 && r.path[0] !== ownerOf(key)).map(via),
    ]).filter((o) => roster.operators.includes(o))
    const controllers = controllerNames.map((o) => {
      const old = was.controllers.find((x: Any) => x.operator === o)
      const through = mine.filter((r) => own(r) && r.path[0] === o && o !== ownerOf(key))
      const blamed = (r: AuditRecord): boolean => chargeOf.get(r) === 'controller'
      const quality = age(
        old === undefined ? zero : counter(old.quality),
        through.map((r) => [r, !(blamed(r) && classOf(r) !== 'availability')] as const),
      )
      const availability = age(
        old === undefined ? zero : counter(old.availability),
        through.map((r) => [r, !(blamed(r) && classOf(r) === 'availability')] as const),
      )
      const q = bound(quality)
      const a = bound(availability)
      const agree = agreement(o)
      const raw = through.length > 0 ? nano(mul(sure(q, a), agree)) : 0n
      const s = old === undefined ? 0n : big(old.score)
      return { o, quality, availability, q, a, agree, raw, before: s, score: follow(s, raw) }
    })
    // Sequential tests.
    const ratios = new Map<string, { operator: string; worker: WorkerId | null; model: string; L: bigint }>()
    for (const x of was.ratios) ratios.set(`${x.operator}|${x.worker === null ? '' : id(x.worker)}|${x.model}`, { ...x, L: fine(big(x.ratio)) })
    const votes: { validator: string; operator: string; platform: string | null; epoch: number }[] = []
    const { p1, alpha, beta, maxP0Upper } = policy.sprt
    for (const r of mine.filter(own).sort((x, y) => x.at - y.at || x.index - y.index)) {
      const m = model(r)
      const failed = toWorker(r, 'honesty') && r.reason === 'replay_mismatch'
      if (r.worker === null || m?.level2 === undefined || m.level2 === null || m.level2.p0Upper > maxP0Upper) continue
      if (r.replay?.level !== 2 || r.replay.calibration !== m.level2.calibration || !(passed(r) || failed)) continue
      const p0 = m.level2.p0
      for (const worker of [r.worker, null]) {
        const name = `${r.worker.operator}|${worker === null ? '' : id(worker)}|${m.weights}`
        let L = ratios.get(name)?.L ?? 0n
        L += failed ? ln(quo(p1, p0)) : ln(quo(E18 - p1, E18 - p0))
        if (L >= ln(quo(E18 - beta, alpha))) {
          votes.push({ validator: key, operator: r.worker.operator, platform: worker?.platform ?? null, epoch: e })
          L = 0n
        } else if (L <= ln(quo(beta, E18 - alpha))) L = 0n
        ratios.set(name, { operator: r.worker.operator, worker, model: m.weights, L })
      }
    }
    return { key, weight: weightOf(key), operators, workers, controllers, paths, ratios, votes }
  })

  // Convictions.
  const grounds: { operator: string; platform: string | null; ground: Any }[] = []
  const keysets = new Set<string>(before.keysets)
  for (const p of [...input.proven].sort((a, b) => cmp(a.keyset, b.keyset)))
    if (!keysets.has(p.keyset)) {
      keysets.add(p.keyset)
      grounds.push({ operator: p.operator, platform: p.platform, ground: { kind: 'proof', keyset: p.keyset } })
    }
  const heavy = records.filter(
    (r) => weightOf(r.validator) > 0n && r.replay?.level === 1 && r.replay.outcome === 'fail' && chargeOf.get(r) === 'worker',
  )
  for (const r of heavy.filter((x) => x.kind !== 'confirmation').sort((a, b) => cmp(a.validator, b.validator) || a.index - b.index)) {
    if (r.worker === null || r.view === null) continue
    const others = heavy.filter(
      (x) =>
        x.kind === 'confirmation' &&
        x.validator !== r.validator &&
        x.view?.digest === r.view?.digest &&
        x.replay?.engine === r.replay?.engine &&
        x.worker !== null &&
        r.worker !== null &&
        id(x.worker) === id(r.worker),
    )
    if (unique(others.map((x) => x.validator)).length >= policy.confirmations)
      grounds.push({ operator: r.worker.operator, platform: r.worker.platform, ground: { kind: 'level1', validator: r.validator, index: r.index } })
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

  // Network.
  const sumOf = (side: (typeof sides)[0]): bigint => total(side.operators.map((x) => x.entry))
  const entryOf = (side: (typeof sides)[0], o: string): bigint => side.operators.find((x) => x.o === o)?.entry ?? 0n
  const clip = (values: readonly { S: bigint; W: bigint }[]): bigint => {
    const T = total(values.map((v) => v.S))
    if (T === 0n) return 0n
    const fits = values.filter((x) => total(values.filter((v) => v.W >= x.W).map((v) => v.S)) * E18 >= mul(policy.clip, T * E18))
    const enough = values.filter((x) => total(values.filter((v) => v.W <= x.W).map((v) => v.S)) * E18 >= mul(policy.clip, T * E18))
    const x = most(...fits.map((v) => v.W))
    const w = least(...enough.map((v) => v.W))
    return div(total(values.map((v) => v.S * most(w, least(v.W, x)))), T)
  }
  const all = unique(sides.flatMap((s) => s.operators.map((x) => x.o)))
  const votersOf = (o: string) => sides.filter((s) => s.weight > 0n && ownerOf(s.key) !== o && sumOf(s) > 0n)
  const A = all.map((o) => clip(votersOf(o).map((s) => ({ S: s.weight, W: quo(entryOf(s, o), sumOf(s)) }))))
  const n = A.filter((x) => x > 0n).length
  const F = A.map((x) => (n === 0 ? 0n : nano(least(quo(x, total(A)), most(policy.cap, div(E18, BigInt(n)))))))
  for (let i = F.length - 1; i >= 0 && total(F) > 10n ** 9n; i--) if ((F[i] as bigint) > 0n) F[i] = (F[i] as bigint) - 1n
  const everybody = [...new Map(sides.flatMap((s) => s.workers.map((x) => [id(x.w), x.w] as const)))]
    .sort((a, b) => cmp(a[0], b[0]))
    .map(([, w]) => w)
  const given = all.flatMap((o, i) => {
    const team = everybody.filter((w) => w.operator === o)
    const ws = team.map((w) =>
      total(
        votersOf(o)
          .filter((s) => entryOf(s, o) > 0n)
          .map((s) => s.weight * quo(s.workers.find((x) => id(x.w) === id(w))?.entry ?? 0n, entryOf(s, o))),
      ),
    )
    const parts = shares(F[i] as bigint, ws)
    return team.map((worker, j) => ({ worker, share: parts[j] as bigint })).filter((x) => x.share > 0n)
  })
  const rest = 10n ** 9n - total(given.map((x) => x.share))
  const u16 = shares(65535n, [...given.map((x) => x.share), rest])
  const network = {
    operators: all.map((operator, i) => ({ operator, share: F[i] as bigint })).filter((x) => x.share > 0n),
    workers: given.map((x, i) => ({ worker: x.worker, share: decimal(x.share), weight: Number(u16[i]) })),
    unassigned: { share: decimal(rest), weight: Number(u16[given.length]) },
    controllers: unique(sides.flatMap((s) => s.controllers.map((x) => x.o)))
      .map((operator) => ({
        operator,
        score: clip(
          sides
            .filter((s) => s.weight > 0n && ownerOf(s.key) !== operator && s.controllers.some((x) => x.o === operator))
            .map((s) => ({ S: s.weight, W: s.controllers.find((x) => x.o === operator)?.score ?? 0n })),
        ),
      }))
      .filter((x) => x.score > 0n)
      .map((x) => ({ ...x, score: decimal(x.score) })),
  }

  const measured = (x: Any): Any => ({
    judged: x.judged,
    inconclusive: x.inconclusive,
    work: Number(x.work),
    quality: counterOut(x.quality),
    availability: counterOut(x.availability),
    quality_bound: decimal(nano(x.q)),
    availability_bound: decimal(nano(x.a)),
    latency: decimal(nano(x.l)),
    speed: decimal(nano(x.t)),
    goodness: decimal(nano(x.g)),
  })
  const some = (x: { quality: Counter; availability: Counter }, last: bigint): boolean =>
    x.quality.trials !== 0n || x.availability.trials !== 0n || last !== 0n
  const party = (x: Party & { o: string }): Any => ({
    operator: x.o,
    quality: counterOut(x.quality),
    availability: counterOut(x.availability),
    score: decimal(x.score),
  })
  const scores = {
    version: 'veritee.scores.v1',
    epoch: e,
    validators: sides.map((s) => ({
      validator: s.key,
      weight: Number(s.weight),
      operators: s.operators.map((x) => ({
        operator: x.o,
        ...measured(x),
        mismatches: x.mismatches,
        allowance: decimal(nano(x.y)),
        left_out: x.out,
        unscored: x.unclear,
        raw: decimal(x.raw),
        before: decimal(x.before),
        score: decimal(x.score),
        entry: decimal(x.entry),
      })),
      workers: s.workers.map((x) => ({ worker: x.w, ...measured(x), not_counted: x.why, part: decimal(x.part), entry: decimal(x.entry) })),
      controllers: s.controllers.map((x) => ({
        ...party(x),
        quality_bound: decimal(nano(x.q)),
        availability_bound: decimal(nano(x.a)),
        agreement: decimal(nano(x.agree)),
        raw: decimal(x.raw),
        before: decimal(x.before),
      })),
      votes: s.votes.map(({ operator, platform }) => ({ operator, platform })),
    })),
    convictions,
    network: { ...network, operators: network.operators.map((x) => ({ ...x, share: decimal(x.share) })) },
  }
  const listed = (map: ReadonlyMap<string, Any>): Any[] => [...map].sort((a, b) => cmp(a[0], b[0])).map(([, x]) => x)
  const ratioName = (x: { operator: string; worker: WorkerId | null; model: string }): string =>
    `${x.operator} ${x.worker === null ? '' : id(x.worker)} ${x.model}`
  const state = {
    version: 'veritee.scoring-state.v1',
    network: policy.network,
    epoch: e,
    validators: sides.map((s) => ({
      validator: s.key,
      operators: s.operators
        .filter((x) => some(x, x.score) || big(x.mismatches.failures) !== 0n || big(x.mismatches.allowed) !== 0n)
        .map((x) => ({ ...party(x), mismatches: x.mismatches })),
      workers: s.workers
        .filter((x) => some(x, x.part))
        .map((x) => ({ worker: x.w, quality: counterOut(x.quality), availability: counterOut(x.availability), part: decimal(x.part) })),
      controllers: s.controllers.filter((x) => some(x, x.score)).map(party),
      paths: s.paths,
      ratios: [...s.ratios.values()]
        .map((x) => ({ operator: x.operator, worker: x.worker, model: x.model, ratio: nano(x.L) }))
        .filter((x) => x.ratio !== 0n)
        .sort((a, b) => cmp(ratioName(a), ratioName(b)))
        .map((x) => ({ ...x, ratio: decimal(x.ratio) })),
    })),
    operators: listed(numbers.operators),
    platforms: listed(numbers.platforms),
    votes: newest.filter((v) => !fallen(v.operator)),
    holders: [...holders]
      .filter(([, o]) => o !== null)
      .sort((a, b) => cmp(a[0], b[0]))
      .map(([platform, operator]) => ({ platform, operator })),
    disqualified: policy.validators
      .map((v) => v.key)
      .flatMap((validator) => {
        const until = input.failed.includes(validator) ? e + 1 : before.disqualified.find((x: Any) => x.validator === validator)?.until
        return until !== undefined && until > e ? [{ validator, until }] : []
      }),
    keysets: [...keysets].sort(cmp),
  }
  return { scores, state }
}
