import { controllerSchema } from '../../src/config/controller.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { startControllerProcess } from '../../src/process/controller.ts'
import { nodeFiles } from '../../src/process/files.ts'
import type { Report } from '../../src/process/logs/log.ts'
import type { Program } from '../../src/process/program.ts'
import type { Renewing } from '../../src/process/run.ts'
import { startWorkerProcess } from '../../src/process/worker.ts'
import { demoPath } from '../engine/demo.ts'

/** Services as their commands start them, in this process; every model is the demo model. */
export interface Started {
  readonly anchors?: string
  readonly openEngine?: Program['openEngine']
  readonly now?: () => Date
  readonly report?: Report
}

const program: Program = {
  codeDigest: async () => '00'.repeat(32),
  findModel: async () => ({ path: demoPath, name: 'veritee-demo', source: 'file', sha256: null }),
  openEngine: openLlamaEngine,
  anchors: null,
}

export async function startWorker(
  args: readonly string[],
  { anchors, openEngine = openLlamaEngine, report = () => undefined, now = () => new Date() }: Started = {},
): Promise<Renewing> {
  // Tests that say nothing of controllers ask the worker themselves.
  const said = ['--direct', '--manifest', '--controller-policy'].some((flag) => args.includes(flag))
  const { configuration } = await readConfiguration(workerSchema, {
    args: said ? args : [...args, '--direct'],
    environment: {},
    readText: nodeFiles.readText,
  })
  if (configuration === null) throw new TypeError('no configuration')
  return startWorkerProcess({
    configuration,
    program: { ...program, openEngine, anchors: anchors ?? null },
    files: nodeFiles,
    report,
    now,
  })
}

export async function startController(
  args: readonly string[],
  { anchors, openEngine = openLlamaEngine, report = () => undefined, now = () => new Date() }: Started = {},
): Promise<Renewing> {
  const sources = { args, environment: {}, readText: nodeFiles.readText }
  const { configuration } = await readConfiguration(controllerSchema, sources)
  if (configuration === null) throw new TypeError('no configuration')
  return startControllerProcess({
    configuration,
    program: { ...program, openEngine, anchors: anchors ?? null },
    files: nodeFiles,
    report,
    now,
    reread: async () => (await readConfiguration(controllerSchema, sources)).configuration,
  })
}
