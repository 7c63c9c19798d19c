import { fail } from 'veritee/errors'
import type { WorkerConfig } from '../config/worker.ts'
import type { FlooredClock } from '../enclave/runtime/admission/clock.ts'
import type { AdmissionRules } from '../enclave/runtime/admission/rules.ts'
import { VerifiedControllers } from '../enclave/worker/controllers.ts'
import type { Files } from './files.ts'
import type { Anchors } from './program.ts'
import { readRoots } from './roots.ts'
import { type OpenedRules, openRules, refuseUnmeasuredRules } from './rules.ts'

export interface Callers {
  readonly callers: VerifiedControllers | 'anybody'
  readonly followed: OpenedRules['followed']
  /** What is demanded of controllers; null where it is nothing. */
  readonly rules: AdmissionRules | null
}

/**
 * Whom a worker answers: controllers that it verifies under a manifest or a policy, or whoever asks where it is called a direct service (rule S13). Nothing is assumed
 * where nothing is said. Throws `config_invalid`, `anchors_not_measured` and what opening the rules throws.
 */
export async function openCallers(
  { admission }: Pick<WorkerConfig, 'admission'>,
  {
    anchors,
    simulated,
    files,
    clock,
  }: { readonly anchors: Anchors | null; readonly simulated: boolean; readonly files: Files; readonly clock: FlooredClock },
): Promise<Callers> {
  if (!simulated) refuseUnmeasuredRules(admission)
  const { direct, policy, manifest } = admission
  if (direct) {
    if (policy !== null || manifest !== null)
      throw fail('config_invalid', 'admission: a direct service verifies no controllers; say --direct or whom it serves, not both')
    return { callers: 'anybody', followed: null, rules: null }
  }
  if (simulated && policy === null && manifest === null)
    throw fail(
      'config_invalid',
      'admission: expected --manifest or --controller-policy, which say whose requests are answered; or --direct, to answer whoever asks',
    )
  const roots = async (): Promise<Uint8Array[]> => (await Promise.all(admission.roots.map((path) => readRoots(path, files)))).flat()
  const { rules, followed } = await openRules({ config: admission, anchors, roots, role: 'controller', late: true, files, clock })
  return { callers: new VerifiedControllers(rules, clock.now), followed, rules }
}

/** What readiness repeats (rule S22). */
export function callerNotices(callers: Callers['callers']): string[] {
  return callers === 'anybody' ? ['direct: answers whoever asks, not verified controllers only'] : []
}
