import { createHmac } from 'node:crypto'
import { parseJson } from 'veritee/bytes'
import { type CanaryOpening, canaryCommitment } from 'veritee/scoring'
import { expectedAnswer, type ReplayModel } from '../../replay/index.ts'
import type { InTurn } from '../in-turn.ts'
import { Draws } from './draws.ts'
import { lonelyRequest, type Probe, type ProbePlan, probeBody } from './probe.ts'

/**
 * Canaries: probes whose answers this validator's own engine gave before the epoch, and which it has committed to (rule S20). They ask what other probes ask, greedily,
 * so that one engine gives one answer. A secret of their own decides what they ask, since the seed of probes is not there yet; where and when they are sent
 * follows from that seed, like all else.
 */
export interface CanaryPlan extends Pick<ProbePlan, 'maxTokens' | 'maxPrompt' | 'templates' | 'traffic' | 'glimpses'> {
  /** 32 bytes that nobody else has before they are opened. */
  readonly secret: Uint8Array
  readonly count: number
  readonly models: readonly { readonly name: string; readonly replay: ReplayModel }[]
  /** Of engines: another epoch may be replaying with them. */
  readonly turn: InTurn
  /** When there is no more time: what is made by then is what there is. */
  readonly signal: AbortSignal
}

const label = 'veritee.canary-salt.v1'

/** Opened, each is this: `prompt` is the JSON text of the messages, `parameters` what else the body of the request holds. Throws `engine_failed`. */
export async function makeCanaries(plan: CanaryPlan): Promise<readonly CanaryOpening[]> {
  const made: CanaryOpening[] = []
  for (let index = 0; index < plan.count; index++) {
    const model = plan.models[index % plan.models.length]
    if (model === undefined || plan.signal.aborted) break
    const { messages, options } = lonelyRequest({ ...plan, seed: plan.secret }, index)
    const asked = { temperature: 0, max_tokens: options.max_tokens ?? Math.min(plan.maxTokens, 256), stream: options.stream ?? false }
    const body = probeBody(model.name, 'script', { messages, options: asked, order: null, seed: null })
    const expected = await plan.turn.run(() => expectedAnswer(body, model.replay, plan.signal))
    if (expected === null) continue
    const salt = createHmac('sha256', plan.secret).update(`${label} ${index}`).digest('hex')
    made.push({ prompt: JSON.stringify(messages), parameters: { model: model.name, ...asked }, expected, salt })
  }
  return made
}

/** Puts canaries in the place of as many probes, drawn by the seed of the epoch: time and client stay those of the probe. More than there are probes are left out. */
export async function placeCanaries(seed: Uint8Array, probes: readonly Probe[], canaries: readonly CanaryOpening[]): Promise<readonly Probe[]> {
  const draws = new Draws(seed, 'veritee.canary-places.v1')
  const free = probes.map((_, i) => i)
  const placed = [...probes]
  for (const canary of canaries.slice(0, probes.length)) {
    const [at = 0] = free.splice(draws.below(free.length), 1)
    placed[at] = { ...(probes[at] as Probe), ...(await asProbe(canary)) }
  }
  return placed
}

async function asProbe(opening: CanaryOpening): Promise<Pick<Probe, 'messages' | 'options' | 'order' | 'follows' | 'canary'>> {
  const { model, ...options } = opening.parameters
  const messages = parseJson(opening.prompt, { maxLength: 1 << 20, maxDepth: 4 })
  return {
    messages: messages as unknown as Probe['messages'],
    options: options as unknown as Probe['options'],
    order: null,
    follows: null,
    canary: { commitment: await canaryCommitment(opening), expected: opening.expected, model: String(model) },
  }
}
