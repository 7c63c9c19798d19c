import { controllerSchema } from '../../src/config/controller.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import type { LegacyAttest } from '../../src/http/legacy-attest.ts'
import { Gate } from '../../src/process/gate.ts'
import { unattestedWorkersOf } from '../../src/process/unattested-workers.ts'

export interface RunningController {
  readonly url: string
  readonly lines: readonly string[]
  close(): Promise<void>
}

/** The FastChat surface of a controller on a port of its own, configured by flags as an operator would. */
export async function unattestedController(
  flags: readonly string[],
  now: () => Date = () => new Date(),
  attest: LegacyAttest | null = null,
): Promise<RunningController> {
  const { configuration } = await readConfiguration(controllerSchema, {
    args: ['--tee', 'simulate', '--state', '/nowhere', '--fastchat-port', '0', ...flags],
    environment: {},
    readText: () => Promise.reject(new Error('nothing is read')),
  })
  if (configuration === null) throw new TypeError('no configuration')
  const lines: string[] = []
  const listening = await unattestedWorkersOf({
    config: configuration.values,
    simulated: true,
    gate: new Gate(),
    now,
    attest,
    report: (line) => lines.push(line),
  })
  if (listening === null) throw new TypeError('no FastChat surface')
  return { url: listening.url, lines, close: () => listening.close() }
}
