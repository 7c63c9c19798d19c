import * as crypto from '#crypto'
import { parseCollateral, parseQuote, type Quote, type Trust, verifyQuote } from '../../attestation/index.ts'
import { sgxClaims } from '../../attestation/sgx/report.ts'
import { tdxClaims } from '../../attestation/tdx/report.ts'
import { toHex } from '../../bytes/index.ts'
import { certificatesOf, pckLeaf, pemText } from '../../client/collateral/platform.ts'
import { fetchText, nodeTransport, type Transport } from '../../client/index.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { evaluateGenuineness, type InitFacts, initPolicy, type Role } from '../../policy/index.ts'
import { maxReportBytes, parseReport, type VerifiedReport, verifyReport } from '../../receipt/index.ts'
import { listSessions, sessionReport } from '../service/sessions.ts'
import { type Command, command, type Given, none, type Options, required, shared } from '../terminal/command.ts'
import { readQuote, readText, readTime, readTrust } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { writeNotes } from '../terminal/print.ts'
import { makersOf, makersOptions } from './makers.ts'
import { mergeSections, oneDocument } from './merge.ts'

const options = {
  from: {
    type: 'string',
    value: 'QUOTE|URL',
    help: 'a file with a raw quote, or a service, such as https://127.0.0.1:8443, whose report is fetched',
  },
  role: {
    ...shared.role,
    help: 'only this section (default: worker for a quote; for a service that of its role, and for a controller also one for its workers)',
  },
  collateral: { type: 'string', value: 'FILE', help: 'for a QUOTE: verify its genuineness with this, and demand no older TCB evaluation' },
  at: { ...shared.at, help: 'for a QUOTE: RFC 3339 or Unix seconds (default: now)' },
  root: shared.root,
  ...makersOptions,
  output: { type: 'string', short: 'o', value: 'FILE', help: 'default: standard output' },
} as const satisfies Options

export const policyInit: Command = command({
  name: 'policy init',
  summary: 'write a complete policy to start from',
  options,
  notes: [
    'What says which code, weights or machine is wanted is written UNREVIEWED:<value>, which no evaluation accepts: compare each with what you trust, then take the mark away (veritee policy accept). The rest is strict.',
    'With --signer, --threshold and --max-age the code is not copied: whatever a release statement of these makers names is good, as long as the statement is (spec/release-statement.md).',
    'What each field means is in the comments of the file and goes to standard error.',
  ],
  exits: { 0: 'written', 1: 'the evidence is not genuine', 2: 'wrong usage' },
  run: init,
})

/** What was found, and what is to be said of it. */
interface Found {
  readonly facts: InitFacts
  readonly role: Role
  readonly told: readonly string[]
}

async function init({ values, positionals }: Given<typeof options>): Promise<number> {
  none(positionals)
  const from = required(values.from, '--from', 'the quote or the service to write the policy from')
  const isUrl = /^https?:\/\//i.test(from)
  if (isUrl && (values.collateral !== undefined || values.at !== undefined))
    throw fail('usage', "--collateral and --at go with a quote file: a service's report carries collateral of now")
  const trust = await readTrust(values.root)
  const role = values.role as Role | undefined
  const { signer, threshold, 'max-age': maxAge } = values
  const named = signer !== undefined || threshold !== undefined || maxAge !== undefined
  const makers = named ? { ...makersOf(values), log: 'any' as const } : null
  const found = isUrl ? await fromService(from, trust, role) : [await fromQuote(from, values.collateral, trust, readTime(values.at))]
  const written = found.map(({ facts, role: own }) => initPolicy(facts, role ?? own, makers))
  const text = oneDocument(mergeSections(written.map((each) => each.text)))
  if (values.output === undefined) process.stdout.write(text)
  else await writeOutput(values.output, text)
  const notes = written.flatMap((each, i) => each.notes.map(({ field, why }) => `${role ?? found[i]?.role}.${field}: ${why}`))
  writeNotes([...found.flatMap(({ told }) => told), ...new Set(notes)])
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

/** The service's own facts, and those of every worker behind a controller, unless one role was asked for. */
async function fromService(url: string, trust: Trust, role: Role | undefined): Promise<Found[]> {
  const transport = nodeTransport(url)
  try {
    const nonce = toHex(crypto.randomBytes(32))
    const text = await fetchText(transport, { method: 'GET', path: `/v1/aci/attestation?nonce=${nonce}` }, maxReportBytes)
    const service = factsOf(await verifyReport(parseReport(text), nonce, trust, new Date()), `the report of ${transport.origin}`)
    if (service.role !== 'controller' || (role !== undefined && role !== 'worker')) return [service]
    const workers = await fromWorkers(transport, trust)
    return role === 'worker' ? (workers.length === 0 ? [service] : workers) : [service, ...workers]
  } finally {
    transport.close()
  }
}

/** More machines than these are for an operator's own tools. */
const maxWorkers = 16

async function fromWorkers(transport: Transport, trust: Trust): Promise<Found[]> {
  const found: Found[] = []
  try {
    for (const { id } of (await listSessions(transport, {})).slice(0, maxWorkers)) {
      const { report } = await sessionReport(transport, id, {}, trust, new Date())
      found.push(factsOf(report, `the session ${id} of ${transport.origin}`))
    }
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    writeNotes([`not every worker could be read, so that the section of workers is of ${found.length}: ${error.code}: ${error.message}`])
  }
  return found
}

function factsOf({ claims, checks, descriptor }: VerifiedReport, where: string): Found {
  const { models, engine, operator_key: operatorKey, role } = descriptor
  const facts = {
    body: claims.body,
    platform: claims.platform,
    evaluationDataNumber: claims.tcb.evaluationDataNumber,
    service: { models, engine, operatorKey },
  }
  return { facts, role, told: [`${where} binds a ${role}`, ...tell(evaluateGenuineness(claims, checks))] }
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
