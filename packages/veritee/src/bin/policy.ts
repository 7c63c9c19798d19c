import * as crypto from '#crypto'
import { parseCollateral, parseQuote, type Quote, type Trust, verifyQuote } from '../attestation/index.ts'
import { sgxClaims } from '../attestation/sgx/report.ts'
import { tdxClaims } from '../attestation/tdx/report.ts'
import { toHex } from '../bytes/index.ts'
import { certificatesOf, pckLeaf, pemText } from '../client/collateral/platform.ts'
import { fetchText, nodeTransport } from '../client/index.ts'
import { fail } from '../errors.ts'
import { evaluateGenuineness, explainPolicy, type InitFacts, initPolicy, type Policy, parsePolicy, type Role, roles } from '../policy/index.ts'
import { maxReportBytes, parseReport, verifyReport } from '../receipt/index.ts'
import { one, readArgs, required } from './args.ts'
import { readQuote, readText, readTime, readTrust } from './files.ts'
import { writeOutput } from './output.ts'
import { writeJson, writeLines, writeNotes } from './print.ts'

export const policyHelp = `veritee policy init --from QUOTE|URL [options]: write a complete policy to start from
  --from QUOTE|URL    a file with a raw quote, or a service, such as https://127.0.0.1:8443, whose report is fetched
  --role ROLE         ${roles.join(', ')} (default: that of the service; worker for a quote)
  --collateral FILE   for a QUOTE: verify its genuineness with this, and demand no older TCB evaluation
  --at TIME           for a QUOTE: RFC 3339 or Unix seconds (default: now)
  --root FILE         a further root certificate, such as a simulator's
  -o FILE             default: standard output
  What says which code, weights or machine is wanted is written UNREVIEWED:<value>, which no evaluation accepts: compare each with what you trust,
  then remove the mark. The rest is strict. What each field means is in the file's "comments" and goes to standard error.

veritee policy check FILE [--json]: is it a policy that can be used?
veritee policy explain FILE [--json]: what it demands and what it waives, in English

Exit codes: 0 written or valid, 1 the evidence is not genuine, 2 wrong usage or policy, 3 something needed was unavailable.
`

/** `veritee policy init`, `check` and `explain`. */
export async function policyCommand(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args
  if (verb === 'init') return init(rest)
  if (verb === 'check') return check(rest)
  if (verb === 'explain') return explain(rest)
  throw fail('usage', 'expected: veritee policy init, check or explain')
}

/** What was found, and what is to be said of it. */
interface Found {
  readonly facts: InitFacts
  readonly role: Role
  readonly told: readonly string[]
}

async function init(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArgs(args, {
    from: { type: 'string' },
    role: { type: 'string' },
    collateral: { type: 'string' },
    at: { type: 'string' },
    root: { type: 'string' },
    output: { type: 'string', short: 'o' },
  })
  if (positionals.length > 0) throw fail('usage', 'expected options only')
  const from = required(values.from, '--from', 'the quote or the service to write the policy from')
  if (values.role !== undefined && !roles.includes(values.role as Role)) throw fail('usage', `--role: expected one of ${roles.join(', ')}`)
  const isUrl = /^https?:\/\//i.test(from)
  if (isUrl && (values.collateral !== undefined || values.at !== undefined))
    throw fail('usage', "--collateral and --at go with a quote file: a service's report carries collateral of now")
  const trust = await readTrust(values.root)
  const found = isUrl ? await fromService(from, trust) : await fromQuote(from, values.collateral, trust, readTime(values.at))
  const { text, notes } = initPolicy(found.facts, (values.role as Role | undefined) ?? found.role)
  if (values.output === undefined) process.stdout.write(text)
  else await writeOutput(values.output, text)
  writeNotes([...found.told, ...notes.map(({ field, why }) => `${field}: ${why}`)])
  return 0
}

