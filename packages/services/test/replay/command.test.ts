import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toHex } from 'veritee/bytes'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatRecord } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { exchange, serveFile } from './worker.ts'

const program = fileURLToPath(new URL('../../../veritee/src/bin/veritee.ts', import.meta.url))
let folder: string
let args: string[]
let key: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-replay-command-'))
  const served = await serveFile()
  const record = await exchange(served, { temperature: 1, max_tokens: 30 })
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
  expect(ran.stdout).toMatch(/✓ replay\.tokens/)
  expect(ran.stdout).toMatch(/PASS, level 1/)
})

test('as JSON; without its key it is inconclusive and exits 3', async () => {
  const ran = await veritee([...args, '--model', demoPath, '--json'])
  expect(JSON.parse(ran.stdout)).toMatchObject({ version: 'veritee.replay.v1', verdict: 'inconclusive', reason: 'key_missing' })
  expect(ran.code).toBe(3)
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
