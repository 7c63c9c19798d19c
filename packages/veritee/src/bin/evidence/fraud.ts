import { VeriteeError } from '../../errors.ts'
import { maxFraudProofLength, type ProvenFraud, parseFraudProof, verifyFraudProof } from '../../fraud/index.ts'
import { type Command, command, type Given, type Options, one, required, shared } from '../terminal/command.ts'
import { readBytes, readPolicy, readTime, readTrust } from '../terminal/files.ts'
import { checkLines, errorOf, writeJson, writeLines } from '../terminal/print.ts'

const options = {
  policy: { ...shared.policy, help: "whose enclaves count: the accused must be one that its section for the accused's role accepts" },
  release: shared.release,
  at: { ...shared.at, help: 'RFC 3339 or Unix seconds (default: now); a keyset that is over by then is judged as of its end' },
  root: { ...shared.root, help: "a further root certificate, such as a simulator's; such a proof stays SIMULATED" },
  json: shared.json,
} as const satisfies Options

export const fraudVerify: Command = command({
  name: 'fraud verify',
  operands: 'FILE',
  summary: 'check, offline, that an enclave has contradicted itself, or broken its promise to a log',
  options,
  notes: ['FILE is the proof (spec/fraud-proof.md). --policy is required; a promise is judged where its section names the log.'],
  exits: { 0: 'proven', 1: 'not proven (nobody is convicted)' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const path = one(positionals, 'fraud proof FILE')
  const policy = await readPolicy(
    required(values.policy, '--policy', 'a proof convicts enclaves only that you accept (spec/policy.md)'),
    values.release,
  )
  const context = { policy, trust: await readTrust(values.root), at: readTime(values.at) }
  const bytes = await readBytes(path, maxFraudProofLength)
  try {
    const proven = await verifyFraudProof(parseFraudProof(new TextDecoder('utf-8', { fatal: true }).decode(bytes)), context)
    if (values.json) writeJson(documentOf(proven))
    else writeLines(linesOf(proven))
    return 0
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    const { code, message } = errorOf(error)
    if (values.json) writeJson({ proven: false, error: { code, message } })
    else writeLines([`NOT PROVEN: ${code}: ${message}`, 'Nobody is convicted by this file.'])
    return 1
  }
}

function documentOf({ kind, contradiction, accused, simulated, receipts, verdict, judgedAt }: ProvenFraud): object {
  return { proven: true, kind, contradiction, accused, simulated, receipts, judgedAt: Math.floor(judgedAt.getTime() / 1000), checks: verdict.checks }
}

function linesOf({ kind, contradiction, accused, simulated, verdict }: ProvenFraud): string[] {
  const { role, keysetDigest, operatorKey, namedOperator, platform } = accused
  const unsigned = namedOperator === null ? 'none named' : `none (the keyset names ${namedOperator}, whose signature over it is not in the report)`
  return [
    ...checkLines(verdict.checks),
    '',
    `accused: ${role} ${keysetDigest}`,
    `operator: ${operatorKey ?? unsigned}; platform: ${platform.ppid}`,
    `what: ${kind}: ${contradiction}`,
    '',
    simulated ? 'PROVEN, SIMULATED: this says nothing about hardware' : 'PROVEN',
  ]
}
