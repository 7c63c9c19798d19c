import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { parseAdmissionManifest, platformId, verifyAdmissionManifest } from '../../admission/index.ts'
import { parseAdmissionTrust } from '../../admission/trust.ts'
import type { Trust } from '../../attestation/index.ts'
import { fromUtf8, parseDocument, Shape, sha256Digest } from '../../bytes/index.ts'
import { epochFilesAt } from '../../client/epoch-files.ts'
import { logFilesAt, logViewsAt } from '../../client/inclusion/log-files.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { maxFraudProofLength, parseFraudProof, verifyFraudProof } from '../../fraud/index.ts'
import { type GetLogFile, parseCheckpoint, parseNote } from '../../log/index.ts'
import type { Policy } from '../../policy/index.ts'
import { epochLogFromJson } from '../../scoring/epoch/documents.ts'
import { type EpochContext, type EpochVerdict, type ReadFile, rosterOf, scoresToJson, verifyEpoch } from '../../scoring/index.ts'
import { type Command, command, type Given, type Options, one, shared } from '../terminal/command.ts'
import { readOptionalPolicy, readText, readTrust } from '../terminal/files.ts'
import { checkLines, writeJson, writeLines } from '../terminal/print.ts'

const options = {
  trust: {
    type: 'string',
    value: 'FILE',
    help: 'whose scoring policies count: {"network", "keys", "threshold", "minimum_version"}; without it that is not judged',
  },
  manifest: {
    type: 'string',
    value: 'FILE',
    help: 'the admission manifest in force, under --trust: whose operators and machines take part; without it that is not judged',
  },
  policy: { ...shared.policy, help: 'whose enclaves count: fraud proofs are verified under it; without it they are not' },
  release: shared.release,
  root: { ...shared.root, help: "a further root certificate for fraud proofs, such as a simulator's" },
  previous: {
    type: 'string',
    value: 'DIR|URL',
    help: 'the bundle of the epoch before, or of the last that was not left out: its state is what this one must begin from',
  },
  log: {
    type: 'string',
    value: 'URL|DIR',
    help: 'the log of the policy, or its files: whether it shows the same as the bundle, which is not judged without it',
  },
  'log-views-token-file': {
    type: 'string',
    value: 'FILE',
    help: "with --log URL: the log's credential for views; missing places of chains are told then",
  },
  json: shared.json,
} as const satisfies Options