async function fromQuote(path: string, collateralPath: string | undefined, trust: Trust, at: Date): Promise<Found> {
  const quote = parseQuote(await readQuote(path))
  const role = 'worker'
  if (collateralPath === undefined) {
    const facts = { body: bodyOf(quote), platform: pckFacts(quote), evaluationDataNumber: null, service: null }
    return { facts, role, told: ['the quote was NOT VERIFIED: anybody can write one that says anything. Pass --collateral to verify it'] }
  }
  const collateral = parseCollateral(await readText(collateralPath))
  const { claims, checks } = await verifyQuote(quote, collateral, trust, at)
  const { evaluationDataNumber } = claims.tcb
  return {
    facts: { body: claims.body, platform: claims.platform, evaluationDataNumber, service: null },
    role,
    told: tell(evaluateGenuineness(claims, checks)),
  }
}

async function fromService(url: string, trust: Trust): Promise<Found> {
  const transport = nodeTransport(url)
  try {
    const nonce = toHex(crypto.randomBytes(32))
    const text = await fetchText(transport, { method: 'GET', path: `/v1/aci/attestation?nonce=${nonce}` }, maxReportBytes)
    const { claims, checks, descriptor } = await verifyReport(parseReport(text), nonce, trust, new Date())
    const { models, engine, operator_key: operatorKey, role } = descriptor
    const facts = {
      body: claims.body,
      platform: claims.platform,
      evaluationDataNumber: claims.tcb.evaluationDataNumber,
      service: { models, engine, operatorKey },
    }
    return { facts, role, told: [`the report of ${transport.origin} binds a ${role}`, ...tell(evaluateGenuineness(claims, checks))] }
  } finally {
    transport.close()
  }
}

function tell({ error, warnings }: ReturnType<typeof evaluateGenuineness>): string[] {
  return [
    error === null
      ? 'the quote was verified: GENUINE HARDWARE; which code runs in it is for you to review'
      : `the quote was verified, and is NOT GENUINE: ${error.code}: ${error.message}`,
    ...warnings.filter((warning) => !warning.startsWith('the code in it')).map((warning) => `warning: ${warning}`),
  ]
}

function bodyOf({ body }: Quote): InitFacts['body'] {
  return body.kind === 'sgx' ? sgxClaims(body) : tdxClaims(body)
}

function pckFacts({ certification }: Quote): InitFacts['platform'] {
  return certification.kind === 'platform' ? null : pckLeaf(certificatesOf(pemText(certification.pem))).extension
}

async function readUsable(args: readonly string[]): Promise<{ policy: Policy; json: boolean }> {
  const { values, positionals } = readArgs(args, { json: { type: 'boolean', default: false } })
  return { policy: parsePolicy(await readText(one(positionals, 'policy FILE'))), json: values.json }
}

async function check(args: readonly string[]): Promise<number> {
  const { policy, json } = await readUsable(args)
  const present = roles.filter((role) => policy.roles[role] !== undefined)
  for (const role of present)
    for (const field of ['release', 'log'] as const)
      if (policy.roles[role]?.[field] !== 'any')
        throw fail('policy_unsupported', `roles.${role}.${field} cannot be checked by this version; set it to "any" or upgrade`)
  if (json) writeJson({ valid: true, roles: present })
  else writeLines([`valid, with a section for ${present.join(' and ')}`])
  return 0
}

async function explain(args: readonly string[]): Promise<number> {
  const { policy, json } = await readUsable(args)
  const sections = explainPolicy(policy)
  if (json) writeJson({ roles: sections })
  else
    writeLines(
      sections.flatMap(({ role, demanded, waived }, i) => [
        ...(i === 0 ? [] : ['']),
        `A ${role} is accepted only if`,
        ...demanded.map((line) => `  - ${line}`),
        ...(waived.length === 0 ? [] : ['Waived for it:', ...waived.map((line) => `  - ${line}`)]),
      ]),
    )
  return 0
}
