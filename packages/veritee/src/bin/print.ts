import type { Check } from '../attestation/index.ts'
import { errorTable, type VeriteeError } from '../errors.ts'
import type { Verdict } from '../policy/index.ts'
import { nextStep } from './advice.ts'

const marks = { pass: '✓', fail: '✗', waived: '–' } as const

export function checkLines(checks: readonly Check[]): string[] {
  const width = Math.max(0, ...checks.map(({ id }) => id.length))
  return checks.map(({ id, status, detail }) => `${marks[status]} ${id.padEnd(width)}  ${oneLine(detail)}`)
}

/** A verdict as a person reads it: the checks, what is waived or warned of, and the conclusion last. */
export function verdictLines(verdict: Verdict): string[] {
  const lines = checkLines(verdict.checks)
  if (verdict.tcb !== null) lines.push('', tcbLine(verdict.tcb))
  for (const warning of verdict.warnings) lines.push(`warning: ${oneLine(warning)}`)
  lines.push('')
  if (verdict.error !== null) {
    const next = nextStep(verdict.error.code)
    return [...lines, `REJECTED: ${verdict.error.code}: ${oneLine(verdict.error.message)}`, ...(next === null ? [] : [`next: ${next}`])]
  }
  if (verdict.scope === 'genuineness') return [...lines, 'GENUINE HARDWARE; THE CODE IN IT WAS NOT JUDGED']
  return [...lines, verdict.simulated ? 'ACCEPTED, SIMULATED: this proves nothing about hardware' : 'ACCEPTED']
}

function tcbLine({ status, tcbDate, evaluationDataNumber, advisories }: NonNullable<Verdict['tcb']>): string {
  return `TCB ${status}, level of ${tcbDate ?? 'no date'}, evaluation data number ${evaluationDataNumber}${advisories.length === 0 ? '' : `, advisories ${advisories.join(', ')}`}`
}

/** The verdict over evidence that did not verify: the checks up to the one that failed. */
export function failedVerdict(error: VeriteeError, scope: Verdict['scope']): Verdict {
  const checks: readonly Check[] = 'checks' in error && Array.isArray(error.checks) ? (error.checks as Check[]) : []
  return { verdict: 'rejected', scope, simulated: false, tcb: null, checks, warnings: [], error: errorOf(error) }
}

/** One line: what the code means, what was expected and found. */
export function errorOf(error: VeriteeError): { code: VeriteeError['code']; message: string } {
  return { code: error.code, message: `${errorTable[error.code][1]}: ${error.message}` }
}

/** What others wrote is data: control characters other than tabs and new lines never reach the terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g, '')
}

function oneLine(text: string): string {
  return printable(text.replace(/\s+/g, ' '))
}

export function writeJson(value: object): void {
  // JSON.stringify leaves DEL and the C1 controls as they are.
  const text = JSON.stringify(value, null, 2).replace(/[\u007f-\u009f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)
  process.stdout.write(`${text}\n`)
}

export function writeLines(lines: readonly string[]): void {
  process.stdout.write(`${lines.map(printable).join('\n')}\n`)
}

/** Lines beside the result: each stays one line, whatever is in it. */
export function writeNotes(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${oneLine(line)}\n`)
}

/** 1 for rejections, 2 for usage and policies, 3 for what was unavailable. */
export const exitCodes = { untrusted: 1, rejected: 1, configuration: 2, unavailable: 3 } as const
