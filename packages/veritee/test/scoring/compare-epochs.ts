// Both implementations on the same random epochs; used by a test and by the soak.
import { type Json, jcs } from '../../src/bytes/index.ts'
import { emptyState, parseState, scoreEpoch, scoresToJson, stateToJson } from '../../src/scoring/index.ts'
import { oracle } from './oracle/oracle.ts'
import { randomEpochs } from './random-epoch.ts'

const chain = 5
const rules = [
  'capped',
  'unscored',
  'platform_banned',
  'platform_excluded',
  'paused',
  'inconclusive',
  'proof',
  'level1',
  'level2',
  'controllers',
  'left_out',
  'allowance',
]

export interface Compared {
  readonly epochs: number
  /** The first that differs. */
  readonly difference: { readonly seed: number; readonly epoch: number; readonly ours: string; readonly theirs: string } | null
  /** How often what scoring can do was done. */
  readonly seen: { readonly [what: string]: number }
}

/** Scores chains of five random epochs from the seed `from` on, each state handed on as its document. */
export async function compareEpochs(
  { from, epochs }: { readonly from: number; readonly epochs: number },
  progress: (done: number) => void = () => undefined,
): Promise<Compared> {
  const seen: { [what: string]: number } = Object.fromEntries(rules.map((rule) => [rule, 0]))
  const note = (what: string): void => {
    seen[what] = (seen[what] ?? 0) + 1
  }
  let done = 0
  for (let seed = from; done < epochs; seed++) {
    let state = jcs(stateToJson('test', emptyState) as Json)
    for (const input of await randomEpochs(seed, Math.min(chain, epochs - done))) {
      const ours = scoreEpoch({ ...input, before: parseState(state, 'test') })
      const after = stateToJson('test', ours.after)
      const found = jcs({ scores: scoresToJson(input.epoch, ours), state: after } as Json)
      const expected = jcs(oracle(input, JSON.parse(state)) as Json)
      if (found !== expected) return { epochs: done, difference: { seed, epoch: input.epoch, ...around(found, expected) }, seen }
      for (const { operators, workers } of ours.validators) {
        if (operators.some(({ unscored }) => unscored)) note('unscored')
        if (operators.some(({ leftOut, work }) => leftOut.length > 0 && work > 0n)) note('left_out')
        if (operators.some(({ allowance }) => allowance < 10n ** 18n)) note('allowance')
        for (const { notCounted } of workers) if (notCounted !== null) note(notCounted)
      }
      for (const { grounds } of ours.convictions) for (const { kind } of grounds) note(kind)
      if (ours.network.unassigned.share > 1000n) note('capped')
      if (ours.network.controllers.length > 0) note('controllers')
      state = jcs(after as Json)
      done++
      progress(done)
    }
  }
  return { epochs: done, difference: null, seen }
}

/** Both texts from a little before they differ. */
function around(ours: string, theirs: string): { readonly ours: string; readonly theirs: string } {
  let at = 0
  while (at < ours.length && ours[at] === theirs[at]) at++
  return { ours: ours.slice(Math.max(0, at - 300), at + 200), theirs: theirs.slice(Math.max(0, at - 300), at + 200) }
}
