import type { Check } from '../../attestation/index.ts'
import { type ErrorCode, errorTexts, kindOf, type VeriteeError } from '../../errors.ts'
import type { Verdict } from '../../policy/index.ts'
import { nextStep } from './advice.ts'

/** What stands before a check. */
export const marks = { pass: '✓', fail: '✗', waived: '–' } as const

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
  return { code: error.code, message: `${errorTexts[error.code]}: ${error.message}` }
}

/** What others wrote is data: control characters other than tabs and new lines never reach the terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g, '')
}

/** A text as one line that no terminal takes for a command. */
export function oneLine(text: string): string {
  return printable(text.replace(/\s+/g, ' '))
}

export function writeJson(value: object): void {
  // JSON.stringify leaves DEL and the C1 controls as they are.
  const text = JSON.stringify(value, null, 2).replace(/[\u007f-\u009f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)
  process.stdout.write(`${text}\n`)
}

export function writeLines(lines: readonly string[]): void {
  const shown = lines.map(printable)
  process.stdout.write(`${(coloured(process.stdout) ? shown.map(colour) : shown).join('\n')}\n`)
}

/** Colours are for people at a terminal who did not say no (https://no-color.org). */
function coloured(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb'
}

const colours = [
  [/^([│├└─ ]*)(✓)/, '32'],
  [/^([│├└─ ]*)(✗)/, '31'],
  [/^()((?:REJECTED|INCOMPLETE)\b)/, '31;1'],
  [/^()(ACCEPTED, SIMULATED|SIMULATED|warning)/, '33;1'],
  [/^()(ACCEPTED|GENUINE HARDWARE)/, '32;1'],
] as const

/** The first word that says how it went. */
function colour(line: string): string {
  for (const [pattern, code] of colours) if (pattern.test(line)) return line.replace(pattern, `$1\u001b[${code}m$2\u001b[0m`)
  return line
}

/** Lines beside the result: each stays one line, whatever is in it. */
export function writeNotes(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${oneLine(line)}\n`)
}

/** 1 for rejections, 2 for usage and policies, 3 for what was unavailable. */
export const exitCodes = { untrusted: 1, rejected: 1, configuration: 2, unavailable: 3 } as const

/** The exit code of a verdict, by who must act on its error. */
export function exitOf(error: { readonly code: ErrorCode } | null): number {
  return error === null ? 0 : exitCodes[kindOf(error.code)]
}
