import { parseScoringPolicy } from '../policy/parse.ts'
import { parseState } from '../state/json.ts'
import { accusationsFromJson, canariesFromJson, dutiesFromJson, epochLogFromJson, parseOpening, rosterFromJson, roundsFromJson } from './documents.ts'
import { Bundle, canariesPath, dutiesPath, openingsPath, type ReadFile, recordsPath } from './files.ts'
import { type EpochParts, parseLeaves, type ValidatorPart } from './write.ts'

/**
 * What a bundle was made of, so that another can be made of it and of others. It verifies nothing but that each file is the one that the manifest lists: that is for
 * `verifyEpoch`, over the same bytes. What follows from the rest (scores, state, weights) is not read.
 * Throws `epoch_malformed`, `epoch_file_changed`, what the readers of policy, state and rounds throw, and what `read` throws.
 */
export async function readEpochParts(read: ReadFile): Promise<EpochParts> {
  const bundle = await Bundle.open(read)
  const { network, epoch } = bundle.manifest
  const policyText = await bundle.text('policy.json')
  const { policy } = await parseScoringPolicy(policyText)
  const validators: ValidatorPart[] = []
  for (const { key } of policy.validators) if (bundle.has(recordsPath(key))) validators.push(await partOf(bundle, key))
  const proven = accusationsFromJson(await bundle.json('proven.json'))
  return {
    policy: policyText,
    epoch,
    roster: rosterFromJson(await bundle.json('roster.json')),
    before: parseState(await bundle.text('before.json'), network),
    rounds: roundsFromJson(await bundle.json('beacon.json')),
    log: bundle.has('log.json') ? { ...epochLogFromJson(await bundle.json('log.json')), leaves: parseLeaves(await bundle.text('leaves.txt')) } : null,
    validators,
    proofs: await Promise.all(proven.map(async ({ file, ...accused }) => ({ text: await bundle.text(file), ...accused }))),
  }
}

async function partOf(bundle: Bundle, validator: string): Promise<ValidatorPart> {
  const canaries = canariesPath(validator)
  const openings = openingsPath(validator)
  return {
    validator,
    duties: dutiesFromJson(await bundle.json(dutiesPath(validator)), validator),
    records: lines(await bundle.text(recordsPath(validator))),
    canaries: bundle.has(canaries) ? canariesFromJson(await bundle.json(canaries), validator) : null,
    openings: bundle.has(openings) ? lines(await bundle.text(openings)).map(parseOpening) : [],
  }
}

function lines(text: string): string[] {
  return text.split('\n').slice(0, -1)
}
