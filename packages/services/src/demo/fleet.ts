import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { generateEd25519, type SigningKey } from 'veritee/crypto'
import type { AdmissionRules } from '../enclave/runtime/admission/rules.ts'
import type { LogLink } from '../enclave/runtime/receipts/log-link.ts'
import { loadChatTemplate, openLlamaEngine } from '../enclave/worker/engine/index.ts'
import { type ServedModel, serveModel } from '../enclave/worker/served-model.ts'
import { openReplayModel, type ReplayModel } from '../replay/index.ts'
import { admit, type LoadedModel, type RunningController, type RunningWorker, type SimulatedMachine, startWorker } from './system.ts'

/** The workers of several operators behind the demo's controller, one of whom cheats; and the engine with which the validator runs answers again. */

export interface FleetWorker {
  /** For the transcript. */
  readonly name: string
  readonly operator: SigningKey
  readonly running: RunningWorker
  readonly cheats: boolean
}

/** Above this, nothing is loaded a second time for the show. */
const smallModel = 64 << 20

export interface FleetSetting {
  readonly machine: SimulatedMachine
  readonly rules: () => Promise<AdmissionRules>
  readonly controller: RunningController
  readonly model: LoadedModel
  /** The plain file. */
  readonly path: string
  /** A file system in memory, where the served weights were sealed. */
  readonly memoryDirectory: string
  readonly log: LogLink
  readonly now: () => Date
  /** What is to be closed again, the last first. */
  readonly closing: (() => Promise<unknown>)[]
}

/** An honest worker of another operator, with the weights that are loaded already, and one whose engine runs other weights under the announced name. */
export async function startFleet(setting: FleetSetting): Promise<readonly FleetWorker[]> {
  const { model } = setting
  const honest = await startOne(setting, 'honest', model.served)
  const cheat = await startOne(setting, 'cheat', await cheatingModel(setting))
  return [
    { ...honest, cheats: false },
    { ...cheat, cheats: true },
  ]
}

async function startOne(
  { machine, rules, controller, log, now, closing }: FleetSetting,
  name: string,
  served: ServedModel,
): Promise<Omit<FleetWorker, 'cheats'>> {
  const operator = await generateEd25519()
  const running = await startWorker(machine, [served], 0, now, await rules(), { operator, log })
  closing.push(() => running.server.close())
  await admit(controller, running)
  return { name, operator, running }
}

/**
 * What the cheat announces is the model that the policy lists: that is in its descriptor, which its quote binds. What it runs has other weights, and its receipts
 * say so. No enclave of this program does that; this one stands for one that was broken.
 */
export async function cheatingModel({
  model: { served },
  path,
  memoryDirectory,
  closing,
}: Pick<FleetSetting, 'model' | 'path' | 'memoryDirectory' | 'closing'>): Promise<ServedModel> {
  const { size } = await stat(path)
  if (size > smallModel) {
    const files = served.event.files.map((file) => ({ ...file, sha256: `sha256:${'0'.repeat(64)}` }))
    return { ...served, event: { ...served.event, files } }
  }
  // Like weights that were decrypted: in memory, and under no name once they are loaded (rule S12).
  const folder = await mkdtemp(join(memoryDirectory, 'veritee-other-'))
  const other = join(folder, basename(path))
  const engine = await writeFile(other, changed(await readFile(path)))
    .then(() => openLlamaEngine({ path: other }))
    .finally(() => rm(folder, { recursive: true, force: true }))
  closing.push(() => engine.dispose())
  const run = serveModel(
    served.name,
    served.described.files[0]?.name ?? basename(path),
    engine,
    loadChatTemplate(engine.model.chatTemplate, engine.vocabulary),
  )
  return { ...served, engine: run.engine, template: run.template, event: { ...run.event, sealed: served.event.sealed } }
}

/** Other weights of the same shape: the lowest bits of a stretch in the middle of the file, where there are only tensors. */
function changed(file: Buffer): Buffer {
  const copy = Buffer.from(file)
  for (let at = Math.floor(copy.length * 0.5); at < copy.length * 0.7; at++) copy[at] = (copy[at] ?? 0) ^ 3
  return copy
}

/** An engine of the validator's own, where the model is small; else the worker's is asked a second time. */
export async function replayModelOf({ model, path, closing }: Pick<FleetSetting, 'model' | 'path' | 'closing'>): Promise<ReplayModel> {
  const { size } = await stat(path)
  if (size > smallModel) {
    const { engine, template, describedEngine } = model.served
    return { engine, template, facts: describedEngine }
  }
  const own = await openReplayModel(path, 2048)
  closing.push(() => own.engine.dispose())
  return own
}
