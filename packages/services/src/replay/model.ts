import type { EngineFacts } from 'veritee/receipt'
import { type ChatTemplate, type Engine, loadChatTemplate, openLlamaEngine } from '../enclave/worker/engine/index.ts'
import type { Calibration } from './calibration.ts'
import type { Exchange } from './claim.ts'
import { Ended, type ReplayCheck } from './report.ts'

/** A model of the verifier's own, loaded for replays. */
export interface ReplayModel {
  readonly engine: Engine
  readonly template: ChatTemplate
  readonly facts: EngineFacts
}

/** Loads a GGUF file for replays. One sequence: answers are replayed one after the other. Throws as `openLlamaEngine` and `loadChatTemplate` do. */
export async function openReplayModel(path: string, maxContext: number): Promise<ReplayModel> {
  const engine = await openLlamaEngine({ path, maxContext, sequences: 1 })
  try {
    const { name, version, build, cpuVariant } = engine.facts
    const template = loadChatTemplate(engine.model.chatTemplate, engine.vocabulary)
    return { engine, template, facts: { name, version, build, cpu_variant: cpuVariant } }
  } catch (error) {
    await engine.dispose()
    throw error
  }
}

/** Compares what the receipt says of the weights with the file at hand: hash and size of the whole file, and the template inside. Throws {@link Ended}. */
export function checkModel({ model }: Exchange, { engine, template }: ReplayModel, checks: ReplayCheck[]): void {
  const [file] = model.files
  const here = `sha256:${engine.model.sha256}`
  if (model.files.length !== 1 || file === undefined || file.sha256 !== here || file.size !== engine.model.size)
    throw new Ended(
      'weights_differ',
      'replay.weights',
      `the receipt names ${model.files.map(({ sha256 }) => sha256).join(', ')}, this file is ${here}`,
    )
  checks.push({ id: 'replay.weights', status: 'pass', detail: here })
  if (model.chat_template_digest !== template.digest)
    throw new Ended('template_differs', 'replay.template', `expected ${template.digest}, found ${model.chat_template_digest ?? 'none'}`)
  checks.push({ id: 'replay.template', status: 'pass', detail: template.digest })
}

/**
 * The level at which an answer can be judged. 1: the same build, on the same CPU variant, under the canonical profile, so that equal bits can be demanded.
 * 2: otherwise, under a calibration for these weights and these two engines. Throws {@link Ended} where neither is.
 */
export function levelOf({ inference }: Exchange, { engine, facts }: ReplayModel, calibration: Calibration | null, checks: ReplayCheck[]): 1 | 2 {
  const id = 'replay.engine'
  const { engine: claimed, profile } = inference
  const differing = difference(claimed, facts)
  // The profile follows from file and build, and both are the same: who claims another one hides from a comparison bit by bit, or boasts of one.
  // One setting is the operator's, and the receipt says so: batches of another size.
  if (differing === null && profile !== engine.facts.profile && profile !== 'fast')
    throw new Ended('profile_differs', id, `the receipt says ${profile}, these weights run as ${engine.facts.profile}`)
  if (differing === null && profile === 'canonical') {
    checks.push({ id, status: 'pass', detail: `${claimed.version}, ${claimed.cpu_variant}, ${claimed.build}` })
    return 1
  }
  if (calibration === null)
    throw differing === null
      ? new Ended('not_canonical', id, `equal bits are not to be had under the profile ${profile}; a calibration would allow level 2`)
      : new Ended('engine_differs', id, `${differing}; a calibration would allow level 2`)
  const { model, engines } = calibration
  const other = difference(engines.there, claimed) ?? difference(engines.here, facts)
  if (model.sha256 !== `sha256:${engine.model.sha256}` || other !== null)
    throw new Ended(
      'calibration_differs',
      id,
      other === null ? 'the calibration is for other weights' : `the calibration is for other engines: ${other}`,
    )
  checks.push({ id, status: 'pass', detail: `calibrated: ${claimed.cpu_variant} there, ${facts.cpu_variant} here` })
  return 2
}

function difference(there: EngineFacts, here: EngineFacts): string | null {
  const differing = (['name', 'version', 'build', 'cpu_variant'] as const).filter((member) => there[member] !== here[member])
  return differing.length === 0 ? null : differing.map((member) => `${member}: ${there[member]} there, ${here[member]} here`).join('; ')
}
