import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { parseAdmissionTrust } from 'veritee/admission'
import { parseDocument, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type EpochContext, type EpochScores, parseScoringPolicy, verifyEpoch } from 'veritee/scoring'
import { nodeFiles } from '../../process/files.ts'
import { readBundle } from '../../validator/publish/directory.ts'
import { parseUidMap, type UidMap, weightsByUid, weightsCsv } from '../../validator/publish/uids.ts'
import type { Command } from '../command.ts'

const help = `veriteed weights: the weights of an epoch, for another network or a table

  veriteed weights DIR --uids FILE [options]   {"uids", "weights", "version"}, 65,535 together
  veriteed weights DIR --csv [--uids FILE]     one line for each worker

  DIR           the bundle (spec/epoch.md); it is verified first, and nothing is written of one that does not hold
  --trust FILE  whose scoring policies count: {"network", "keys", "threshold", "minimum_version"}; required
  --uids FILE   which uid stands for which worker or operator, and which burns what is nobody's (spec/epoch.md, "Export")
  --version-key N  the "version" of the result (default: the version of the scoring policy)
  -o, --out FILE   instead of standard output

Fraud proofs are not verified here: veritee epoch verify --policy.
Exit codes: 0 written, 1 the bundle does not hold, 2 wrong usage or map, 3 something could not be had.
`

export const command: Command = {
  run: async (args) => {
    const { values, positionals } = parse(args)
    if (values.help) {
      process.stdout.write(help)
      return 0
    }
    const [directory] = positionals
    if (directory === undefined || positionals.length !== 1) throw fail('usage', 'expected exactly one bundle; see veriteed weights --help')
    if (values.trust === undefined) throw fail('usage', 'expected --trust FILE: whose scoring policies count')
    if (!values.csv && values.uids === undefined) throw fail('usage', 'expected --uids FILE, or --csv')
    const map = values.uids === undefined ? null : parseUidMap(await nodeFiles.readText(values.uids))
    const scores = await verifiedScores(directory, await trustOf(values.trust))
    const text = await textOf(directory, scores, map, values)
    if (values.out === undefined) process.stdout.write(text)
    else
      await writeFile(values.out, text).catch((cause: unknown) => {
        throw fail('file_unavailable', `cannot write ${values.out}`, cause)
      })
    return 0
  },
}

function parse(args: readonly string[]) {
  const options = {
    trust: { type: 'string' },
    uids: { type: 'string' },
    csv: { type: 'boolean', default: false },
    'version-key': { type: 'string' },
    out: { type: 'string', short: 'o' },
    help: { type: 'boolean', short: 'h', default: false },
  } as const
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function trustOf(path: string): Promise<EpochContext['trust']> {
  const value = parseDocument(await nodeFiles.readText(path), { maxLength: 1 << 16, maxDepth: 4, integersOnly: true }, 'usage', '--trust')
  return parseAdmissionTrust(value, '--trust', new Shape('usage'))
}

/** Throws `epoch_mismatch` with what is wrong first. */
async function verifiedScores(directory: string, trust: EpochContext['trust']): Promise<EpochScores> {
  const { scores, first } = await verifyEpoch(readBundle(directory), { trust, verifyProof: null, roster: null, previous: null })
  if (scores === null || first !== null) throw fail('epoch_mismatch', `the bundle does not hold: ${first?.file}: ${first?.code}: ${first?.message}`)
  return scores
}

async function textOf(
  directory: string,
  scores: EpochScores,
  map: UidMap | null,
  values: { readonly csv: boolean; readonly 'version-key'?: string | undefined },
): Promise<string> {
  if (values.csv || map === null) return weightsCsv(scores, map)
  const key = values['version-key']
  if (key !== undefined && !/^[0-9]{1,15}$/.test(key)) throw fail('usage', '--version-key: expected a whole number')
  const { policy } = await parseScoringPolicy(await nodeFiles.readText(`${directory}/policy.json`))
  return `${JSON.stringify(weightsByUid(scores, map, key === undefined ? policy.policyVersion : Number(key)))}\n`
}