export const epochVerify: Command = command({
  name: 'epoch verify',
  operands: 'DIR|URL',
  summary: "recompute an epoch of a network's validators from its records",
  options,
  notes: [
    'DIR or URL is the bundle (spec/epoch.md). What was not judged is listed, and the last line says so.',
    'Of a URL nothing is believed that digests and signatures do not show; redirects are not followed, and sizes and times are bounded.',
  ],
  exits: { 0: 'everything that was judged follows from the records', 1: 'something does not; the first is named' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const from = one(positionals, 'epoch bundle DIR or URL')
  const trust = values.trust === undefined ? null : await readAdmissionTrust(values.trust)
  const policy = await readOptionalPolicy(values)
  const context: EpochContext = {
    trust,
    verifyProof: policy === null ? null : proofVerifier(policy, await readTrust(values.root)),
    roster: values.manifest === undefined ? null : await readRoster(values.manifest, trust),
    previous: values.previous === undefined ? null : await sha256Digest(await filesOf(values.previous)('after.json', 1 << 28)),
    log: await logOf(values),
  }
  const verdict = await verifyEpoch(filesOf(from), context)
  if (values.json) writeJson(documentOf(verdict))
  else writeLines(linesOf(verdict))
  return verdict.verdict === 'verified' ? 0 : 1
}

async function readAdmissionTrust(path: string): Promise<EpochContext['trust']> {
  const value = parseDocument(await readText(path), { maxLength: 1 << 16, maxDepth: 4, integersOnly: true }, 'usage', '--trust')
  return parseAdmissionTrust(value, '--trust', new Shape('usage'))
}

/** Who took part: of a manifest that the trusted keys have signed. It was in force during the epoch, so that its time is not judged here. */
async function readRoster(path: string, trust: EpochContext['trust']): Promise<EpochContext['roster']> {
  if (trust === null) throw fail('usage', '--manifest: expected --trust too, which says whose manifests count')
  const text = await readText(path)
  const { manifest } = await parseAdmissionManifest(text)
  return rosterOf(await verifyAdmissionManifest(text, trust, new Date(manifest.issued * 1000)))
}

function proofVerifier(policy: Policy, trust: Trust): NonNullable<EpochContext['verifyProof']> {
  return async (text, { salt, at }) => {
    if (text.length > maxFraudProofLength) throw fail('fraud_proof_malformed', `expected at most ${maxFraudProofLength} characters`)
    const { accused } = await verifyFraudProof(parseFraudProof(text), { policy, trust, at })
    if (accused.operatorKey === null) throw fail('fraud_not_shown', 'the accused names no operator: there is nobody to convict')
    return { keyset: accused.keysetDigest, operator: accused.operatorKey, platform: await platformId(salt, accused.platform) }
  }
}

function filesOf(from: string): ReadFile {
  return /^[a-z]+:\/\//i.test(from) ? epochFilesAt(from) : readDirectory(from)
}

async function logOf({
  log,
  previous,
  'log-views-token-file': tokenFile,
}: Pick<Given<typeof options>['values'], 'log' | 'previous' | 'log-views-token-file'>): Promise<NonNullable<EpochContext['log']> | null> {
  if (log === undefined) {
    if (tokenFile !== undefined) throw fail('usage', '--log-views-token-file goes with --log')
    return null
  }
  const remote = /^[a-z]+:\/\//i.test(log)
  if (tokenFile !== undefined && !remote) throw fail('usage', '--log-views-token-file: expected --log URL, which gives views')
  const views = tokenFile === undefined ? null : logViewsAt(log, (await readText(tokenFile)).replace(/\r?\n$/, ''))
  return { get: remote ? logFilesAt(log) : filesOfLog(log), views, closedAt: previous === undefined ? null : await closedAt(filesOf(previous)) }
}

/** Size of the checkpoint that closed an epoch; null where it had no log. Its note is believed as much as the bundle that was given as the one before. */
async function closedAt(read: ReadFile): Promise<number | null> {
  try {
    const { closes } = epochLogFromJson(
      parseDocument(fromUtf8(await read('log.json', 1 << 20)), { maxLength: 1 << 20, maxDepth: 4 }, 'usage', 'log.json'),
    )
    return parseCheckpoint(parseNote(closes).text).size
  } catch (error) {
    if (error instanceof VeriteeError && (error.code === 'file_unavailable' || error.code === 'service_refused')) return null
    throw error
  }
}

/** A log's files in a directory, as a server would give them. */
function filesOfLog(directory: string): GetLogFile {
  const read = readDirectory(directory)
  return async (path) => {
    try {
      return await read(path, 1 << 20)
    } catch (error) {
      if (error instanceof VeriteeError && error.cause instanceof Error && 'code' in error.cause && error.cause.code === 'ENOENT') return null
      throw error
    }
  }
}

/** As much of a file as may be looked at: one that is longer than its manifest says is cut, and found to differ. Into one piece of memory: records are large. */
function readDirectory(directory: string): ReadFile {
  return async (path, maxBytes) => {
    try {
      const file = await open(join(directory, path))
      try {
        const bytes = new Uint8Array(Math.min((await file.stat()).size, maxBytes))
        let length = 0
        for (let read = -1; read !== 0 && length < bytes.length; length += read) read = (await file.read(bytes, length)).bytesRead
        return bytes.subarray(0, length)
      } finally {
        await file.close()
      }
    } catch (cause) {
      throw fail(
        'file_unavailable',
        `cannot read ${join(directory, path)}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`,
        cause,
      )
    }
  }
}

function documentOf({ scores, epoch, ...verdict }: EpochVerdict): object {
  return { ...verdict, epoch, scores: scores === null || epoch === null ? null : scoresToJson(epoch, scores) }
}

function linesOf({ verdict, network, epoch, checks, first, missed, scores }: EpochVerdict): string[] {
  const lines = checkLines(checks)
  if (first !== null) {
    const where = first.record === null ? first.file : `${first.file}, record ${first.record.line} of validator ${first.record.validator}`
    return [...lines, '', `REJECTED: ${where}: ${first.code}: ${first.message}`]
  }
  for (const { validator, duty, detail } of missed) lines.push(`validator ${validator} counts for nothing: ${duty}: ${detail}`)
  for (const { operator, until, grounds } of scores?.convictions ?? [])
    lines.push(`convicted: operator ${operator}, banned through epoch ${until}, for ${[...new Set(grounds.map(({ kind }) => kind))].join(', ')}`)
  const waived = checks.filter(({ status }) => status === 'waived').map(({ id }) => id)
  lines.push(
    '',
    `${verdict.toUpperCase()}: epoch ${epoch} of ${network} follows from its records${waived.length === 0 ? '' : `; NOT JUDGED: ${waived.join(', ')}`}`,
  )
  return lines
}
