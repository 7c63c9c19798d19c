import { networkName } from '../../admission/manifest.ts'
import type { Json } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { maxEpoch, workerIdFromJson } from '../audit/parse.ts'
import { voteKey } from '../network/convictions.ts'
import { formatNano, parseNano } from '../numbers/decimal.ts'
import {
  byText,
  type Counter,
  type Mismatches,
  maxPaths,
  type OperatorState,
  type PartyState,
  type PathState,
  ratioKey,
  type ScoringState,
  type Standing,
  type ValidatorState,
  type Vote,
  type WorkerState,
  workerKey,
} from './state.ts'

export const stateVersion = 'veritee.scoring-state.v1'
export const maxStateLength: number = 1 << 28
/** Of a list: far beyond any network that is verified in a minute. */
const maxItems = 1_000_000
const shape = new Shape('scoring_state_malformed')

type Item = { readonly [name: string]: Json }

/** The document of a state (spec/scoring.md, "State"): lists in their order, nano numbers as decimals. Write it with JCS. */
export function stateToJson(network: string, state: ScoringState): Item {
  const standings = (name: string, found: ReadonlyMap<string, Standing>): Item[] =>
    sorted(found).map(([key, { convictions, until }]) => ({ [name]: key, convictions, until }))
  return {
    version: stateVersion,
    network,
    epoch: state.epoch,
    validators: sorted(state.validators).map(([validator, found]) => ({ validator, ...validatorToJson(found) })),
    operators: standings('operator', state.operators),
    platforms: standings('platform', state.platforms),
    votes: [...state.votes].sort(byText(voteKey)).map((vote) => ({ ...vote })),
    holders: sorted(state.holders).map(([platform, operator]) => ({ platform, operator })),
    disqualified: sorted(state.disqualified).map(([validator, until]) => ({ validator, until })),
    keysets: [...state.keysets].sort(),
  }
}

function validatorToJson({ operators, workers, controllers, paths, ratios }: ValidatorState): Item {
  const party = (operator: string, { quality, availability, score }: PartyState): Item => ({
    operator,
    quality: counterToJson(quality),
    availability: counterToJson(availability),
    score: formatNano(score),
  })
  return {
    operators: sorted(operators).map(([operator, found]) => ({ ...party(operator, found), mismatches: mismatchesToJson(found.mismatches) })),
    workers: sorted(workers).map(([, { id, quality, availability, part }]) => ({
      worker: id,
      quality: counterToJson(quality),
      availability: counterToJson(availability),
      part: formatNano(part),
    })),
    controllers: sorted(controllers).map(([operator, found]) => party(operator, found)),
    paths: sorted(paths).map(([path, { trials, squares, work }]) => ({
      path,
      trials: formatNano(trials),
      squares: formatNano(squares),
      work: sorted(work).map(([operator, tokens]) => ({ operator, tokens: formatNano(tokens) })),
    })),
    ratios: sorted(ratios).map(([key, ratio]) => {
      const [operator = '', platform = '', ...rest] = key.split('/')
      const [slot, model] = rest.length === 2 ? rest : [null, rest[0]]
      const worker = platform === '' ? null : { operator, platform, slot: Number(slot) }
      return { operator, worker, model: model ?? '', ratio: formatNano(ratio) }
    }),
  }
}

export function counterToJson({ successes, trials }: Counter): Item {
  return { successes: formatNano(successes), trials: formatNano(trials) }
}

export function mismatchesToJson({ failures, allowed }: Mismatches): Item {
  return { failures: formatNano(failures), allowed: formatNano(allowed) }
}

function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(byText(([key]) => key))
}

/** Reads a state: closed, bounded, lists in strict order. Throws `scoring_state_malformed`. */
export function parseState(text: string, network: string): ScoringState {
  const limits = { maxLength: maxStateLength, maxDepth: 8, integersOnly: true } as const
  const value = parseDocument(text, limits, 'scoring_state_malformed', 'the state of scores')
  const o = shape.object(value, 'state', [
    'version',
    'network',
    'epoch',
    'validators',
    'operators',
    'platforms',
    'votes',
    'holders',
    'disqualified',
    'keysets',
  ])
  shape.oneOf(o.version, 'version', [stateVersion])
  if (networkName(o.network, 'network', shape) !== network) throw shape.refuse('network', JSON.stringify(network))
  return {
    epoch: o.epoch === null ? null : shape.integer(o.epoch, 'epoch', maxEpoch),
    validators: table(o.validators, 'validators', ['validator', 'operators', 'workers', 'controllers', 'paths', 'ratios'], (item, at) => [
      shape.hex(item.validator, `${at}.validator`, 32),
      {
        operators: table(item.operators, `${at}.operators`, [...partyMembers, 'mismatches'], operatorState),
        workers: table(item.workers, `${at}.workers`, ['worker', 'quality', 'availability', 'part'], workerState),
        controllers: table(item.controllers, `${at}.controllers`, partyMembers, partyState),
        paths: table(item.paths, `${at}.paths`, ['path', 'trials', 'squares', 'work'], pathState, maxPaths),
        ratios: table(item.ratios, `${at}.ratios`, ['operator', 'worker', 'model', 'ratio'], ratio),
      },
    ]),
    operators: standings(o.operators, 'operators', 'operator'),
    platforms: standings(o.platforms, 'platforms', 'platform'),
    votes: [...table(o.votes, 'votes', ['validator', 'operator', 'platform', 'epoch'], vote).values()],
    holders: table(o.holders, 'holders', ['platform', 'operator'], (item, at) => [
      shape.hex(item.platform, `${at}.platform`, 32),
      shape.hex(item.operator, `${at}.operator`, 32),
    ]),
    disqualified: table(o.disqualified, 'disqualified', ['validator', 'until'], (item, at) => [
      shape.hex(item.validator, `${at}.validator`, 32),
      shape.integer(item.until, `${at}.until`, 2 ** 33),
    ]),
    keysets: new Set(
      table(
        shape.array(o.keysets, 'keysets', maxItems).map((keyset) => ({ keyset })),
        'keysets',
        ['keyset'],
        (item, at) => [shape.digest(item.keyset, at), true],
      ).keys(),
    ),
  }
}

