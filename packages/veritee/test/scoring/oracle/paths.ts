// Paths of one validator: what each shows of each operator, and which are believed of whom.
import type { AuditRecord } from '../../../src/scoring/index.ts'
import { type Any, big, cmp, type Facts, own, unique, via } from './facts.ts'
import { decimal, div, E18, fine, half, most, mul, nano, quo, total } from './numbers.ts'

export function listen({ policy, roster, close, carry, passed }: Facts, mine: readonly AuditRecord[], was: Any) {
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
