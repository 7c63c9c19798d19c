import { parseCollateral, parseQuote, type Quote, verifyQuote } from '../attestation/index.ts'
import { fail, VeriteeError } from '../errors.ts'
import { evaluate, evaluateGenuineness, type Policy, policyFor, type Role, roles, type Verdict } from '../policy/index.ts'
import { one, readArgs, required } from './args.ts'
import { readPolicy, readQuote, readText, readTime, readTrust } from './files.ts'
import { describeQuote } from './inspect.ts'
import { failedVerdict, verdictLines, writeJson, writeLines } from './print.ts'

export const verifyHelp = `veritee verify QUOTE --collateral FILE [options]: judge a quote, offline

  QUOTE               a file with the raw quote (or the same as hex)
  --collateral FILE   tcb_info, qe_identity, CRLs and issuer chains in the common JSON form
  --policy FILE       what you accept; without it only genuineness of the hardware is judged, not the code in it
  --role ROLE         section of the policy, where it has several: ${roles.join(', ')}
  --at TIME           RFC 3339 or Unix seconds (default: now)
  --root FILE         a further root certificate, such as a simulator's; such evidence stays SIMULATED
  --json              the verdict as JSON (spec/verdict.md)

Exit codes: 0 accepted, 1 rejected, 2 wrong usage or policy, 3 something needed was unavailable.
`

export async function verifyCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArgs(args, {
    collateral: { type: 'string' },
    policy: { type: 'string' },
    role: { type: 'string' },
    at: { type: 'string' },
    root: { type: 'string' },
    json: { type: 'boolean', default: false },
  })
  const path = one(positionals, 'QUOTE file')
  const collateralPath = required(values.collateral, '--collateral', "a quote cannot be judged without the vendor's signed data")
  if (values.role !== undefined && values.policy === undefined) throw fail('usage', '--role names a section of a policy: pass --policy too')
  const at = readTime(values.at)
  const trust = await readTrust(values.root)
  const policy = values.policy === undefined ? null : sectionOf(await readPolicy(values.policy), values.role)
  const bytes = await readQuote(path)
  const collateralText = await readText(collateralPath)
  const scope = policy === null ? 'genuineness' : 'policy'
  let quote: Quote | null = null
  let verdict: Verdict
  try {
    quote = parseQuote(bytes)
    const { claims, checks } = await verifyQuote(quote, parseCollateral(collateralText), trust, at)
    verdict = policy === null ? evaluateGenuineness(claims, checks) : evaluate(claims, policy, at, checks)
  } catch (error) {
    // A policy that demands what cannot be checked is the caller's to mend, not a fault of the evidence.
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    verdict = failedVerdict(error, scope)
  }
  if (values.json) writeJson({ ...verdict, quote: quote === null ? null : describeQuote(quote) })
  else writeLines(verdictLines(verdict))
  return verdict.verdict === 'accepted' ? 0 : 1
}

function sectionOf(policy: Policy, role: string | undefined): ReturnType<typeof policyFor> {
  const present = roles.filter((name) => policy.roles[name] !== undefined)
  if (role === undefined) {
    const [only] = present
    if (only === undefined || present.length !== 1) throw fail('usage', `--role: the policy has sections for ${present.join(', ')}; say which one`)
    return policyFor(policy, only)
  }
  if (!roles.includes(role as Role)) throw fail('usage', `--role: expected one of ${roles.join(', ')}, found ${JSON.stringify(role)}`)
  return policyFor(policy, role as Role)
}
