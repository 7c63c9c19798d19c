import { type Collateral, parseCollateral } from '../../attestation/index.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { type Policy, type Role, roles, type Verdict } from '../../policy/index.ts'
import { type BundleParts, type BundlePolicy, createBundle, evaluateBundle, parseBundle, parseReport, verifyBundle } from '../../receipt/index.ts'
import { type Command, command, type Given, none, type Options, one, required, shared } from '../terminal/command.ts'
import { readBytes, readOptionalPolicy, readQuote, readText, readTime, readTrust } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { failedVerdict, verdictLines, writeJson, writeLines, writeNotes } from '../terminal/print.ts'

const createOptions = {
  quote: { type: 'string', value: 'FILE', help: 'the raw quote (or the same as hex)' },
  collateral: { type: 'string', value: 'FILE', help: 'in the common JSON form' },
  report: {
    type: 'string',
    value: 'FILE',
    help: "the service's attestation report; quote and collateral are taken from it where they are not given",
  },
  receipt: { type: 'string', value: 'FILE', help: 'a receipt that the service signed' },
  session: { type: 'string', value: 'FILE', help: 'the session that the receipt cites' },
  'worker-receipt': { type: 'string', value: 'FILE', help: 'the receipt of the worker behind a controller' },
  request: { type: 'string', value: 'FILE', help: 'the request body, byte for byte; whoever gets the bundle reads it' },
  response: { type: 'string', value: 'FILE', help: 'the response body, likewise' },
  output: { type: 'string', short: 'o', value: 'FILE', help: 'the bundle (spec/evidence-bundle.md)' },
} as const satisfies Options

export const bundleCreate: Command = command({
  name: 'bundle create',
  summary: 'put evidence into one file that verifies offline, at any later time',
  options: createOptions,
  exits: { 0: 'created' },
  run: create,
})

const verifyOptions = {
  policy: shared.optionalPolicy,
  release: shared.release,
  role: shared.role,
  at: { ...shared.at, help: 'RFC 3339 or Unix seconds (default: now): usually when the bundle was made, since collateral expires' },
  root: shared.root,
  nonce: { type: 'string', value: 'HEX', help: 'the nonce you drew for the report; without it the bundle proves no freshness' },
  'client-nonce': { type: 'string', value: 'HEX', help: 'the nonce you drew for the request' },
  json: { ...shared.json, help: 'the verdict as JSON (spec/verdict.md)' },
} as const satisfies Options

export const bundleVerify: Command = command({
  name: 'bundle verify',
  operands: 'FILE',
  summary: 'judge such a file',
  options: verifyOptions,
  run: verify,
})

async function create({ values, positionals }: Given<typeof createOptions>): Promise<number> {
  none(positionals)
  const output = required(values.output, '-o', 'the file to write')
  const text = async (path: string | undefined): Promise<string | undefined> => (path === undefined ? undefined : readText(path))
  const reportText = await text(values.report)
  const report = reportText === undefined ? null : parseReport(reportText)
  const why = 'pass it, or --report, which holds both quote and collateral'
  const quote = values.quote === undefined && report !== null ? report.quote : await readQuote(required(values.quote, '--quote', why))
  const collateral: Collateral =
    values.collateral === undefined && report !== null
      ? report.collateral
      : parseCollateral(await readText(required(values.collateral, '--collateral', why)))
  const { session, request, response, 'worker-receipt': workerReceipt } = values
  if (values.receipt === undefined && [session, request, response, workerReceipt].some((path) => path !== undefined))
    throw fail('usage', '--receipt is required: sessions, bodies and worker receipts belong to a receipt')
  if (values.receipt !== undefined && report === null) throw fail('usage', '--report is required: a receipt is signed by a key that a report binds')
  const documents = { receipt: await text(values.receipt), session: await text(session), workerReceipt: await text(workerReceipt) }
  const bodies = {
    requestBody: request === undefined ? undefined : await readBytes(request),
    responseBody: response === undefined ? undefined : await readBytes(response),
  }
  const exchange = documents.receipt === undefined ? {} : { exchange: defined({ ...documents, ...bodies }) as NonNullable<BundleParts['exchange']> }
  const bundle = createBundle({ quote, collateral, ...(reportText === undefined ? {} : { report: reportText }), ...exchange })
  await writeOutput(output, `${bundle}\n`)
  writeNotes([`${output}: nothing was verified: veritee bundle verify does that`])
  return 0
}

/** Without the members that are undefined. */
function defined(record: { readonly [name: string]: unknown }): object {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined))
}

async function verify({ values, positionals }: Given<typeof verifyOptions>): Promise<number> {
  const path = one(positionals, 'bundle FILE')
  if (values.role !== undefined && values.policy === undefined) throw fail('usage', '--role names a section of a policy: pass --policy too')
  const drawn = { ...nonce('nonce', '--nonce', values.nonce), ...nonce('clientNonce', '--client-nonce', values['client-nonce']) }
  const at = readTime(values.at)
  const trust = await readTrust(values.root)
  const policy = await readOptionalPolicy(values)
  const wanted = policy === null ? null : bundlePolicy(policy, values.role)
  const text = await readText(path)
  let verdict: Verdict
  try {
    verdict = evaluateBundle(await verifyBundle(parseBundle(text), trust, at, drawn), wanted, at)
  } catch (error) {
    // A policy that cannot be used is the caller's to mend, not a fault of the evidence.
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    verdict = failedVerdict(error, wanted === null ? 'genuineness' : 'policy')
  }
  if (values.json) writeJson(verdict)
  else writeLines(verdictLines(verdict))
  return verdict.verdict === 'accepted' ? 0 : 1
}

function nonce<N extends string>(name: N, option: string, value: string | undefined): { [K in N]?: string } {
  if (value === undefined) return {}
  if (!/^[0-9a-f]{64}$/.test(value)) throw fail('usage', `${option}: expected 64 lower-case hex digits`)
  return { [name]: value } as { [K in N]?: string }
}

/** Which section of the policy: the one named, or the only one. Throws `usage`. */
export function bundlePolicy(policy: Policy, role: string | undefined): BundlePolicy {
  const present = roles.filter((name) => policy.roles[name] !== undefined)
  if (role === undefined) {
    const [only] = present
    if (only === undefined || present.length !== 1) throw fail('usage', `--role: the policy has sections for ${present.join(', ')}; say which one`)
    return { policy, role: only }
  }
  return { policy, role: role as Role }
}
