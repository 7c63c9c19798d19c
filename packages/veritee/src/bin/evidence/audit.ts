import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createVerifierCache, type Trust, type VerifierCache } from '../../attestation/index.ts'
import { fail, VeriteeError } from '../../errors.ts'
import type { Verdict } from '../../policy/index.ts'
import { type Bundle, type BundlePolicy, evaluateBundle, maxBundleLength, parseBundle, verifyBundle } from '../../receipt/index.ts'
import { type Command, command, type Given, type Options, one, policyWhy, required, shared } from '../terminal/command.ts'
import { readPolicy, readText, readTime, readTrust } from '../terminal/files.ts'
import { exitCodes, exitOf, failedVerdict, marks, oneLine, verdictLines, writeJson, writeLines } from '../terminal/print.ts'
import { bundlePolicy } from './bundle.ts'
import { readDrawn } from './drawn.ts'
import { type Conflict, ReceiptChains } from './receipt-chains.ts'

const options = {
  policy: shared.policy,
  release: shared.release,
  role: shared.role,
  root: shared.root,
  at: {
    ...shared.at,
    help: "RFC 3339 or Unix seconds (default: now); or served: for each bundle the time that its receipt states, which is the service's word",
  },
  json: { ...shared.json, help: 'every verdict in one JSON document' },
} as const satisfies Options

export const audit: Command = command({
  name: 'audit',
  operands: 'BUNDLE|DIR',
  summary: 'judge kept evidence bundles, one or all of a folder, and compare their receipts with each other',
  options,
  notes: [
    'In a DIR every file whose name ends in .bundle or .bundle.json is judged; folders in it are not entered. --policy is required.',
    'Where x.drawn.json lies beside x.bundle, the nonces in it are taken for yours, and what they prove of freshness is told.',
    'Of accepted bundles the receipts of one keyset are compared: two with one number, or two after one predecessor, are signed proof that the service lied to somebody.',
  ],
  exits: {
    0: 'all accepted, and no two receipts contradict each other',
    1: 'something was rejected',
    3: 'something needed was unavailable, or there is no bundle',
  },
  run,
})

/** One bundle, judged. */
interface Audited {
  readonly path: string
  readonly at: Date | null
  readonly verdict: Verdict
  readonly receipt: string | null
  readonly model: string | null
}

interface Judging {
  readonly wanted: BundlePolicy
  readonly trust: Trust
  readonly at: Date | 'served'
  /** What bundles of the same machines share is verified once. */
  readonly cache: VerifierCache
}

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const path = one(positionals, 'BUNDLE or DIR')
  const policy = await readPolicy(required(values.policy, '--policy', policyWhy), values.release)
  const wanted = bundlePolicy(policy, values.role ?? (policy.roles.controller === undefined ? undefined : 'controller'))
  const judging: Judging = {
    wanted,
    trust: await readTrust(values.root),
    at: values.at === 'served' ? 'served' : readTime(values.at),
    cache: createVerifierCache(),
  }
  const paths = await bundlesIn(path)
  const single = paths[0] === path
  const chains = new ReceiptChains()
  const audited: Audited[] = []
  for (const each of paths) {
    const found = await judge(each, judging, chains)
    audited.push(found)
    if (!values.json) writeLines(single ? verdictLines(found.verdict) : [line(found)])
  }
  const { conflicts } = chains
  if (values.json) writeJson({ ...summary(audited, conflicts), bundles: audited.map(({ verdict, ...rest }) => ({ ...rest, ...verdict })), conflicts })
  else if (!single) writeLines(['', ...conflicts.map(conflictLine), totals(audited)])
  return conflicts.length > 0 ? exitCodes.rejected : worst(audited)
}

