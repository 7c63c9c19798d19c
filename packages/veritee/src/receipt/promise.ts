import type { Check } from '../attestation/claims.ts'
import { fail } from '../errors.ts'
import type { EvidencePolicy } from '../policy/policy.ts'
import { passed } from '../policy/verdict.ts'
import { eventOf, type Receipt } from './receipt.ts'

/**
 * Where a section of a policy names a log, a receipt of that role must promise to be in it (rule S21). What passed is added to `checks`; where the section says "any", or there is
 * none, nothing is demanded and nothing added: the verdict over the report lists the waiver.
 *
 * The receipt must have been verified. It does not say that the receipt is in the log, nor by when a promise may be due: see `included` of `veritee/client`.
 * Throws `log_promise_missing`, also for the promise of another log.
 */
export function checkPromise(receipt: Receipt, section: Pick<EvidencePolicy, 'log'> | undefined, of: 'service' | 'worker', checks: Check[]): void {
  if (section === undefined || section.log === 'any') return
  const { origin } = section.log
  const promise = eventOf(receipt, 'veritee.log')
  if (promise?.origin !== origin)
    throw fail(
      'log_promise_missing',
      `expected the receipt of the ${of} to promise the log ${JSON.stringify(origin)}, found ${promise === undefined ? 'no promise' : JSON.stringify(promise.origin.slice(0, 120))}`,
    )
  checks.push(passed(of === 'worker' ? 'worker.log' : 'log', `${origin}, promised by ${promise.promised_by} (Unix seconds)`))
}
