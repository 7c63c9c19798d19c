import { fromHex, type Json, jcs } from 'veritee/bytes'
import {
  type CallReader,
  type ChoiceResult,
  type Completion,
  type Engine,
  type Guide,
  RequestError,
  type Vocabulary,
} from '../enclave/worker/engine/index.ts'
import { toldParameters } from '../enclave/worker/served-model.ts'
import { usualText } from './calls.ts'
import type { Claim, ClaimedChoice } from './claim.ts'
import { expectText, followTokens } from './guides.ts'
import { marginOf } from './margin.ts'
import type { ReplayModel } from './model.ts'
import { Ended, type ReplayCheck } from './report.ts'
import { textDifference } from './text-difference.ts'
import { findTokens, isTokensOf, tokenDifference } from './tokens.ts'

/** One answer run again. */
export interface Rerun {
  readonly claimed: ClaimedChoice
  readonly result: ChoiceResult
  /** The very tokens of the answer, where they could be known; then these were followed whatever was chosen. */
  readonly known: readonly number[] | null
  /** For each known token: how far it is from the one chosen here; see margin.ts. */
  readonly margins: readonly number[]
  /** Of the first difference; without known tokens, where logprobs or text first differ, null where calls keep that open. */
  readonly position: number | null
  /** Takes calls of tools out of a text; null where none were offered. */
  newReader(): CallReader | null
}

/** Checks prompt and parameters, then runs every answer again. Throws {@link Ended}, `engine_failed`, `context_overflow`. */
export async function rerun(claim: Claim, { engine, template }: ReplayModel, checks: ReplayCheck[]): Promise<Rerun[]> {
  const { asked, choices, receiptKey } = claim
  const { request } = asked
  const most = engine.model.trainContextSize
  if (choices.some(({ tokens }) => tokens > most))
    throw new Ended('outcome_differs', 'replay.tokens', `expected at most ${most} tokens, what this model can hold`)
  const format = asked.offersTools ? template.toolFormat : undefined
  let isHeld = true
  const started = choices.map((claimed) => {
    const text = usualText(claimed.answer, format)
    const known = findTokens(claimed, text, request.stop, receiptKey, engine.vocabulary)
    const margins: number[] = []
    const guide =
      known === null
        ? expectText(text, engine.vocabulary)
        : followTokens(
            known,
            () => isHeld,
            (choice, token) => margins.push(marginOf(choice, token, request.sampling)),
          )
    return { claimed, known, margins, guide }
  })
  const completion = start(claim, engineLike(engine, claim), template, (choice) => started[choice]?.guide ?? { expect: () => [] })
  isHeld = completion.parameters.constraint !== undefined
  const { tools } = completion
  const bytesOf = (token: number): Uint8Array => tools?.written.get(token) ?? engine.vocabulary.bytes(token)
  try {
    checkPrompt(claim, completion, checks)
    checkParameters(claim, completion, checks)
  } catch (error) {
    await completion[Symbol.asyncIterator]().return?.()
    throw error
  }
  for await (const _ of completion);
  const { choices: results, error } = await completion.result
  if (error !== undefined) throw error
  return started.flatMap(({ claimed, known, margins }, i) =>
    results.slice(i, i + 1).map((result) => {
      const differs = margins.findIndex((margin) => margin > 0)
      const position = known !== null ? differs : toldDifference(claimed, result, { vocabulary: engine.vocabulary, bytesOf, stop: request.stop })
      const newReader = (): CallReader | null => tools?.newReader() ?? null
      return { claimed, result, known, margins, position: position === -1 ? null : position, newReader }
    }),
  )
}

interface Reading {
  readonly vocabulary: Vocabulary
  /** Control tokens that count as text included. */
  readonly bytesOf: Vocabulary['bytes']
  readonly stop: readonly string[]
}

/** Without known tokens: where those of the logprobs differ, else where the text does, unless calls of tools keep open what it was. */
function toldDifference(
  { answer, outcome }: ClaimedChoice,
  { completionTokens }: ChoiceResult,
  { vocabulary, bytesOf, stop }: Reading,
): number | null {
  const named = tokenDifference(completionTokens, answer.tokens ?? [], vocabulary)
  if (named !== null || answer.calls.length > 0) return named
  return textDifference(completionTokens, bytesOf, answer.text, { stop, isBeginning: outcome === 'aborted' })
}

