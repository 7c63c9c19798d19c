import { decodeHex } from '#crypto'
import { type JsonLimits, parseJson } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'

/** Reads members of Intel's signed documents. Each refusal is `collateral_malformed`. */
export const shape: Shape = new Shape('collateral_malformed')

// Intel's largest are about 15 KB and seven levels deep.
const limits: JsonLimits = { maxLength: 524_288, maxDepth: 16, integersOnly: true }
const maxLevels = 256
const maxAdvisories = 256

/** What TCB info and QE identity have in common. */
export interface SignedDocument {
  readonly issueDate: Date
  readonly nextUpdate: Date
  readonly evaluationDataNumber: number
}

/** The dated status of one TCB level, before it is judged. */
export interface LevelStatus<S extends string> {
  readonly status: S
  readonly tcbDate: Date
  readonly advisories: readonly string[]
}

/** The object of a signed text. Members that are not read are allowed: Intel adds some. Throws `malformed_json`, `collateral_malformed`. */
export function readDocument(text: string, where: string): Record<string, unknown> {
  return shape.record(parseJson(text, limits), where)
}

export function readSignedDocument(document: Record<string, unknown>, where: string): SignedDocument {
  return {
    issueDate: readDate(document.issueDate, `${where}.issueDate`),
    nextUpdate: readDate(document.nextUpdate, `${where}.nextUpdate`),
    evaluationDataNumber: shape.integer(document.tcbEvaluationDataNumber, `${where}.tcbEvaluationDataNumber`, 0xffff_ffff),
  }
}

/** ISO 8601 in the one form Intel uses: whole seconds, `Z`, a date that exists. */
export function readDate(value: unknown, where: string): Date {
  const text = shape.string(value, where, 20)
  const date = text.length === 20 ? dateOf(text) : null
  if (date === null) throw shape.refuse(where, 'a date such as 2026-02-18T10:42:15Z')
  return date
}

const dateForm = '0000-00-00T00:00:00Z'

/** The date of a text as long as `dateForm`; null for other forms, and for a day or a time that does not exist. */
function dateOf(text: string): Date | null {
  for (let at = 0; at < dateForm.length; at++) {
    const expected = dateForm.charCodeAt(at)
    const found = text.charCodeAt(at)
    if (expected === 0x30 ? found < 0x30 || found > 0x39 : found !== expected) return null
  }
  const pair = (at: number): number => 10 * (text.charCodeAt(at) - 0x30) + text.charCodeAt(at + 1) - 0x30
  const year = 100 * pair(0) + pair(2)
  const month = pair(5)
  const day = pair(8)
  const hour = pair(11)
  const minute = pair(14)
  const second = pair(17)
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second))
  // What is out of range would be read as a later day, hour or minute; years below 100 as those of the last century.
  const exists = year >= 100 && date.getUTCDate() === day && date.getUTCMonth() === month - 1 && hour <= 23 && minute <= 59 && second <= 59
  return exists ? date : null
}

/** Bytes of hex of either case: Intel writes both. */
export function readHex(value: unknown, where: string, length: number): Uint8Array {
  const text = shape.string(value, where, 2 * length)
  const bytes = text.length === 2 * length ? decodeHex(text) : null
  if (bytes === null) throw shape.refuse(where, `${2 * length} hex digits`)
  return bytes
}

export function readLevelStatus<const S extends string>(level: Record<string, unknown>, where: string, statuses: readonly S[]): LevelStatus<S> {
  // Absent where there are none (P24).
  const advisories = level.advisoryIDs === undefined ? [] : shape.array(level.advisoryIDs, `${where}.advisoryIDs`, maxAdvisories)
  return {
    status: shape.oneOf(level.tcbStatus, `${where}.tcbStatus`, statuses),
    tcbDate: readDate(level.tcbDate, `${where}.tcbDate`),
    advisories: advisories.map((id, index) =>
      // Where it stands is put into words only for one that is refused: a document names hundreds.
      typeof id === 'string' && id.length <= 100 ? id : shape.string(id, `${where}.advisoryIDs[${index}]`, 100),
    ),
  }
}

/**
 * Reads an array of levels and sorts it by `compare`, highest first: the order of the text must not decide the verdict.
 * Two levels that compare equal are refused, since either could be meant.
 */
export function readLevels<T>(
  value: unknown,
  where: string,
  read: (level: Record<string, unknown>, where: string) => T,
  compare: (a: T, b: T) => number,
): readonly T[] {
  const items = shape.array(value, where, maxLevels)
  if (items.length === 0) throw shape.refuse(where, 'at least one level')
  const levels = items.map((item, index) => read(shape.record(item, `${where}[${index}]`), `${where}[${index}]`)).sort((a, b) => compare(b, a))
  levels.forEach((level, index) => {
    const above = levels[index - 1]
    if (above !== undefined && compare(above, level) === 0) throw shape.refuse(where, 'no two levels with the same security versions')
  })
  return levels
}
