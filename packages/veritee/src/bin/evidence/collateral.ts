import { formatCollateral, parseQuote } from '../../attestation/index.ts'
import {
  completeQuote,
  defaultCacheDirectory,
  diskCache,
  type FetchCollateralOptions,
  fetchCollateral,
  intelPcs,
  nodeGet,
  type SourceOutcome,
} from '../../client/index.ts'
import { fail } from '../../errors.ts'
import { type Command, command, type Given, type Options, one, required, shared } from '../terminal/command.ts'
import { readQuote } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { writeJson, writeNotes } from '../terminal/print.ts'

const options = {
  output: { type: 'string', short: 'o', value: 'FILE', help: 'where the collateral goes, in the common JSON form that veritee verify reads' },
  pcs: {
    type: 'string',
    multiple: true,
    value: 'URL',
    help: `Intel's service or a PCCS, such as https://localhost:8081; may be given several times, tried in order (default: ${intelPcs})`,
  },
  update: {
    type: 'string',
    value: 'CHANNEL',
    choices: ['standard', 'early'],
    help: "Intel's two channels (default: standard); early has new evaluations up to a year sooner",
  },
  'evaluation-number': { type: 'string', value: 'N', help: 'one TCB evaluation instead of a channel' },
  'no-cache': {
    type: 'boolean',
    default: false,
    help: 'neither use nor fill the cache ($XDG_CACHE_HOME/veritee/collateral or ~/.cache/veritee/collateral)',
  },
  complete: {
    type: 'string',
    value: 'FILE',
    help: 'for a quote without its PCK certificate chain: fetch that too and write the quote with it there',
  },
  json: { ...shared.json, help: 'a summary as JSON' },
} as const satisfies Options

export const collateral: Command = command({
  name: 'collateral fetch',
  operands: 'QUOTE',
  summary: "fetch the vendor's signed data that a quote needs",
  options,
  notes: [
    'QUOTE is a file with the raw quote, or the same as hex.',
    'Nothing is verified here: veritee verify does that. A PCCS with a certificate of its own needs NODE_EXTRA_CA_CERTS.',
  ],
  exits: { 0: 'fetched', 1: 'the quote cannot be read', 2: 'wrong usage', 3: 'no source had it' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const path = one(positionals, 'QUOTE file')
  const output = required(values.output, '-o', 'the file to write')
  const [first = intelPcs, ...rest] = values.pcs ?? []
  let outcome: SourceOutcome | null = null
  const now = (): Date => new Date()
  const wanted: FetchCollateralOptions = {
    urls: [first, ...rest],
    evaluation: evaluationOf(values.update, values['evaluation-number']),
    get: nodeGet(),
    now,
    ...(values['no-cache'] ? {} : { store: diskCache({ directory: defaultCacheDirectory(), now, random: Math.random }) }),
    onOutcome: (found) => {
      if (found.result === 'failed') writeNotes([`${found.url}: ${found.error.message}`])
      else outcome = found
    },
  }
  const quote = parseQuote(await readQuote(path))
  if (quote.certification.kind !== 'pck-chain' && values.complete === undefined)
    throw fail(
      'usage',
      `--complete FILE is required: the quote carries no PCK certificate chain (certification data of type ${quote.certification.type})`,
    )
  const complete = await completeQuote(quote, wanted)
  const fetched = await fetchCollateral(complete, wanted)
  await writeOutput(output, `${formatCollateral(fetched)}\n`)
  if (values.complete !== undefined) await writeOutput(values.complete, complete.bytes)
  const summary = summaryOf(outcome)
  if (values.json) writeJson({ ...summary, collateral: output, quote: values.complete ?? null })
  else
    writeNotes([
      `${output}: ${Object.entries(summary)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ')}`,
      'nothing was verified: veritee verify does that',
    ])
  return 0
}

function evaluationOf(update: string | undefined, number: string | undefined): FetchCollateralOptions['evaluation'] {
  if (update !== undefined && number !== undefined) throw fail('usage', '--update and --evaluation-number exclude each other')
  if (number !== undefined) {
    if (!/^[0-9]{1,9}$/.test(number)) throw fail('usage', `--evaluation-number: expected a number, found ${JSON.stringify(number)}`)
    return Number(number)
  }
  return update === 'early' ? 'early' : 'standard'
}

function summaryOf(outcome: SourceOutcome | null): Record<string, string | number | boolean> {
  if (outcome === null || outcome.result === 'failed') return {}
  const { tee, fmspc, evaluationDataNumber, expires } = outcome.contents
  return { source: outcome.url, cached: outcome.result === 'cached', tee, fmspc, evaluationDataNumber, expires: expires.toISOString() }
}
