import type { AuditView } from 'veritee/log'
import { followUps, systems } from './corpus.ts'
import type { Draws } from './draws.ts'
import { programs } from './programs.ts'
import type { Asked, Habit, Traffic } from './traffic.ts'

/** Of a receipt of others, what its audit view tells of how somebody asks: how it was sampled, and the bucket of the prompt's tokens. */
export interface Glimpse {
  readonly parameters: Readonly<Record<string, string>>
  readonly prompt: number
}

/** Keysets whose views must show the same parameters. */
const leastKeysets = 3
const sampled = ['temperature', 'top_p', 'frequency_penalty', 'presence_penalty'] as const

/**
 * What views of workers tell; those that name no prompt tell nothing. A worker that puts parameters of its own into views would know probes by them, so numbers are
 * rounded (to tenths, probabilities to twentieths), and only what several keysets show counts.
 */
export function glimpsesOf(views: Iterable<AuditView>): readonly Glimpse[] {
  const found: { readonly key: string; readonly glimpse: Glimpse }[] = []
  const shownBy = new Map<string, Set<string>>()
  for (const { parameters, tokens, upstream, engine, workload_keyset_digest: keyset } of views) {
    if (upstream !== null || engine === null || tokens.prompt === null) continue
    const glimpse = { parameters: roughly(parameters), prompt: tokens.prompt }
    const key = keyOf(glimpse.parameters)
    shownBy.set(key, (shownBy.get(key) ?? new Set()).add(keyset))
    found.push({ key, glimpse })
  }
  return found.flatMap(({ key, glimpse }) => ((shownBy.get(key)?.size ?? 0) < leastKeysets ? [] : [glimpse]))
}

function roughly(parameters: AuditView['parameters']): Glimpse['parameters'] {
  const numbers = sampled.flatMap((name) => {
    const steps = name === 'top_p' ? 20 : 10
    const value = Math.round(Number(parameters[name]) * steps) / steps
    return typeof parameters[name] === 'string' && Number.isFinite(value) ? [[name, String(value)] as const] : []
  })
  const { constraint } = parameters
  // Whose the seed is tells nothing: the library gives one to whoever names none.
  return {
    ...Object.fromEntries(numbers),
    ...(constraint === 'json_object' ? { constraint } : {}),
  }
}

/** So many glimpses weigh as much as what is believed beforehand. */
const priorWeight = 32
const habits = 96

/**
 * Habits where nothing was recorded. What a log shows of others is drawn from its views: sampling parameters, whether a seed is given or a form demanded, about how long
 * prompts are. What no view shows stays at what is believed beforehand, and so does a part of the rest, the smaller the more views there are: how many requests a sitting
 * has (2.5 on average, the turns of a conversation in WildChat), the pauses in it, limits, streams, programs, system messages, and lengths where there is no view.
 */
export function usualTraffic(draws: Draws, glimpses: readonly Glimpse[]): Traffic {
  return { habits: Array.from({ length: habits }, () => habitOf(draws, glimpses)), phrases: null, digest: null }
}

function habitOf(draws: Draws, glimpses: readonly Glimpse[]): Habit {
  const glimpse = draws.below(glimpses.length + priorWeight) < glimpses.length ? draws.of(glimpses) : null
  const alike = glimpse === null ? [] : glimpses.filter(({ parameters }) => keyOf(parameters) === keyOf(glimpse.parameters))
  const system = draws.below(10) < 4 ? draws.of(systems) : null
  const before = system === null ? [] : [{ role: 'system' as const, content: system }]
  const sampling = glimpse === null ? believedSampling(draws) : samplingOf(glimpse.parameters)
  const limit = draws.below(2) === 0 ? null : draws.of(usualLimits)
  const options = { ...sampling, ...(limit === null ? {} : { max_tokens: limit }), stream: draws.below(2) === 0 }
  const talks = draws.below(3) === 0
  const sitting = (): readonly Asked[] => {
    const turns = turnsOf(draws)
    return Array.from({ length: turns }, (_, i): Asked => {
      const goesOn = talks && i > 0
      return {
        after: i === 0 ? 0 : pauseOf(draws),
        options,
        order: null,
        before,
        kept: goesOn ? 2 * i : 0,
        said: goesOn ? draws.of(followUps) : lengthOf(alike, (system ?? '').length, draws),
      }
    })
  }
  // Some ask far more often than others.
  const sittings = Math.max(1, Math.round(3 * Math.exp(draws.normal())))
  return { program: draws.of(programs), sittings: Array.from({ length: sittings }, sitting), cut: null }
}

const keyOf = (parameters: Glimpse['parameters']): string => JSON.stringify(Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)))

/** What people write there. */
const usualLimits = [10, 16, 50, 100, 128, 150, 200, 256, 256, 300, 400, 500, 512, 512, 800, 1000, 1000, 1024]

function believedSampling(draws: Draws): Readonly<Record<string, unknown>> {
  const temperature = draws.of([null, null, 0, 0, 0.2, 0.7, 1])
  const topP = temperature !== null && temperature > 0 && draws.below(4) === 0 ? 0.95 : null
  return { ...(temperature === null ? {} : { temperature }), ...(topP === null ? {} : { top_p: topP }) }
}

/** What a body says where nobody says anything: so a view cannot tell whether it did. */
const defaults: Readonly<Record<string, string>> = {
  temperature: '1',
  top_p: '1',
  frequency_penalty: '0',
  presence_penalty: '0',
}

function samplingOf(parameters: Glimpse['parameters']): Readonly<Record<string, unknown>> {
  const given = Object.entries(defaults).flatMap(([name, usual]) => {
    const value = parameters[name]
    return value !== undefined && value !== usual ? [[name, Number(value)] as const] : []
  })
  return {
    ...Object.fromEntries(given),
    ...(parameters.constraint === 'json_object' ? { response_format: { type: 'json_object' } } : {}),
  }
}

/** Geometric, 2.5 on average. */
function turnsOf(draws: Draws): number {
  return 1 + Math.floor(Math.log(draws.unit()) / Math.log(0.6))
}

/** Seconds: half of them below 40, now and then some minutes. */
function pauseOf(draws: Draws): number {
  return 4 + 36 * Math.exp(draws.normal())
}

const charactersPerToken = 4
/** A chat template adds some. */
const templateTokens = 8

/** Characters of a first message. A bucket ends with its power of two; each length in it is as likely on the scale of its logarithm. */
function lengthOf(alike: readonly Glimpse[], system: number, draws: Draws): number {
  const tokens = alike.length === 0 ? 30 * Math.exp(1.2 * draws.normal()) : draws.of(alike).prompt / 2 ** draws.unit() - templateTokens
  return Math.max(20, Math.round(tokens * charactersPerToken) - system)
}
