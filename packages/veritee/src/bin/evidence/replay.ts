import { writeFile } from 'node:fs/promises'
import { fromHex } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import { type Command, command, type Given, none, type Options, required, shared } from '../terminal/command.ts'
import { readText } from '../terminal/files.ts'
import { checkLines, writeJson, writeLines } from '../terminal/print.ts'
import { type KeptExchange, readExchange } from './replay-record.ts'

const options = {
  request: { type: 'string', value: 'FILE', help: 'the request body, byte for byte' },
  response: { type: 'string', value: 'FILE', help: 'the response body, byte for byte' },
  report: {
    type: 'string',
    value: 'FILE',
    help: "the worker's report (GET /v1/aci/attestation of it): its keyset must have signed the receipt. Without it, no signature is checked",
  },
  bundle: {
    type: 'string',
    value: 'FILE',
    help: 'an evidence bundle, for what it holds of receipt, report, request and response (veritee bundle create)',
  },
  model: { type: 'string', value: 'GGUF', help: 'the model file that you believe was run' },
  'receipt-key': { type: 'string', value: 'HEX', help: 'X-Veritee-Receipt-Key of the response; without it an answer cannot pass' },
  calibration: {
    type: 'string',
    value: 'FILE',
    help: 'how far answers of that engine may be from a replay by this one (spec/calibration.md); without it, another engine is inconclusive',
  },
  json: shared.json,
} as const satisfies Options

const enginePackage = 'It needs the package @veritee/services beside this one: the inference engine is in there.'
const replayExits = { 0: 'pass', 1: 'fail', 2: 'wrong usage', 3: 'inconclusive, or something needed was unavailable' }

export const replay: Command = command({
  name: 'replay',
  operands: '[RECEIPT]',
  summary: 'run an answer again on your own machine and compare it token by token',
  options,
  notes: [
    "RECEIPT is the worker's receipt (through a controller: GET /v1/veritee/receipts/{id}/upstream); or pass --bundle.",
    `${enginePackage} Whether a quote binds the keyset that signed is not judged: veritee receipt verify.`,
  ],
  exits: replayExits,
  run,
})

const calibrateOptions = {
  exchanges: { type: 'string', value: 'FILE', help: 'records, one a line, of one engine' },
  model: options.model,
  out: { type: 'string', short: 'o', value: 'FILE', help: 'the calibration' },
} as const satisfies Options

export const replayCalibrate: Command = command({
  name: 'replay calibrate',
  summary: 'measure how far honest answers of an engine are from a replay',
  options: calibrateOptions,
  notes: [`The answers must be of workers whose honesty is not in question. ${enginePackage}`],
  exits: replayExits,
  run: calibrate,
})

/** What is used of the services package, which this one does not depend on. */
interface ReplayModule {
  replayFile(
    record: KeptExchange & { readonly receiptKey: Uint8Array | null },
    modelPath: string,
    calibration: object | null,
  ): Promise<{
    readonly verdict: 'pass' | 'fail' | 'inconclusive'
    readonly level: number | null
    readonly reason: string | null
    readonly signature: string
    readonly checks: Parameters<typeof checkLines>[0]
  }>
  parseCalibration(text: string): object
  calibrateFile(
    recordsPath: string,
    modelPath: string,
    created: number,
  ): Promise<{
    readonly text: string
    readonly leftOut: number
    readonly calibration: { readonly measured: { readonly answers: number; readonly failed: number; readonly p0: string; readonly p0_upper: string } }
  }>
}

const exits = { pass: 0, fail: 1, inconclusive: 3 } as const

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const model = required(values.model, '--model', 'an answer is replayed on a model file that you chose')
  const key = values['receipt-key']
  if (key !== undefined && !/^[0-9a-f]{64}$/.test(key)) throw fail('usage', '--receipt-key: expected 64 lower-case hex digits')
  const record = { ...(await readExchange(positionals, values)), receiptKey: key === undefined ? null : fromHex(key, 32) }
  const calibrationText = values.calibration === undefined ? null : await readText(values.calibration)
  const { replayFile, parseCalibration } = await loadReplay()
  const report = await replayFile(record, model, calibrationText === null ? null : parseCalibration(calibrationText))
  if (values.json) writeJson(report)
  else writeLines([...checkLines(report.checks), '', `signature: ${report.signature}`, conclusion(report)])
  return exits[report.verdict]
}

async function calibrate({ values, positionals }: Given<typeof calibrateOptions>): Promise<number> {
  none(positionals)
  const exchanges = required(values.exchanges, '--exchanges', 'a calibration is measured on answers')
  const model = required(values.model, '--model', 'answers are replayed on a model file that you chose')
  const out = required(values.out, '--out', 'the calibration goes to a file')
  const { calibrateFile } = await loadReplay()
  const { text, leftOut, calibration } = await calibrateFile(exchanges, model, Math.floor(Date.now() / 1000))
  await writeFile(out, text).catch((cause: unknown) => {
    throw fail('file_unavailable', `cannot write ${out}`, cause)
  })
  const { answers, failed, p0, p0_upper: upper } = calibration.measured
  writeLines([
    `${failed} of ${answers} honest answers would have failed: p0 ${p0}, at most ${upper} with 95 % confidence; ${leftOut} more could not be replayed`,
    ...(Number(upper) > 1e-3 ? ['a failure at level 2 under this calibration convicts nobody: that takes an upper bound of 0.0010'] : []),
  ])
  return 0
}

/** Throws `replay_unavailable` where the services package, or something it needs, is not installed. */
async function loadReplay(): Promise<ReplayModule> {
  try {
    // The one import of this library from outside, at run time only, so that installing it installs no engine (tools/layers.ts allows it by name).
    return (await import('@veritee/services/replay' as string)) as ReplayModule
  } catch (cause) {
    throw fail(
      'replay_unavailable',
      'expected the package @veritee/services beside veritee, with its engine; from a checkout, npm install adds both',
      cause,
    )
  }
}

function conclusion({ verdict, level, reason }: Awaited<ReturnType<ReplayModule['replayFile']>>): string {
  if (verdict === 'pass' && level === 1) return 'PASS, level 1: every token of this answer follows from request, weights, parameters and seed'
  if (verdict === 'pass') return 'PASS, level 2: as near as honest answers of that engine are; it is no proof that every token follows'
  return `${verdict.toUpperCase()}: ${reason}`
}
