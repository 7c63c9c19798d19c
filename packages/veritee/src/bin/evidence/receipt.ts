import { sha256Digest } from '../../bytes/index.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { type EvidencePolicy, policyFor, type Role, type Verdict } from '../../policy/index.ts'
import { checkModel, readRequest } from '../../receipt/exchange.ts'
import {
  evaluateReport,
  eventOf,
  maxKeysetSeconds,
  parseReceipt,
  parseReport,
  type Receipt,
  upstreamOf,
  type VerifiedReport,
  verifyReceipt,
  verifyReport,
} from '../../receipt/index.ts'
import { checkPromise } from '../../receipt/promise.ts'
import { type Command, command, type Given, type Options, one, policyWhy, required, shared } from '../terminal/command.ts'
import { readBytes, readPolicy, readText, readTime, readTrust } from '../terminal/files.ts'
import { errorOf, failedVerdict, verdictLines, writeJson, writeLines } from '../terminal/print.ts'

const options = {
  report: { type: 'string', value: 'FILE', help: "the service's attestation report, as GET /v1/aci/attestation served it" },
  policy: shared.policy,
  release: shared.release,
  role: shared.serviceRole,
  nonce: { type: 'string', value: 'HEX', help: 'the nonce you drew for the report; without it the report proves no freshness' },
  request: { type: 'string', value: 'FILE', help: 'the request body you sent, byte for byte; without it the request is not compared' },
  response: { type: 'string', value: 'FILE', help: 'the response body you received, byte for byte; without it the response is not compared' },
  at: shared.at,
  root: shared.root,
  json: shared.json,
} as const satisfies Options

export const receipt: Command = command({
  name: 'receipt verify',
  operands: 'FILE',
  summary: 'check a receipt against the report of the service that signed it',
  options,
  notes: ['FILE is the receipt, as GET /v1/aci/receipts/{id} served it. --report and --policy are required.'],
  run,
})

type Checks = Verdict['checks']

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const path = one(positionals, 'receipt FILE')
  const policy = await readPolicy(required(values.policy, '--policy', policyWhy), values.release)
  const reportPath = required(values.report, '--report', 'a receipt is checked against the keys that a report binds')
  if (values.nonce !== undefined && !/^[0-9a-f]{64}$/.test(values.nonce)) throw fail('usage', '--nonce: expected 64 lower-case hex digits')
  const role = values.role as Role
  const section = policyFor(policy, role)
  const at = readTime(values.at)
  const trust = await readTrust(values.root)
  const texts = { receipt: await readText(path), report: await readText(reportPath) }
  const request = values.request === undefined ? null : await readBytes(values.request)
  const bodies = { request: request === null ? null : await sha256Digest(request), response: await digestOf(values.response) }

  let verdict: Verdict
  let found: Receipt | null = null
  try {
    const parsed = parseReceipt(texts.receipt)
    found = parsed
    const report = await verifyReport(parseReport(texts.report), values.nonce ?? 'stated', trust, at)
    // When the nonce was drawn is not in the report. No earlier than the keyset was made, which is known: at most that old is the attestation.
    const attestedAt = report.fresh ? new Date((report.keyset.not_after - maxKeysetSeconds) * 1000) : null
    verdict = evaluateReport(report, section, { role, at, attestedAt, channel: 'stored' })
    if (verdict.error === null) {
      const expectation = { requestHash: bodies.request, responseHash: bodies.response, clientNonce: null }
      const check = (): Promise<unknown> => verifyReceipt(parsed, report.keyset, report.keysetDigest, expectation)
      const served = (): Checks => [
        ...(report.serving === 'aggregator' ? [checkUpstream(parsed)] : checkWeights(parsed, report, section, request)),
        ...promised(parsed, section),
      ]
      verdict = await judge(verdict, check, served, bodies)
    }
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    verdict = failedVerdict(error, 'policy')
  }
  if (values.json) writeJson({ ...verdict, receipt: found?.document ?? null })
  else writeLines(verdictLines(verdict))
  return verdict.verdict === 'accepted' ? 0 : 1
}

async function digestOf(path: string | undefined): Promise<string | null> {
  return path === undefined ? null : sha256Digest(await readBytes(path))
}

/** What a controller signed must not itself say that no verified worker served (aci/1 section 9.3, point 5; rule S10). */
function checkUpstream(receipt: Receipt): Checks[number] {
  const upstream = upstreamOf(receipt)
  if (upstream?.result !== 'verified' || !upstream.required)
    throw fail('policy_receipt', `expected a worker whose verification was required and passed, found ${upstream?.result ?? 'none'}`)
  const cited = eventOf(receipt, 'veritee.upstream_receipt')
  if (cited?.result !== 'match') throw fail('receipt_upstream_mismatch', `expected a matching worker's receipt, found ${cited?.result ?? 'none'}`)
  return { id: 'receipt.upstream', status: 'waived', detail: `the controller's word: session ${upstream.session_id} was not verified here` }
}

/** What a worker signed must name weights that its quote binds and the policy lists, of the model that a request at hand names. No other role answers. */
function checkWeights(receipt: Receipt, report: VerifiedReport, policy: EvidencePolicy, request: Uint8Array | null): Checks {
  const { role } = report.descriptor
  if (role !== 'worker') throw fail('policy_role', `expected the receipt of a worker or a controller, found that of a ${role}`)
  const checks: Checks[number][] = []
  checkModel(receipt, report, policy, checks, request && readRequest(request))
  return checks.map((check) => ({ ...check, id: `receipt.${check.id}` }))
}

/** Where the section names a log, the receipt promises it. Whether it is there, `veritee log inclusion` says. */
function promised(receipt: Receipt, section: EvidencePolicy): Checks {
  const checks: Checks[number][] = []
  checkPromise(receipt, section, 'service', checks)
  return checks.map((check) => ({ ...check, id: `receipt.${check.id}` }))
}

/** Adds the receipt's own checks to the service's verdict. */
async function judge(
  verdict: Verdict,
  check: () => Promise<unknown>,
  served: () => Checks,
  bodies: { request: string | null; response: string | null },
): Promise<Verdict> {
  const compared = (name: 'request' | 'response'): Verdict['checks'][number] =>
    bodies[name] === null
      ? { id: `receipt.${name}`, status: 'waived', detail: `not compared: pass --${name} FILE` }
      : { id: `receipt.${name}`, status: 'pass', detail: `over exactly these ${name} bytes` }
  try {
    await check()
    const signed = { id: 'receipt.signature', status: 'pass', detail: 'signed by a key that the quote binds' } as const
    const nonce = { id: 'receipt.nonce', status: 'waived', detail: 'not compared: an older receipt over equal bytes would pass' } as const
    const checks = [...verdict.checks, signed, compared('request'), compared('response'), nonce]
    return { ...verdict, checks: [...checks, ...served()] }
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    const failed = { id: 'receipt', status: 'fail', detail: error.message } as const
    return { ...verdict, verdict: 'rejected', checks: [...verdict.checks, failed], error: errorOf(error) }
  }
}
