import { type Json, jcs, parseDocument, Shape } from 'veritee/bytes'
import type { EngineFacts } from 'veritee/receipt'

/** How far honest answers of one engine are from their replay by another, for one model; spec/calibration.md. Decimals are strings. */
export interface Calibration {
  readonly version: 'veritee.calibration.v1'
  readonly model: { readonly sha256: string; readonly size: number }
  /** The engine that made the answers, and the one that replayed them. */
  readonly engines: { readonly there: EngineFacts; readonly here: EngineFacts }
  /** Largest margin that counts as near. */
  readonly margin: { readonly greedy: string; readonly sampled: string }
  /** Share of an answer's tokens that must be near. */
  readonly min_share: string
  /** Shorter answers are not judged. */
  readonly min_tokens: number
  /** On answers that had no part in finding the margins. */
  readonly measured: {
    readonly answers: number
    readonly tokens: number
    /** Honest answers that would have failed. */
    readonly failed: number
    readonly p0: string
    /** One-sided upper bound of 95 % (Clopper and Pearson). */
    readonly p0_upper: string
  }
  readonly created: number
}

const shape = new Shape('calibration_malformed')

/** How many of an answer's tokens are near. */
export function countNear(margins: readonly number[], greedy: boolean, { margin }: Pick<Calibration, 'margin'>): number {
  const most = Number(greedy ? margin.greedy : margin.sampled)
  return margins.filter((value) => value <= most).length
}

/** Reads a calibration file. Throws `calibration_malformed`. */
export function parseCalibration(text: string): Calibration {
  const value = parseDocument(text, { maxLength: 65_536, maxDepth: 4 }, 'calibration_malformed', 'the calibration')
  const o = shape.object(value, 'calibration', ['version', 'model', 'engines', 'margin', 'min_share', 'min_tokens', 'measured', 'created'])
  const model = shape.object(o.model, 'model', ['sha256', 'size'])
  const engines = shape.object(o.engines, 'engines', ['there', 'here'])
  const margin = shape.object(o.margin, 'margin', ['greedy', 'sampled'])
  const measured = shape.object(o.measured, 'measured', ['answers', 'tokens', 'failed', 'p0', 'p0_upper'])
  return {
    version: shape.oneOf(o.version, 'version', ['veritee.calibration.v1']),
    model: { sha256: shape.digest(model.sha256, 'model.sha256'), size: shape.integer(model.size, 'model.size') },
    engines: { there: engineFacts(engines.there, 'engines.there'), here: engineFacts(engines.here, 'engines.here') },
    margin: { greedy: decimal(margin.greedy, 'margin.greedy', 1000), sampled: decimal(margin.sampled, 'margin.sampled', 1) },
    min_share: decimal(o.min_share, 'min_share', 1),
    min_tokens: shape.integer(o.min_tokens, 'min_tokens'),
    measured: {
      answers: shape.integer(measured.answers, 'measured.answers'),
      tokens: shape.integer(measured.tokens, 'measured.tokens'),
      failed: shape.integer(measured.failed, 'measured.failed'),
      p0: decimal(measured.p0, 'measured.p0', 1),
      p0_upper: decimal(measured.p0_upper, 'measured.p0_upper', 1),
    },
    created: shape.integer(o.created, 'created'),
  }
}

export function formatCalibration(calibration: Calibration): string {
  return jcs(calibration as unknown as Json)
}

function engineFacts(value: unknown, at: string): EngineFacts {
  const o = shape.object(value, at, ['name', 'version', 'build', 'cpu_variant'])
  return {
    name: shape.string(o.name, `${at}.name`, 128),
    version: shape.string(o.version, `${at}.version`, 128),
    build: shape.digest(o.build, `${at}.build`),
    cpu_variant: shape.string(o.cpu_variant, `${at}.cpu_variant`, 64),
  }
}

/** A number as a decimal of four digits behind the point, never rounded to the smaller side. */
export function decimalUp(value: number): string {
  return (Math.ceil(value * 10_000) / 10_000).toFixed(4)
}

function decimal(value: unknown, at: string, most: number): string {
  const text = shape.string(value, at, 24)
  if (!/^(?:0|[1-9]\d{0,3})(?:\.\d{1,12})?$/.test(text) || Number(text) > most) throw shape.refuse(at, `a decimal from 0 to ${most}`)
  return text
}
