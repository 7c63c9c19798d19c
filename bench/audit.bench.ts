// Full offline audits without replay of whole exchanges behind a controller (`veritee audit`, and the worker's receipt in a witnessed log), against the bare signature
// verifications that they contain: CPU time of one process, in alternating rounds, so that the ratios hold on a busy machine too.
import { collateralToJson, createVerifierCache, type VerifierCache } from 'veritee/attestation'
import { auditViewOf, logEntry, verifyTlogProof } from 'veritee/log'
import { evaluateBundle, parseBundle, verifyBundle } from 'veritee/receipt'
import { ReceiptChains } from '../packages/veritee/src/bin/evidence/receipt-chains.ts'
import { policyFor } from '../packages/veritee/test/bundle/service.ts'
import { judgedAt, machine } from '../packages/veritee/test/receipt/enclaves.ts'
import { type Floors, floorsOf } from './attestation/floor.ts'
import { type KeptAudit, type KeptAudits, keepAudits, verifySignaturesOf } from './audit/kept.ts'
import { perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const exchanges = 24
const wanted = { policy: policyFor(), role: 'controller' } as const

export async function run(): Promise<Figure[]> {
  const kept = await keepAudits(exchanges)
  const { root, collateral } = await machine()
  const evidence = { name: '', collateral: collateralToJson(collateral), root, at: judgedAt, forPeers: false }
  const [first] = kept.audits as [KeptAudit, ...KeptAudit[]]
  const floors = kept.audits.map(({ quotes }) => quotes.map((quote) => floorsOf({ ...evidence, quotes: [quote], other: quote }, quote)))
  const warm = createVerifierCache()
  const trust = { roots: [root] } as const
  for (const one of kept.audits) await audit(one, kept, trust, warm)
  // Both quotes are of one machine: what they share is one signature each.
  const floor = (name: string, column: 'uncached' | 'quoteOnly') => ({
    name,
    operations: kept.audits.map((one, i) => (): void => {
      const [controller, worker] = floors[i] as [Floors, Floors]
      controller[column].operation()
      worker.quoteOnly.operation()
      verifySignaturesOf(one)
    }),
  })
  const rates = await perCpuSecond([
    floor('contained', 'uncached'),
    floor('left', 'quoteOnly'),
    { name: 'anew', operations: kept.audits.map((one) => () => audit(one, kept, trust, null)) },
    { name: 'known', operations: kept.audits.map((one) => () => audit(one, kept, trust, warm)) },
  ])
  const rate = (name: string): number => rates.get(name) ?? Number.NaN
  const [controller, worker] = floors[0] as [Floors, Floors]
  const rest = `${worker.quoteOnly.description}; ${first.signatures.length} Ed25519, 2 key imports`
  const figure = (name: string, value: number, unit: string, target: number | null = null): Figure => ({ name, value, unit, target })
  return [
    figure(`signatures that an audit contains: ${controller.uncached.description}; ${rest}`, rate('contained'), '/CPU s'),
    figure(`of these, what is left with a cache: ${controller.quoteOnly.description}; ${rest}`, rate('left'), '/CPU s'),
    figure('audits with one cache', rate('known'), '/CPU s'),
    figure('  share of the signatures that they contain', rate('known') / rate('contained'), 'ratio', 0.5),
    figure('  share of the signatures that are left', rate('known') / rate('left'), 'ratio'),
    figure('audits without a cache', rate('anew'), '/CPU s'),
    figure('  share of the signatures that they contain', rate('anew') / rate('contained'), 'ratio'),
  ]
}

/** From texts, as they are kept: evidence of both, TCB, keys, policy, both receipts over the bytes, their chains, and the log. Throws where anything is not accepted. */
async function audit(
  { bundle: text, proof }: KeptAudit,
  { log }: KeptAudits,
  trust: Parameters<typeof verifyBundle>[1],
  cache: VerifierCache | null,
): Promise<void> {
  const verified = await verifyBundle(parseBundle(text), trust, judgedAt, {}, cache === null ? {} : { cache })
  const verdict = evaluateBundle(verified, wanted, judgedAt)
  if (verdict.error !== null) throw verdict.error
  const { exchange } = verified
  const receipt = exchange?.worker?.receipt ?? null
  if (exchange === null || receipt === null) throw new TypeError('bench: expected both receipts')
  const chains = new ReceiptChains()
  for (const one of [exchange.receipt, receipt]) await chains.add(one, '')
  if (chains.conflicts.length > 0) throw new TypeError('bench: expected no conflict')
  await verifyTlogProof(proof, await logEntry(await auditViewOf(receipt, null)), log)
}
