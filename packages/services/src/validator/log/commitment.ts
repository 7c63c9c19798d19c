import { fail } from 'veritee/errors'
import { commitmentEntry } from 'veritee/scoring'
import type { LogAccess } from './access.ts'
import { type Clock, patiently } from './patience.ts'

/**
 * Has a commitment logged, and gives the proof that it was there before a time (Unix seconds; rule S16), once there is one: a tlog-proof under a checkpoint that existed before then.
 * Done again after a crash, nothing stands in the log twice. Throws `epoch_late`.
 */
export async function logCommitment(log: LogAccess, of: Parameters<typeof commitmentEntry>[0], before: number, clock: Clock): Promise<string> {
  const entry = await commitmentEntry(of)
  const late = (cause?: unknown): ReturnType<typeof fail> =>
    fail(
      'epoch_late',
      `the commitment to the ${of.purpose} of epoch ${of.epoch} is in no witnessed checkpoint of ${log.trust.origin} from before ${before}`,
      cause,
    )
  let submitted = false
  return patiently(
    before,
    clock,
    async () => {
      if (!submitted) await log.submit(entry)
      submitted = true
      const found = await log.find(entry)
      if (found === null) return null
      if (found.checkpoint.existedBy >= before) throw late()
      return found.proof
    },
    late,
  )
}
