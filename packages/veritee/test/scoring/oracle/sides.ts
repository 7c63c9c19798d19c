// One validator after the other: workers, operators, controllers, sequential tests.
import type { AuditRecord, WorkerId } from '../../../src/scoring/index.ts'
import { type Any, big, classOf, cmp, counter, type Facts, id, own, unique, via, zero } from './facts.ts'
import { measure } from './measure.ts'
import { div, E18, fine, ln, mul, nano, pow, quo, shares, total } from './numbers.ts'
import { listen } from './paths.ts'

export type Sides = ReturnType<typeof sidesOf>

export function sidesOf(facts: Facts) {
  const {
    policy,
    e,
    roster,
    records,
    stateOf,
    ownerOf,
    weightOf,
    isBanned,
    isExcluded,
    model,
    passed,
    toWorker,
    chargeOf,
    age,
    bound,
    sure,
    follow,
  } = facts
  return policy.validators.map(({ key }) => {
    const was = stateOf(key)
    const mine = records.filter((r) => r.validator === key)
    const { heard, agreement, state: paths } = listen(facts, mine, was)
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
        facts,
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
        facts,
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
}
