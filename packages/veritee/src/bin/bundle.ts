import { type Collateral, parseCollateral } from '../attestation/index.ts'
import { fail, VeriteeError } from '../errors.ts'
import { type Policy, type Role, roles, type Verdict } from '../policy/index.ts'
import { type BundleParts, type BundlePolicy, createBundle, evaluateBundle, parseBundle, parseReport, verifyBundle } from '../receipt/index.ts'
import { one, readArgs, required } from './args.ts'
import { readBytes, readPolicy, readQuote, readText, readTime, readTrust } from './files.ts'
import { writeOutput } from './output.ts'
import { failedVerdict, verdictLines, writeJson, writeLines, writeNotes } from './print.ts'

export const bundleHelp = `veritee bundle create --quote FILE --collateral FILE -o FILE [options]: put evidence into one file that verifies offline, at any later time
  --quote FILE           the raw quote (or the same as hex)
  --collateral FILE      in the common JSON form
  --report FILE          the service's attestation report; quote and collateral are taken from it where they are not given
  --receipt FILE         a receipt that the service signed
  --session FILE         the session that the receipt cites
  --worker-receipt FILE  the receipt of the worker behind a controller
  --request FILE, --response FILE
                         the bodies, byte for byte; whoever gets the bundle reads them
  -o FILE                the bundle (spec/evidence-bundle.md)

veritee bundle verify FILE [options]: judge such a file
  --policy FILE          what you accept; without it only genuineness of the hardware is judged, not the code in it
  --role ROLE            role the service must have, where the policy has several sections: ${roles.join(', ')}
  --at TIME              RFC 3339 or Unix seconds (default: now): usually when the bundle was made, since collateral expires
  --root FILE            a further root certificate, such as a simulator's; such evidence stays SIMULATED
  --nonce HEX, --client-nonce HEX
                         the nonces you drew for the report and the request; without them the bundle proves no freshness
  --json                 the verdict as JSON (spec/verdict.md)

Exit codes: 0 accepted (or created), 1 rejected, 2 wrong usage or policy, 3 something needed was unavailable.
`

/** `veritee bundle create` and `veritee bundle verify`. */
export async function bundleCommand(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args
  if (verb === 'create') return create(rest)
  if (verb === 'verify') return verify(rest)
  throw fail('usage', 'expected: veritee bundle create ... or veritee bundle verify FILE ...')
}

async function create(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArgs(args, {
    quote: { type: 'string' },
    collateral: { type: 'string' },
    report: { type: 'string' },
    receipt: { type: 'string' },
    session: { type: 'string' },
    'worker-receipt': { type: 'string' },
    request: { type: 'string' },
    response: { type: 'string' },
    output: { type: 'string', short: 'o' },
  })
  if (positionals.length > 0) throw fail('usage', 'expected options only')
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

async function verify(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArgs(args, {
    policy: { type: 'string' },
    role: { type: 'string' },
    at: { type: 'string' },
    root: { type: 'string' },
    nonce: { type: 'string' },
    'client-nonce': { type: 'string' },
    json: { type: 'boolean', default: false },
  })
  const path = one(positionals, 'bundle FILE')
  if (values.role !== undefined && values.policy === undefined) throw fail('usage', '--role names a section of a policy: pass --policy too')
  const drawn = { ...nonce('nonce', '--nonce', values.nonce), ...nonce('clientNonce', '--client-nonce', values['client-nonce']) }
  const at = readTime(values.at)
  const trust = await readTrust(values.root)
  const wanted = values.policy === undefined ? null : bundlePolicy(await readPolicy(values.policy), values.role)
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

function bundlePolicy(policy: Policy, role: string | undefined): BundlePolicy {
  const present = roles.filter((name) => policy.roles[name] !== undefined)
  if (role === undefined) {
    const [only] = present
    if (only === undefined || present.length !== 1) throw fail('usage', `--role: the policy has sections for ${present.join(', ')}; say which one`)
    return { policy, role: only }
  }
  if (!roles.includes(role as Role)) throw fail('usage', `--role: expected one of ${roles.join(', ')}, found ${JSON.stringify(role)}`)
  return { policy, role: role as Role }
}
