import { fromHex, isHex } from '../../bytes/index.ts'
import { logFilesAt } from '../../client/inclusion/log-files.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { getInclusion, type LogTrust, parseLogTrust, parseSeen, seenText, verifyFork, verifyInclusion, verifyTlogProof } from '../../log/index.ts'
import { policyFor, type Role } from '../../policy/index.ts'
import { keysetDigest, parseReceipt, parseReport, verifyReceipt } from '../../receipt/index.ts'
import { type Command, command, none, type Options, one, policyWhy, required, shared } from '../terminal/command.ts'
import { readBytes, readPolicy, readText } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { errorOf, writeJson, writeLines } from '../terminal/print.ts'

const common = {
  policy: { ...shared.policy, help: 'a policy of which a section names a log, its witnesses and their quorum (spec/policy.md)' },
  role: { ...shared.serviceRole, default: 'worker', help: 'section of the policy' },
  json: shared.json,
} as const satisfies Options

const inclusionOptions = {
  receipt: { type: 'string', value: 'FILE', help: 'the receipt' },
  report: { type: 'string', value: 'FILE', help: 'a report of the service that signed it: its keys, not judged here' },
  'receipt-key': { type: 'string', value: 'HEX', help: 'X-Veritee-Receipt-Key of the answer; none for a receipt without one' },
  log: { type: 'string', value: 'URL', help: 'the log' },
  seen: { type: 'string', value: 'FILE', help: 'the largest checkpoint seen, read and written: what is shown now must continue it' },
  ...common,
} as const satisfies Options

const verifyOptions = { entry: { type: 'string', value: 'FILE', help: 'the bytes that were logged' }, ...common } as const satisfies Options

export const logInclusion: Command = command({
  name: 'log inclusion',
  summary: 'check that a receipt is in its transparency log, before a quorum of witnesses',
  options: inclusionOptions,
  notes: [
    '--receipt, --report, --log and --policy are required. Whether the service is one you accept, veritee receipt says.',
    'Without --seen nobody notices a log that has changed its past.',
  ],
  exits: { 3: 'something needed was unavailable, such as an entry that is not there yet' },
  run: ({ values, positionals }) => {
    none(positionals)
    return concluded(values.json, () => inclusion(values))
  },
})

export const logVerify: Command = command({
  name: 'log verify',
  operands: 'PROOF',
  summary: 'verify a tlog-proof of the bytes of a file, offline',
  options: verifyOptions,
  notes: ['--entry and --policy are required.'],
  run: ({ values, positionals }) =>
    concluded(values.json, async () => {
      const path = one(positionals, 'PROOF file')
      const trust = await trustOf(values)
      const entry = await readBytes(required(values.entry, '--entry', 'a proof is of the bytes of an entry'))
      return told(await verifyTlogProof(await readText(path), entry, trust))
    }),
})

export const logFork: Command = command({
  name: 'log fork',
  operands: 'EVIDENCE',
  summary: 'check whether two checkpoints convict a log of showing two histories',
  options: common,
  notes: ['EVIDENCE is what a witness keeps (spec/log.md). --policy is required.'],
  exits: { 0: 'convicted', 1: 'not convicted' },
  run: ({ values, positionals }) =>
    concluded(values.json, async () => {
      const { origin, size } = await verifyFork(await readText(one(positionals, 'EVIDENCE file')), await trustOf(values))
      return { log: origin, convicted: `signed two roots for the size ${size}` }
    }),
})

async function concluded(json: boolean, judge: () => Promise<object>): Promise<number> {
  try {
    const result = await judge()
    if (json) writeJson({ verdict: 'accepted', ...result, error: null })
    else
      writeLines([
        ...Object.entries(result).map(([label, value]) => `${label}: ${Array.isArray(value) ? value.join(', ') : String(value)}`),
        '',
        'ACCEPTED',
      ])
    return 0
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration' || error.kind === 'unavailable') throw error
    if (json) writeJson({ verdict: 'rejected', error: errorOf(error) })
    else writeLines([`REJECTED: ${error.code}: ${errorOf(error).message}`])
    return 1
  }
}

interface Asked {
  readonly policy?: string | undefined
  readonly role: string
}

interface AskedInclusion extends Asked {
  readonly receipt?: string | undefined
  readonly report?: string | undefined
  readonly 'receipt-key'?: string | undefined
  readonly log?: string | undefined
  readonly seen?: string | undefined
}

async function inclusion(values: AskedInclusion): Promise<object> {
  const trust = await trustOf(values)
  const url = required(values.log, '--log', 'the log must be asked for the proof')
  if (!/^https?:\/\/[^\s?#@]+$/.test(url)) throw fail('usage', '--log: expected the URL of the log')
  const receiptKey = values['receipt-key'] ?? null
  if (receiptKey !== null && !isHex(receiptKey, 32)) throw fail('usage', '--receipt-key: expected 64 lower-case hex digits')
  const parsed = parseReceipt(await readText(required(values.receipt, '--receipt', 'the receipt whose entry is looked for')))
  const { keyset } = parseReport(await readText(required(values.report, '--report', 'it gives the keys that signed the receipt')))
  const receipt = await verifyReceipt(parsed, keyset, await keysetDigest(keyset), { requestHash: null, responseHash: null, clientNonce: null })
  const seen = await readSeen(values.seen, trust)
  const key = receiptKey === null ? null : fromHex(receiptKey)
  const offered = await getInclusion(receipt, key, logFilesAt(url), seen)
  const logged = await verifyInclusion(receipt, key, offered, trust, seen)
  if (values.seen !== undefined) await writeOutput(values.seen, seenText(logged.seen))
  return {
    ...told(logged),
    history: values.seen === undefined ? 'NOT COMPARED: pass --seen FILE' : seen === null ? 'begins here' : 'continues what was seen',
  }
}

function told({ index, checkpoint }: Awaited<ReturnType<typeof verifyTlogProof>> | Awaited<ReturnType<typeof verifyInclusion>>): object {
  const { origin, size, cosignatures, witnessedAt } = checkpoint
  return { log: origin, index, size, witnesses: cosignatures.map(({ name }) => name), witnessed: new Date(witnessedAt * 1000).toISOString() }
}

async function trustOf({ policy, role }: Asked): Promise<LogTrust> {
  const { log } = policyFor(await readPolicy(required(policy, '--policy', policyWhy)), role as Role)
  if (log === 'any') throw fail('usage', `--policy: expected a section ${role} that names a log, found "any"`)
  return parseLogTrust(log)
}

async function readSeen(path: string | undefined, trust: LogTrust): Promise<Awaited<ReturnType<typeof parseSeen>> | null> {
  if (path === undefined) return null
  let text: string
  try {
    text = await readText(path)
  } catch (error) {
    const cause = error instanceof VeriteeError ? error.cause : null
    // The first time there is none.
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
    throw error
  }
  return parseSeen(text, trust)
}
