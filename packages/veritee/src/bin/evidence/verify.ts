import { parseCollateral, parseQuote, type Quote, verifyQuote } from '../../attestation/index.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { type EvidencePolicy, evaluate, evaluateGenuineness, type Policy, policyFor, type Verdict } from '../../policy/index.ts'
import { mostWorkers, usualWorkers, wholeVerifier } from '../service/target.ts'
import { wholeJson, wholeLines } from '../service/whole-lines.ts'
import { type Command, command, type Given, type Options, one, required, shared, wholeNumber } from '../terminal/command.ts'
import { readOptionalPolicy, readQuote, readText, readTime, readTrust } from '../terminal/files.ts'
import { exitOf, failedVerdict, verdictLines, writeJson, writeLines } from '../terminal/print.ts'
import { bundlePolicy } from './bundle.ts'
import { describeQuote } from './inspect.ts'

const options = {
  policy: { ...shared.optionalPolicy, help: `${shared.optionalPolicy.help}; a URL needs one` },
  release: shared.release,
  collateral: { type: 'string', value: 'FILE', help: 'of a QUOTE: tcb_info, qe_identity, CRLs and issuer chains in the common JSON form' },
  role: { ...shared.role, help: 'section of the policy, where it has several (default of a URL: controller)' },
  at: { ...shared.at, help: 'of a QUOTE: RFC 3339 or Unix seconds (default: now)' },
  root: shared.root,
  'max-workers': { type: 'string', value: 'N', default: String(usualWorkers), help: 'of a URL: verify so many of the workers' },
  all: { type: 'boolean', default: false, help: 'of a URL: show each check that passed, not only their number' },
  json: { ...shared.json, help: 'the verdict as JSON (spec/verdict.md)' },
} as const satisfies Options

export const verify: Command = command({
  name: 'verify',
  operands: 'QUOTE|URL',
  summary: 'judge a quote offline, or a whole service with everything behind it',
  options,
  notes: [
    'QUOTE is a file with the raw quote, or the same as hex: judged offline, with --collateral.',
    'URL is a service: its report for a nonce drawn now, and behind a controller every worker, its evidence, its own answer to a nonce, and the models offered. Nothing of yours is sent. The API key, where one is needed, is read from VERITEE_API_KEY.',
  ],
  run,
})

async function run(given: Given<typeof options>): Promise<number> {
  const target = one(given.positionals, 'QUOTE file or URL')
  return /^https?:\/\//i.test(target) ? verifyService(target, given.values) : verifyFile(target, given.values)
}

async function verifyService(url: string, values: Given<typeof options>['values']): Promise<number> {
  if (values.collateral !== undefined || values.at !== undefined)
    throw fail('usage', '--collateral and --at go with a quote file: a service is verified as it is now')
  const maxWorkers = wholeNumber(values['max-workers'], '--max-workers', 1, mostWorkers)
  const whole = await (await wholeVerifier(url, { ...values, maxWorkers }))()
  if (values.json) writeJson(wholeJson(whole))
  else writeLines(wholeLines(whole, values.all))
  return exitOf(whole.error)
}

async function verifyFile(path: string, values: Given<typeof options>['values']): Promise<number> {
  const collateralPath = required(values.collateral, '--collateral', "a quote cannot be judged without the vendor's signed data")
  if (values.role !== undefined && values.policy === undefined) throw fail('usage', '--role names a section of a policy: pass --policy too')
  const at = readTime(values.at)
  const trust = await readTrust(values.root)
  const document = await readOptionalPolicy(values)
  const policy = document === null ? null : sectionOf(document, values.role)
  const bytes = await readQuote(path)
  const collateralText = await readText(collateralPath)
  const scope = policy === null ? 'genuineness' : 'policy'
  let quote: Quote | null = null
  let verdict: Verdict
  try {
    quote = parseQuote(bytes)
    const { claims, checks } = await verifyQuote(quote, parseCollateral(collateralText), trust, at)
    verdict = policy === null ? evaluateGenuineness(claims, checks) : evaluate(claims, policy, at, checks)
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    verdict = failedVerdict(error, scope)
  }
  if (values.json) writeJson({ ...verdict, quote: quote === null ? null : describeQuote(quote) })
  else writeLines(verdictLines(verdict))
  return verdict.verdict === 'accepted' ? 0 : 1
}

function sectionOf(policy: Policy, role: string | undefined): EvidencePolicy {
  return policyFor(policy, bundlePolicy(policy, role).role)
}
