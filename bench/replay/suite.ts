// Answers made by a worker under load, replayed in another process: all of them must pass.
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ServedModel } from '../../packages/services/src/enclave/worker/served-model.ts'
import { formatRecord, type ReplayReport } from '../../packages/services/src/replay/index.ts'
import { collectAnswers } from './answers.ts'
import { chatRequests } from './requests.ts'

export interface SuiteOptions {
  readonly served: ServedModel
  readonly modelPath: string
  readonly count: number
  readonly seed: number
  /** Requests under way at any moment; beyond the sequences of the engine they wait. */
  readonly parallel: number
}

export interface SuiteResult {
  readonly answers: number
  readonly sampled: number
  readonly streamed: number
  readonly tokens: number
  readonly promptTokens: number
  readonly longest: number
  readonly passed: number
  /** Everything but a pass at level 1. Holds no text. */
  readonly others: readonly { readonly answer: number; readonly report: ReplayReport }[]
}

export async function runSuite({ served, modelPath, count, seed, parallel }: SuiteOptions): Promise<SuiteResult> {
  const bodies = chatRequests(served.name, count, seed)
  const records = await collectAnswers(served, bodies, parallel)
  const folder = await mkdtemp(join(tmpdir(), 'veritee-replay-suite-'))
  try {
    const path = join(folder, 'records.jsonl')
    await writeFile(path, records.map(formatRecord).join('\n'), { mode: 0o600 })
    const reports = await replayElsewhere(path, modelPath)
    if (reports.length !== records.length) throw new Error(`expected ${records.length} reports, found ${reports.length}`)
    const asked = bodies.map((body) => JSON.parse(Buffer.from(body).toString()) as { temperature: number; stream?: boolean })
    const events = records.map(({ receipt }) => (JSON.parse(receipt) as { event_log: { type: string; prompt_tokens: number }[] }).event_log)
    const prompts = events.map((log) => log.find(({ type }) => type === 'veritee.inference')?.prompt_tokens ?? 0)
    const totals = reports.map(({ tokens }) => tokens?.total ?? 0)
    return {
      answers: reports.length,
      sampled: asked.filter(({ temperature }) => temperature > 0).length,
      streamed: asked.filter(({ stream }) => stream === true).length,
      tokens: sum(totals),
      promptTokens: sum(prompts),
      longest: Math.max(...totals),
      passed: reports.filter(isPass).length,
      others: reports.map((report, answer) => ({ answer, report })).filter(({ report }) => !isPass(report)),
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function isPass({ verdict, level, tokens }: ReplayReport): boolean {
  return verdict === 'pass' && level === 1 && tokens !== null && tokens.equal === tokens.total
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** One process that replays all records of a file. Throws where it does not end well. */
function replayElsewhere(records: string, modelPath: string): Promise<ReplayReport[]> {
  const script = fileURLToPath(new URL('./replay-all.ts', import.meta.url))
  const child = spawn(process.execPath, ['--conditions=@veritee/source', script, records, modelPath], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code) => {
      if (code !== 0) reject(new Error(`the replaying process ended with ${code}`))
      else
        resolve(
          text
            .split('\n')
            .filter((line) => line !== '')
            .map((line) => JSON.parse(line) as ReplayReport),
        )
    })
  })
}