function start(claim: Claim, engine: Engine, template: ReplayModel['template'], guide: (choice: number) => Guide): Completion {
  const seed = fromHex(claim.inference.seed ?? '')
  // A seed of another length is not one that an enclave draws; the comparison of parameters then finds it.
  const random = (length: number): Uint8Array => (seed.length === length ? seed : new Uint8Array(length))
  try {
    return claim.asked.start({ engine, template, guide, random })
  } catch (error) {
    if (error instanceof RequestError) throw new Ended('prompt_differs', 'replay.prompt', 'the model of this receipt cannot take this request')
    throw error
  }
}

/** The engine as the worker had it: its context, which decides `max_tokens` where a request does not, and no more tokens than the receipt counts. */
function engineLike(engine: Engine, { inference, asked: { request }, choices }: Claim): Engine {
  const most = request.maxTokens ?? inference.parameters.max_tokens
  const contextSize = inference.prompt_tokens + (typeof most === 'number' ? most : 0)
  return {
    facts: { ...engine.facts, contextSize: Math.min(contextSize, engine.model.trainContextSize) },
    model: engine.model,
    vocabulary: engine.vocabulary,
    ready: engine.ready,
    load: engine.load,
    embed: (tokens, signal) => engine.embed(tokens, signal),
    generate: (generation) => {
      const counted = choices[generation.choice ?? 0]?.tokens ?? 1
      return engine.generate({ ...generation, maxTokens: Math.min(generation.maxTokens, counted) })
    },
    dispose: () => engine.dispose(),
  }
}

function checkPrompt({ inference, receiptKey }: Claim, { promptTokens }: Completion, checks: ReplayCheck[]): void {
  const id = 'replay.prompt'
  if (promptTokens.length !== inference.prompt_tokens)
    throw new Ended('prompt_differs', id, `expected ${promptTokens.length} tokens, found ${inference.prompt_tokens}`)
  if (receiptKey === null) checks.push({ id, status: 'waived', detail: `${promptTokens.length} tokens; which ones takes the receipt key` })
  else if (isTokensOf(receiptKey, promptTokens, inference.prompt_tokens_hmac))
    checks.push({ id, status: 'pass', detail: `${promptTokens.length} tokens` })
  else throw new Ended('prompt_differs', id, 'the digest in the receipt is over other prompt tokens, or under another key')
}

/** Every name that this version writes. */
const knownNames: ReadonlySet<string> = new Set([
  'temperature',
  'top_p',
  'min_p',
  'top_k',
  'max_tokens',
  'stop',
  'seed_source',
  'n',
  'frequency_penalty',
  'presence_penalty',
  'repetition_penalty',
  'logit_bias',
  'constraint',
  'constraint_hmac',
  'tools',
  'tool_choice',
  'tool_format',
  'parallel_tool_calls',
])

/** Every parameter after defaults, the seed, and what was ignored. A name that this version does not know leaves open what it would have done. */
function checkParameters({ inference, asked: { request }, receiptKey }: Claim, { parameters }: Completion, checks: ReplayCheck[]): void {
  const id = 'replay.parameters'
  const unknown = Object.keys(inference.parameters).filter((name) => !knownNames.has(name))
  if (unknown.length > 0) throw new Ended('parameters_unknown', id, `not known here: ${unknown.map((name) => name.slice(0, 40)).join(', ')}`)
  const claimed: Record<string, unknown> = { ...inference.parameters, seed: inference.seed, ignored: inference.ignored_parameters }
  const here: Record<string, unknown> = {
    ...toldParameters(parameters, receiptKey ?? new Uint8Array(32)),
    seed: parameters.seed,
    ignored: request.ignored,
  }
  // Under no key there is no digest to compare.
  if (receiptKey === null) for (const told of [claimed, here]) if ('constraint_hmac' in told) told.constraint_hmac = null
  const names = [...new Set([...Object.keys(here), ...Object.keys(claimed)])]
  const differing = names.filter((name) => textOf(claimed[name]) !== textOf(here[name]))
  if (differing.length > 0) throw new Ended('parameters_differ', id, `not what the request asks for: ${differing.join(', ')}`)
  checks.push({ id, status: 'pass', detail: names.join(', ') })
}

function textOf(value: unknown): string | undefined {
  return value === undefined ? undefined : jcs(value as Json)
}
