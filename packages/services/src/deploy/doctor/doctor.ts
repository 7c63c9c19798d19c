import { cores, memory, processor } from './checks/processor.ts'
import { devices, gramine, quoting } from './checks/sgx.ts'
import { collateral, pccs, ports, store } from './checks/surroundings.ts'
import type { Check, Finding, Plan } from './finding.ts'
import type { Machine } from './machine.ts'

/** In this order: what the machine is, what is installed, what is around it. */
const checks: readonly Check[] = [processor, devices, quoting, gramine, memory, cores, pccs, collateral, ports, store]

export interface Diagnosis {
  /** Whether the processor has SGX, switched on. Without it nothing else of the list matters. */
  readonly sgx: boolean
  readonly findings: readonly Finding[]
  /** What works on this machine whatever was found. */
  readonly works: readonly string[]
}

const withoutSgx: readonly string[] = [
  'npm start: the whole flow on simulated hardware (docs/demo.md)',
  'veriteed worker, controller and broker with --tee simulate, on loopback',
  'veriteed log, witness and validator: they are no enclaves',
  'veritee verify, receipt, replay: relying parties need no SGX',
  'npm run bundle, veriteed manifest render and lint, veriteed release: making and judging enclaves needs none either',
  'veriteed model seal, veriteed model upload: a model owner needs none',
]

/** Looks at everything; nothing is changed. Each finding that is not `ok` names what mends it. */
export async function diagnose(machine: Machine, plan: Plan): Promise<Diagnosis> {
  const findings = (await Promise.all(checks.map((check) => check(machine, plan)))).flat()
  const sgx = findings.some(({ check, status }) => check === 'cpu' && status === 'ok')
  return { sgx, findings, works: sgx ? [] : withoutSgx }
}

/** At most a screen of text. */
export function diagnosisText({ sgx, findings, works }: Diagnosis): string {
  // A port that is taken is in the way of a simulated service too.
  const told = sgx ? findings : findings.filter(({ check, status }) => /^(?:cpu|kernel|port .*)$/.test(check) || status === 'ok')
  const width = Math.max(...told.map(({ check }) => check.length))
  const lines = told.flatMap(({ check, status, found, mend }) => [
    `${status.padEnd(8)} ${check.padEnd(width)}  ${found}`,
    ...(mend === null ? [] : [`${''.padEnd(10 + width)} -> ${mend}`]),
  ])
  const others = findings.length - told.length
  const summary = sgx
    ? [
        `${findings.filter(({ status }) => status === 'problem').length} problems, ${findings.filter(({ status }) => status === 'warning').length} warnings`,
      ]
    : [
        '',
        'THIS MACHINE HAS NO SGX: no enclave runs on it, and nothing on it can be proven to others.',
        `Of the rest, ${others} findings matter only with SGX (--json lists them). What works here:`,
        ...works.map((line) => `  ${line}`),
      ]
  return `${[...lines, ...summary].join('\n')}\n`
}
