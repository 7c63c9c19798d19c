import { fail } from 'veritee/errors'
import type { WorkerConfig } from '../config/worker.ts'
import { type RunningFastchat, startFastchat } from '../enclave/worker/fastchat/index.ts'
import type { ServedModel } from '../enclave/worker/served-model.ts'
import type { Worker } from '../enclave/worker/worker.ts'
import { bindOf } from './bind.ts'
import type { Gate } from './gate.ts'

export interface FastchatParts {
  readonly config: WorkerConfig
  readonly simulated: boolean
  readonly worker: Worker
  readonly models: readonly ServedModel[]
  readonly gate: Gate
  readonly report: (line: string) => void
}

/**
 * Starts the FastChat surface of a worker process where it is configured, on a listener of its own (rule S22); null where it is not.
 * Throws `config_invalid` where one of port and controller is missing, and what `startFastchat` throws.
 */
export async function fastchatOf({ config, simulated, worker, models, gate, report }: FastchatParts): Promise<RunningFastchat | null> {
  const { port, host, controller, advertise, open, behind_tls } = config.fastchat
  if (port === null && controller === null) return null
  if (port === null || controller === null)
    throw fail('config_invalid', 'fastchat: expected --fastchat-port and --fastchat-controller together, found one of them')
  if (models.length === 0)
    throw fail('config_invalid', 'fastchat: expected a model of the worker itself; those of external engines are not served over it')
  const said = { open, behind_tls, knows_simulated: config.listen.knows_simulated }
  const running = await startFastchat({
    worker: () => worker,
    models,
    bind: bindOf(host, port, null, simulated, said),
    advertise,
    controllerUrl: controller,
    wrap: (listener, isWork) => gate.wrap(listener, isWork),
    draining: () => gate.draining,
    report,
  })
  for (const line of running.startLines) report(line)
  return running
}

/** What readiness repeats of it. */
export function fastchatNotices({ fastchat }: WorkerConfig): string[] {
  return fastchat.port === null ? [] : ['fastchat: answers over it are not verified, and anybody who learns its address may use it']
}
