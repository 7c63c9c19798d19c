import type { Json } from '../bytes/jcs.ts'
import { formatNano } from './numbers/decimal.ts'
import { nano } from './numbers/fixed.ts'
import type { OperatorScore, ValidatorScores, WorkerScore } from './rules/validator.ts'
import type { EpochScores } from './score.ts'
import { counterToJson, mismatchesToJson } from './state/json.ts'

export const scoresVersion = 'veritee.scores.v1'

type Item = { readonly [name: string]: Json }

/** Every number of an epoch on the way from records to weights, as it is published (spec/epoch.md, "Scores"). Factors are rounded to nine digits. */
export function scoresToJson(epoch: number, { validators, convictions, network }: EpochScores): Item {
  return {
    version: scoresVersion,
    epoch,
    validators: validators.map((one) => ({ validator: one.validator, weight: Number(one.weight), ...validatorToJson(one) })),
    convictions: convictions.map(({ operator, platforms, grounds, until }) => ({
      operator,
      platforms,
      grounds: grounds.map((one) => ({ ...one })),
      until,
    })),
    network: {
      operators: network.operators.map(({ operator, share }) => ({ operator, share: formatNano(share) })),
      workers: network.workers.map(({ id, share, weight }) => ({ worker: id, share: formatNano(share), weight })),
      unassigned: { share: formatNano(network.unassigned.share), weight: network.unassigned.weight },
      controllers: network.controllers.map(({ operator, score }) => ({ operator, score: formatNano(score) })),
    },
  }
}

function validatorToJson({ operators, workers, controllers, votes }: ValidatorScores): Item {
  return {
    operators: operators.map((one) => ({
      operator: one.operator,
      ...measured(one),
      mismatches: mismatchesToJson(one.mismatches),
      allowance: formatNano(nano(one.allowance)),
      left_out: one.leftOut,
      unscored: one.unscored,
      raw: formatNano(one.raw),
      before: formatNano(one.before),
      score: formatNano(one.score),
      entry: formatNano(one.entry),
    })),
    workers: workers.map((one) => ({
      worker: one.id,
      ...measured(one),
      not_counted: one.notCounted,
      part: formatNano(one.part),
      entry: formatNano(one.entry),
    })),
    controllers: controllers.map((one) => ({
      operator: one.operator,
      quality: counterToJson(one.quality),
      availability: counterToJson(one.availability),
      quality_bound: formatNano(nano(one.qualityBound)),
      availability_bound: formatNano(nano(one.availabilityBound)),
      agreement: formatNano(nano(one.agreement)),
      raw: formatNano(one.raw),
      before: formatNano(one.before),
      score: formatNano(one.score),
    })),
    votes: votes.map(({ operator, platform }) => ({ operator, platform })),
  }
}

function measured(one: OperatorScore | WorkerScore): Item {
  return {
    judged: one.judged,
    inconclusive: one.inconclusive,
    work: Number(one.work),
    quality: counterToJson(one.quality),
    availability: counterToJson(one.availability),
    quality_bound: formatNano(nano(one.qualityBound)),
    availability_bound: formatNano(nano(one.availabilityBound)),
    latency: formatNano(nano(one.latency)),
    speed: formatNano(nano(one.speed)),
    goodness: formatNano(nano(one.goodness)),
  }
}
