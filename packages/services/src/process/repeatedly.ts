import { VeriteeError } from 'veritee/errors'
import { Rounds } from '../controller/rounds.ts'

/** Why something failed, for the operator: what is expected to fail by its code and words, and of anything else nothing, since nobody has looked at what it says. */
export function reasonOf(error: unknown): string {
  return error instanceof VeriteeError ? `${error.code}: ${error.message}` : 'unexpected failure'
}

/** Does something every so often, one at a time; a round never throws. Why it failed is told once, and again after it has worked or for another reason. */
export function repeatedly(act: () => Promise<void>, everyMs: number, failing: (why: string) => void): Rounds {
  let told: string | null = null
  return new Rounds(async () => {
    try {
      await act()
      told = null
    } catch (error) {
      const why = reasonOf(error)
      if (why !== told) failing(why)
      told = why
    }
  }, everyMs)
}