/** A list whose items have rising keys, each once. */
function table<T>(
  value: unknown,
  at: string,
  members: readonly string[],
  read: (item: Record<string, unknown>, at: string) => readonly [string, T],
  most: number = maxItems,
): Map<string, T> {
  const found = new Map<string, T>()
  let last: string | null = null
  for (const [i, item] of shape.array(value, at, most).entries()) {
    const [key, entry] = read(shape.object(item, `${at}[${i}]`, members), `${at}[${i}]`)
    if (last !== null && key <= last) throw shape.refuse(`${at}[${i}]`, 'rising order, each once')
    last = key
    found.set(key, entry)
  }
  return found
}

function counter(value: unknown, at: string): Counter {
  const o = shape.object(value, at, ['successes', 'trials'])
  const successes = parseNano(o.successes, `${at}.successes`, shape)
  const trials = parseNano(o.trials, `${at}.trials`, shape)
  if (successes > trials) throw shape.refuse(at, 'at most as many successes as trials')
  return { successes, trials }
}

const partyMembers = ['operator', 'quality', 'availability', 'score']

function partyState(item: Record<string, unknown>, at: string): readonly [string, PartyState] {
  return [
    shape.hex(item.operator, `${at}.operator`, 32),
    {
      quality: counter(item.quality, `${at}.quality`),
      availability: counter(item.availability, `${at}.availability`),
      score: parseNano(item.score, `${at}.score`, shape),
    },
  ]
}

function operatorState(item: Record<string, unknown>, at: string): readonly [string, OperatorState] {
  const [operator, party] = partyState(item, at)
  const o = shape.object(item.mismatches, `${at}.mismatches`, ['failures', 'allowed'])
  const failures = parseNano(o.failures, `${at}.mismatches.failures`, shape)
  return [operator, { ...party, mismatches: { failures, allowed: parseNano(o.allowed, `${at}.mismatches.allowed`, shape) } }]
}

function pathState(item: Record<string, unknown>, at: string): readonly [string, PathState] {
  const work = table(item.work, `${at}.work`, ['operator', 'tokens'], (one, where) => [
    shape.hex(one.operator, `${where}.operator`, 32),
    parseNano(one.tokens, `${where}.tokens`, shape),
  ])
  const number = (name: 'trials' | 'squares'): bigint => parseNano(item[name], `${at}.${name}`, shape)
  return [shape.hex(item.path, `${at}.path`, 32), { trials: number('trials'), squares: number('squares'), work }]
}

function workerState(item: Record<string, unknown>, at: string): readonly [string, WorkerState] {
  const id = workerIdFromJson(item.worker, `${at}.worker`, shape)
  return [
    workerKey(id),
    {
      id,
      quality: counter(item.quality, `${at}.quality`),
      availability: counter(item.availability, `${at}.availability`),
      part: parseNano(item.part, `${at}.part`, shape),
    },
  ]
}

function ratio(item: Record<string, unknown>, at: string): readonly [string, bigint] {
  const operator = shape.hex(item.operator, `${at}.operator`, 32)
  const worker = item.worker === null ? null : workerIdFromJson(item.worker, `${at}.worker`, shape)
  if (worker !== null && worker.operator !== operator) throw shape.refuse(`${at}.worker`, 'a worker of that operator')
  return [ratioKey(operator, worker, shape.digest(item.model, `${at}.model`)), parseNano(item.ratio, `${at}.ratio`, shape, 'any')]
}

function standings(value: unknown, at: string, name: string): ReadonlyMap<string, Standing> {
  return table(value, at, [name, 'convictions', 'until'], (item, where) => [
    shape.hex(item[name], `${where}.${name}`, 32),
    { convictions: shape.integer(item.convictions, `${where}.convictions`, maxItems), until: shape.integer(item.until, `${where}.until`, 2 ** 33) },
  ])
}

function vote(item: Record<string, unknown>, at: string): readonly [string, Vote] {
  const found: Vote = {
    validator: shape.hex(item.validator, `${at}.validator`, 32),
    operator: shape.hex(item.operator, `${at}.operator`, 32),
    platform: item.platform === null ? null : shape.hex(item.platform, `${at}.platform`, 32),
    epoch: shape.integer(item.epoch, `${at}.epoch`, maxEpoch),
  }
  return [voteKey(found), found]
}