async function bundlesIn(path: string): Promise<string[]> {
  let directory: boolean
  try {
    directory = (await stat(path)).isDirectory()
  } catch (cause) {
    throw fail('file_unavailable', `cannot read ${path}`, cause)
  }
  if (!directory) return [path]
  const names = (await readdir(path, { withFileTypes: true })).filter((entry) => entry.isFile() && /\.bundle(?:\.json)?$/.test(entry.name))
  if (names.length === 0) throw fail('file_unavailable', `${path}: expected files that end in .bundle or .bundle.json, found none`)
  return names.map(({ name }) => join(path, name)).sort()
}

async function judge(path: string, { wanted, trust, at, cache }: Judging, chains: ReceiptChains): Promise<Audited> {
  let bundle: Bundle | null = null
  let when: Date | null = null
  const facts = (): Omit<Audited, 'verdict'> => ({
    path,
    at: when,
    receipt: bundle?.exchange?.receipt.receiptId ?? null,
    model: modelOf(bundle),
  })
  try {
    const text = await readText(path, maxBundleLength * 3)
    bundle = parseBundle(text)
    when = at === 'served' ? servedAt(bundle) : at
    const verified = await verifyBundle(bundle, trust, when, await readDrawn(path), { cache })
    const verdict = evaluateBundle(verified, wanted, when)
    if (verdict.error === null && bundle.exchange !== null) {
      await chains.add(bundle.exchange.receipt, path)
      if (verified.exchange?.worker?.receipt) await chains.add(verified.exchange.worker.receipt, path)
    }
    return { ...facts(), verdict }
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    return { ...facts(), verdict: failedVerdict(error, 'policy') }
  }
}

function servedAt({ exchange }: Bundle): Date {
  if (exchange === null) throw fail('bundle_malformed', '--at served: expected a bundle with a receipt, which states its time')
  return new Date(exchange.receipt.servedAt * 1000)
}

function modelOf(bundle: Bundle | null): string | null {
  const receipt = bundle?.exchange?.workerReceipt ?? bundle?.exchange?.receipt
  const model = receipt?.events.find((event) => event.type === 'veritee.model')
  return model?.type === 'veritee.model' ? model.name : null
}

function line({ path, verdict, receipt, model }: Audited): string {
  const said =
    verdict.error === null ? `${verdict.simulated ? 'SIMULATED, ' : ''}${model ?? 'no exchange'}` : `${verdict.error.code}: ${verdict.error.message}`
  return oneLine(`${verdict.error === null ? marks.pass : marks.fail} ${path} ${receipt ?? 'no receipt'} ${said}`)
}

function summary(
  audited: readonly Audited[],
  conflicts: readonly Conflict[],
): { verdict: string; accepted: number; rejected: number; simulated: number } {
  const accepted = audited.filter(({ verdict }) => verdict.error === null)
  return {
    verdict: accepted.length === audited.length && conflicts.length === 0 ? 'accepted' : 'rejected',
    accepted: accepted.length,
    rejected: audited.length - accepted.length,
    simulated: accepted.filter(({ verdict }) => verdict.simulated).length,
  }
}

function totals(audited: readonly Audited[]): string {
  const { accepted, rejected, simulated } = summary(audited, [])
  const word = rejected > 0 ? 'REJECTED' : simulated > 0 ? 'ACCEPTED, SIMULATED' : 'ACCEPTED'
  return `${word}: ${accepted} of ${accepted + rejected} bundles accepted${simulated > 0 ? `, ${simulated} of them SIMULATED: this proves nothing about hardware` : ''}`
}

function conflictLine({ kind, keysetDigest, receipts, paths }: Conflict): string {
  return `REJECTED: two receipts ${kind} of keyset ${keysetDigest}: ${receipts.join(' and ')}, in ${paths.join(' and ')}`
}

/** What is rejected comes before what could not be read. */
function worst(audited: readonly Audited[]): number {
  const codes = audited.map(({ verdict }) => exitOf(verdict.error))
  return codes.includes(exitCodes.rejected) ? exitCodes.rejected : Math.max(0, ...codes)
}
