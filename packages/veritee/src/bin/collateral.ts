import { formatCollateral, parseQuote } from '../attestation/index.ts'
import {
  completeQuote,
  defaultCacheDirectory,
  diskCache,
  type FetchCollateralOptions,
  fetchCollateral,
  intelPcs,
  nodeGet,
  type SourceOutcome,
} from '../client/index.ts'
import { fail } from '../errors.ts'
import { one, readArgs, required } from './args.ts'
import { readQuote } from './files.ts'
import { writeOutput } from './output.ts'
import { writeJson, writeNotes } from './print.ts'

export const collateralHelp = `veritee collateral fetch QUOTE -o FILE [options]: fetch the vendor's signed data that a quote needs

  QUOTE                  a file with the raw quote (or the same as hex)
  -o FILE                where the collateral goes, in the common JSON form that veritee verify reads
  --pcs URL              Intel's service or a PCCS, such as https://localhost:8081; may be given several times, tried in order
                         (default: ${intelPcs})
  --update CHANNEL       standard (default) or early: Intel's two channels; early has new evaluations up to a year sooner
  --evaluation-number N  one TCB evaluation instead of a channel
  --no-cache             neither use nor fill the cache ($XDG_CACHE_HOME/veritee/collateral or ~/.cache/veritee/collateral)
  --complete FILE        for a quote without its PCK certificate chain: fetch that too and write the quote with it there
  --json                 a summary as JSON

Nothing is verified here: veritee verify does that. A PCCS with a certificate of its own needs NODE_EXTRA_CA_CERTS.
Exit codes: 0 fetched, 1 the quote cannot be read, 2 wrong usage, 3 no source had it.
`

/** `veritee collateral fetch`. */
export async function collateralCommand(args: readonly string[]): Promise<number> {
  if (args[0] !== 'fetch') throw fail('usage', 'expected: veritee collateral fetch QUOTE ...')
  const { values, positionals } = readArgs(args.slice(1), {
    output: { type: 'string', short: 'o' },
    pcs: { type: 'string', multiple: true },
    update: { type: 'string' },
    'evaluation-number': { type: 'string' },
    'no-cache': { type: 'boolean', default: false },
    complete: { type: 'string' },
    json: { type: 'boolean', default: false },
  })
  const path = one(positionals, 'QUOTE file')
  const output = required(values.output, '-o', 'the file to write')
  const [first = intelPcs, ...rest] = values.pcs ?? []
  let outcome: SourceOutcome | null = null
  const now = (): Date => new Date()
  const options: FetchCollateralOptions = {
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
  const complete = await completeQuote(quote, options)
  const collateral = await fetchCollateral(complete, options)
  await writeOutput(output, `${formatCollateral(collateral)}\n`)
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
  if (update !== undefined && update !== 'standard' && update !== 'early')
    throw fail('usage', `--update: expected standard or early, found ${JSON.stringify(update)}`)
  return update ?? 'standard'
}

function summaryOf(outcome: SourceOutcome | null): Record<string, string | number | boolean> {
  if (outcome === null || outcome.result === 'failed') return {}
  const { tee, fmspc, evaluationDataNumber, expires } = outcome.contents
  return { source: outcome.url, cached: outcome.result === 'cached', tee, fmspc, evaluationDataNumber, expires: expires.toISOString() }
}
