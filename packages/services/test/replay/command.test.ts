import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toHex } from 'veritee/bytes'
import { createBundle, parseReport } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatRecord } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { exchangeWithReport, serveFile, story } from './worker.ts'

const program = fileURLToPath(new URL('../../../veritee/src/bin/veritee.ts', import.meta.url))
let folder: string
let args: string[]
let key: string
let report: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-replay-command-'))
  const served = await serveFile()
  const asked = await exchangeWithReport(served, { messages: [{ role: 'user', content: story }], temperature: 1, max_tokens: 30 })
  const { record } = asked
  const another = await exchangeWithReport(served, { messages: [{ role: 'user', content: story }], max_tokens: 1 })
  await served.engine.dispose()
  const write = (name: string, data: string | Uint8Array): string => {
    writeFileSync(join(folder, name), data)
    return join(folder, name)
  }
  key = toHex(record.receiptKey ?? new Uint8Array(0))
  args = [
    write('receipt.json', record.receipt),
    '--request',
    write('request.json', record.request),
    '--response',
    write('response.json', record.response),
  ]
  write('other.json', new TextEncoder().encode('{}'))
  write('records.jsonl', formatRecord(record))
  report = write('report.json', asked.report)
  write('other-report.json', another.report)
  const { quote, collateral } = parseReport(asked.report)
  const evidence = { quote, collateral, report: asked.report }
  write(
    'whole.bundle',
    createBundle({ ...evidence, exchange: { receipt: record.receipt, requestBody: record.request, responseBody: record.response } }),
  )
  write('part.bundle', createBundle({ ...evidence, exchange: { receipt: record.receipt } }))
  write('evidence.bundle', createBundle(evidence))
}, 60_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function veritee(more: readonly string[], main: string = program): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--conditions=@veritee/source', main, 'replay', ...more])
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    out.stderr += text
  })
  return new Promise((resolve, reject) => child.once('error', reject).once('close', (code) => resolve({ code, ...out })))
}

test('an answer replayed in another process passes, says what it did not judge, and exits 0', async () => {
  const ran = await veritee([...args, '--model', demoPath, '--receipt-key', key])
  expect([ran.code, ran.stderr]).toEqual([0, ''])
  expect(ran.stdout).toMatch(/– replay\.signature/)
  expect(ran.stdout).toMatch(/^signature: not checked$/m)
  expect(ran.stdout).toMatch(/✓ replay\.tokens/)
  expect(ran.stdout).toMatch(/PASS, level 1/)
})

test('as JSON; without its key it is inconclusive and exits 3', async () => {
  const ran = await veritee([...args, '--model', demoPath, '--json'])
  expect(JSON.parse(ran.stdout)).toMatchObject({
    version: 'veritee.replay.v1',
    verdict: 'inconclusive',
    reason: 'key_missing',
    signature: 'not checked',
  })
  expect(ran.code).toBe(3)
})

test("under the worker's report the signature is checked; under another worker's nothing runs", async () => {
  const own = await veritee([...args, '--model', demoPath, '--receipt-key', key, '--report', report])
  expect([own.code, own.stderr]).toEqual([0, ''])
  expect(own.stdout).toMatch(/✓ replay\.signature/)
  expect(own.stdout).toMatch(/^signature: valid$/m)
  const other = await veritee([...args, '--model', demoPath, '--receipt-key', key, '--report', join(folder, 'other-report.json'), '--json'])
  expect(other.code).toBe(1)
  expect(JSON.parse(other.stdout)).toMatchObject({ verdict: 'fail', reason: 'keyset_differs', signature: 'invalid', engines: null })
})

test('an evidence bundle holds all but the key; what it keeps back is given beside it', async () => {
  const rest = ['--model', demoPath, '--receipt-key', key, '--json']
  for (const more of [
    ['--bundle', join(folder, 'whole.bundle')],
    ['--bundle', join(folder, 'part.bundle'), ...args.slice(1)],
  ]) {
    const ran = await veritee([...more, ...rest])
    expect([ran.code, ran.stderr]).toEqual([0, ''])
    expect(JSON.parse(ran.stdout)).toMatchObject({ verdict: 'pass', level: 1, signature: 'valid' })
  }
})

test.for([
  ['a receipt beside the one of the bundle', 'whole.bundle', (): string[] => args.slice(0, 1)],
  ['a report beside the one of the bundle', 'whole.bundle', (): string[] => ['--report', report]],
  ['a bundle without an exchange', 'evidence.bundle', (): string[] => args],
  ['a bundle that keeps the bodies back, and none given', 'part.bundle', (): string[] => []],
] as const)('%s is wrong usage', async ([, bundle, more]) => {
  const ran = await veritee(['--bundle', join(folder, bundle), ...more(), '--model', demoPath])
  expect([ran.code, ran.stderr]).toEqual([2, expect.stringMatching(/^veritee: usage: /)])
})

test('a response that is another exits 1', async () => {
  const ran = await veritee([...args.slice(0, 4), join(folder, 'other.json'), '--model', demoPath, '--receipt-key', key])
  expect(ran.code).toBe(1)
  expect(ran.stdout).toMatch(/FAIL: response_differs/)
})

test.for([
  ['no model', [], 'usage'],
  ['a malformed key', ['--model', demoPath, '--receipt-key', 'AB'], 'usage'],
  ['a calibration that is none', ['--model', demoPath, '--calibration', program], 'calibration_malformed'],
  ['no such model', ['--model', '/does/not/exist'], 'model_unavailable'],
] as const)('%s is refused with its code', async ([, more, code]) => {
  const ran = await veritee([...args, ...more])
  expect(ran.stderr).toMatch(new RegExp(`^veritee: ${code}: `))
  expect(ran.code).toBe(code === 'model_unavailable' ? 3 : 2)
})

test('a calibration takes more than one answer, and a file that is there', async () => {
  const line = join(folder, 'records.jsonl')
  const calibrate = (path: string): ReturnType<typeof veritee> =>
    veritee(['calibrate', '--exchanges', path, '--model', demoPath, '-o', join(folder, 'calibration.json')])
  expect((await calibrate(line)).stderr).toMatch(/^veritee: calibration_insufficient: /)
  expect(await calibrate(join(folder, 'none'))).toMatchObject({ code: 3, stderr: expect.stringMatching(/^veritee: file_unavailable: /) })
})

test('where the services package is not installed, it says so', async () => {
  const alone = join(folder, 'veritee')
  cpSync(dirname(dirname(dirname(program))), alone, { recursive: true, filter: (path) => !path.includes('node_modules') })
  const ran = await veritee([...args, '--model', demoPath], join(alone, 'src/bin/veritee.ts'))
  expect([ran.code, ran.stdout]).toEqual([2, ''])
  expect(ran.stderr).toMatch(/^veritee: replay_unavailable: /)
})
