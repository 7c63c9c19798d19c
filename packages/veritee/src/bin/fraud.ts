import { fail, VeriteeError } from '../errors.ts'
import { maxFraudProofLength, type ProvenFraud, parseFraudProof, verifyFraudProof } from '../fraud/index.ts'
import { one, readArgs, required } from './args.ts'
import { readBytes, readPolicy, readTime, readTrust } from './files.ts'
import { checkLines, errorOf, writeJson, writeLines } from './print.ts'

export const fraudHelp = `veritee fraud verify FILE --policy FILE [options]: check, offline, that an enclave has contradicted itself

  FILE           the proof (spec/fraud-proof.md)
  --policy FILE  whose enclaves count: the accused must be one that its section for the accused's role accepts
  --at TIME      RFC 3339 or Unix seconds (default: now); a keyset that is over by then is judged as of its end
  --root FILE    a further root certificate, such as a simulator's; such a proof stays SIMULATED
  --json

Exit codes: 0 proven, 1 not proven (nobody is convicted), 2 wrong usage or policy, 3 something needed was unavailable.
`

/** `veritee fraud verify`. */
export async function fraudCommand(args: readonly string[]): Promise<number> {
  if (args[0] !== 'verify') throw fail('usage', 'expected: veritee fraud verify FILE --policy FILE')
  const { values, positionals } = readArgs(args.slice(1), {
    policy: { type: 'string' },
    at: { type: 'string' },
    root: { type: 'string' },
    json: { type: 'boolean', default: false },
  })
  const path = one(positionals, 'fraud proof FILE')
  const policy = await readPolicy(required(values.policy, '--policy', 'a proof convicts enclaves only that you accept (spec/policy.md)'))
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
  const { role, keysetDigest, operatorKey, ppid } = accused
  return [
    ...checkLines(verdict.checks),
    '',
    `accused: ${role} ${keysetDigest}`,
    `operator: ${operatorKey ?? 'none named'}; platform: ${ppid}`,
    `what: ${kind}: ${contradiction}`,
    '',
    simulated ? 'PROVEN, SIMULATED: this says nothing about hardware' : 'PROVEN',
  ]
}
