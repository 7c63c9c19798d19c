// Shares and weights over all validators.
import { cmp, type Facts, id, unique } from './facts.ts'
import { decimal, div, E18, least, most, mul, nano, quo, shares, total } from './numbers.ts'
import type { Sides } from './sides.ts'

export function networkOf({ policy, ownerOf }: Facts, sides: Sides) {
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
  return network
}
