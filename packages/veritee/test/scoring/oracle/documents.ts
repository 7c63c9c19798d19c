// Scores and state as documents.
import type { EpochInput, WorkerId } from '../../../src/scoring/index.ts'
import type { convict } from './convictions.ts'
import { type Any, big, type Counter, cmp, counterOut, type Facts, id, type Party } from './facts.ts'
import type { networkOf } from './network.ts'
import { decimal, nano } from './numbers.ts'
import type { Sides } from './sides.ts'

export function documentsOf(
  { policy, e, holders, before }: Facts,
  input: Pick<EpochInput, 'failed'>,
  sides: Sides,
  { convictions, numbers, newest, keysets, fallen }: ReturnType<typeof convict>,
  network: ReturnType<typeof networkOf>,
): { scores: Any; state: Any } {
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
