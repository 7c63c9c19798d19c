import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import {
  type Calibration,
  calibrate,
  type ExchangeRecord,
  formatCalibration,
  openReplayModel,
  parseCalibration,
  parseRecord,
  type ReplayModel,
  type ReplayReport,
  replayFile,
  replayWith,
} from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { withEvent } from './worker.ts'

// Two CPU variants of one machine, one process each: another machine is not shown by this.
let model: ReplayModel
let records: ExchangeRecord[]
let calibration: Calibration
beforeAll(async () => {
  model = await openReplayModel(demoPath, 1024)
  const other = model.facts.cpu_variant === 'sse42' ? 'haswell' : 'sse42'
  records = (await answersOf(other, 60))
    .split('\n')
    .filter((line) => line !== '')
    .map(parseRecord)
  ;({ calibration } = await calibrate(records, model, 1_800_000_000))
}, 180_000)
afterAll(() => model.engine.dispose())

function answersOf(variant: string, count: number): Promise<string> {
  const script = fileURLToPath(new URL('../../../../bench/replay/answers-of-variant.ts', import.meta.url))
  const args = ['--conditions=@veritee/source', script, variant, demoPath, String(count), '5']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code) => (code === 0 ? resolve(text) : reject(new Error(`the other variant ended with ${code}`))))
  })
}

describe('answers of another CPU variant of this machine', () => {
  test('S23: level 1 is inconclusive, and says which variants', async () => {
    const report = await replayWith(records[0] as ExchangeRecord, model)
    expect(report).toMatchObject({ verdict: 'inconclusive', level: null, reason: 'engine_differs' })
    expect(report.checks.at(-1)?.detail).toContain(`cpu_variant: ${report.engines?.receipt.cpu_variant} there, ${model.facts.cpu_variant} here`)
  })

  test('level 2 passes for nearly all of them, half of which had no part in the calibration', async () => {
    const judged: ReplayReport[] = []
    for (const record of records) {
      const report = await replayWith(record, model, calibration)
      if (report.verdict === 'inconclusive') expect(report.reason).toBe('tokens_unknown')
      else judged.push(report)
    }
    expect(judged.length).toBeGreaterThan(0.8 * records.length)
    const passed = judged.filter(({ verdict, level }) => verdict === 'pass' && level === 2)
    expect(passed.length).toBeGreaterThan(0.9 * judged.length)
    for (const { tokens } of passed) expect(tokens?.near).toBeGreaterThanOrEqual(0.95 * (tokens?.total ?? 0))
    // Bits do differ: were all tokens equal, this would show nothing.
    expect(judged.some(({ tokens }) => tokens !== null && tokens.equal < tokens.total)).toBe(true)
  })

  test('S18: p0 and its upper bound are measured on other answers than the margins', () => {
    const { answers, failed, p0, p0_upper: upper } = calibration.measured
    expect(answers).toBeGreaterThanOrEqual(18)
    expect(Number(p0)).toBeCloseTo(failed / answers, 3)
    // So few answers cannot show a rate below one in a thousand, whatever comes out.
    expect(Number(upper)).toBeGreaterThan(1e-3)
  })

  test('level 2 fails another seed for nearly all answers that are hot enough for it to matter', async () => {
    const hot = records.filter(({ receipt }) => receipt.includes('"temperature":"1.3"'))
    const verdicts: string[] = []
    for (const record of hot) {
      const seed = await replayWith(
        withEvent(record, 'veritee.inference', (event) => ({ ...event, seed: '11'.repeat(16) })),
        model,
        calibration,
      )
      if (seed.reason === 'tokens_unknown') continue
      if (seed.verdict === 'fail') expect(seed).toMatchObject({ level: 2, reason: 'too_far' })
      verdicts.push(seed.verdict)
    }
    // A short answer can be one that this model gives with most seeds.
    expect(verdicts.length).toBeGreaterThan(2)
    expect(verdicts.filter((verdict) => verdict === 'fail').length).toBeGreaterThan(0.7 * verdicts.length)
  })

  test('level 2 without the tokens, or with few of them, shows nothing', async () => {
    const record = records[1] as ExchangeRecord
    expect(await replayWith({ ...record, receiptKey: null }, model, calibration)).toMatchObject({ verdict: 'inconclusive', reason: 'tokens_unknown' })
    const long = { ...calibration, min_tokens: 1000 }
    expect(await replayWith(record, model, long)).toMatchObject({ verdict: 'inconclusive', reason: 'too_few_tokens' })
  })

  test('a calibration for other engines or weights does not serve', async () => {
    const record = records[1] as ExchangeRecord
    const { engines } = calibration
    for (const other of [
      { ...calibration, engines: { ...engines, there: engines.here } },
      { ...calibration, engines: { ...engines, here: engines.there } },
      { ...calibration, model: { ...calibration.model, sha256: `sha256:${'0'.repeat(64)}` } },
    ])
      expect(await replayWith(record, model, other)).toMatchObject({ verdict: 'inconclusive', reason: 'calibration_differs' })
  })
})

test('a file with its own context gives the same report', async () => {
  const record = records[3] as ExchangeRecord
  expect(await replayFile(record, demoPath, calibration)).toEqual(await replayWith(record, model, calibration))
})

describe('calibration files', () => {
  test('are the same after they were written and read', () => {
    const text = formatCalibration(calibration)
    expect(parseCalibration(text)).toEqual(calibration)
    expect(complaints('calibration', JSON.parse(text))).toEqual([])
  })

  test.for([
    ['no JSON', () => '{'],
    ['a member more', (text: string) => text.replace('{"created"', '{"x":1,"created"')],
    ['a member less', (text: string) => text.replace('"min_tokens":32,', '')],
    ['a margin that is a number', (text: string) => text.replace(/"sampled":"([\d.]+)"/, '"sampled":0.1')],
    ['a margin above 1', (text: string) => text.replace(/"sampled":"[\d.]+"/, '"sampled":"1.1"')],
    ['a share with an exponent', (text: string) => text.replace('"min_share":"0.9500"', '"min_share":"1e-1"')],
    ['a negative share', (text: string) => text.replace('"min_share":"0.9500"', '"min_share":"-0.5"')],
    ['another version', (text: string) => text.replace('veritee.calibration.v1', 'veritee.calibration.v2')],
    ['a hash that is none', (text: string) => text.replace(/"sha256":"[^"]+"/, '"sha256":"x"')],
    ['64 KiB of white space', (text: string) => text + ' '.repeat(65_536)],
  ] as const)('%s is calibration_malformed', ([, edit]) => {
    expect(() => parseCalibration(edit(formatCalibration(calibration)))).toThrow(expect.objectContaining({ code: 'calibration_malformed' }))
  })

  test('too few answers, none that can be replayed, or answers of two engines are calibration_insufficient', async () => {
    const insufficient = expect.objectContaining({ code: 'calibration_insufficient' })
    await expect(calibrate(records.slice(0, 4), model, 0)).rejects.toEqual(insufficient)
    await expect(calibrate([], model, 0)).rejects.toEqual(insufficient)
    const unknown = records.slice(0, 2).map((record) => ({ ...record, receiptKey: null }))
    await expect(calibrate(unknown, model, 0)).rejects.toEqual(insufficient)
    const other = withEvent(records[1] as ExchangeRecord, 'veritee.inference', (event) => ({
      ...event,
      engine: { ...(event.engine as object), build: `sha256:${'1'.repeat(64)}` },
    }))
    await expect(calibrate([records[0] as ExchangeRecord, other], model, 0)).rejects.toEqual(insufficient)
  })
})
