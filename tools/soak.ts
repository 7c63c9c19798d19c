// `npm run soak -- NAME`: long runs, whose results are in bench/results. `npm run soak -- --help` tells what there is.
// Progress goes to stderr, a JSON summary to stdout; exits 1 on any finding. The work is done in a thread of its own, so that an input that never
// returns is noticed here and named.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { loadCorpus, makeCorpus } from '../bench/soak/corpus.ts'
import { measureGrowth } from '../bench/soak/growth.ts'
import { type SoakResult, soak } from '../bench/soak/soak.ts'

interface Work {
  readonly seed: number
  readonly iterations: number
  readonly from: number
  /** The number of the input that is being judged, for the watcher. */
  readonly at: Float64Array
}

const defaultIterations = 10_000_000
const reportEveryMs = 15_000
const hungAfterMs = 180_000

const help = `usage: npm run soak -- NAME [options]; progress on stderr, a JSON summary on stdout, exit 1 on any finding

  attestation      [--iterations N] [--seed N] [--only N] [--freeze]   mutated input for every parser and for verifyQuote
  replay           [--iterations N] [--seed N]     answers of a worker under load, replayed in another process
  worker           [--rounds N] [--seconds N] [--kills N] [--seed N]   a worker under load, and under kill -9
  replicas         [--answers N] [--kills N | --minutes N]   three controllers on one PostgreSQL, killed in turn
  http2            [--seconds N] [--connections N] [--seed N] [--side stranger|worker]   random frames of strangers, or of a worker: the service outlives them, and keeps nothing of them
  scale            [--connections N] [--registrations N]     10,000 workers and 1,000 models, idle connections, registrations
  gramine          [--starts N] [--answers N] [--cpu-variant NAME]     each role under gramine-direct and without
  distinguisher    [--questions N] [--scenes N] [--network N] [--seed N] [--only SCENE]   how well probes are told from questions of others
  scoring          [--epochs N] [--seed N]         random epochs scored by both implementations
  validator        [--epochs N] [--probes N] [--seed N]      honest and dishonest workers against scoring
  validator-kills  [--kills N] [--seed N]          kill -9 of a validator during an epoch, over a file and among several
`

function usage(message: string): never {
  process.stderr.write(`soak: ${message}\n${help}`)
  process.exit(2)
}

function whole(text: string | undefined, name: string, fallback: number): number {
  const value = text === undefined ? fallback : Number(text)
  if (!Number.isSafeInteger(value) || value < 0) usage(`--${name}: expected a whole number, found '${text}'`)
  return value
}

async function inThread({ seed, iterations, from, at }: Work): Promise<void> {
  const result = await soak({ corpus: loadCorpus(), seed, iterations, from, progress: (iteration) => (at[0] = iteration) })
  parentPort?.postMessage(result)
}

function supervised(seed: number, iterations: number, from: number): Promise<SoakResult> {
  const at = new Float64Array(new SharedArrayBuffer(8))
  at[0] = from
  const worker = new Worker(new URL(import.meta.url), { workerData: { seed, iterations, from, at } satisfies Work })
  return new Promise((resolve, reject) => {
    let last = { iteration: -1, since: Date.now() }
    const watch = setInterval(() => {
      const iteration = at[0] ?? 0
      const now = Date.now()
      if (iteration !== last.iteration) last = { iteration, since: now }
      else if (now - last.since > hungAfterMs) {
        clearInterval(watch)
        void worker.terminate()
        reject(new Error(`iteration ${iteration} has not returned for ${hungAfterMs / 1000} s: repeat it with --seed ${seed} --only ${iteration}`))
      }
      process.stderr.write(`soak: ${iteration - from} of ${iterations} inputs (${(((iteration - from) / iterations) * 100).toFixed(1)} %)\n`)
    }, reportEveryMs)
    worker.once('message', (result: SoakResult) => {
      clearInterval(watch)
      resolve(result)
    })
    worker.once('error', (error) => {
      clearInterval(watch)
      reject(error)
    })
  })
}

function git(...args: string[]): string {
  return spawnSync('git', args, { encoding: 'utf8' }).stdout?.trim() ?? ''
}

/** Of the code that runs: loaded now, whatever is committed meanwhile. */
function commitOf(...paths: string[]): { readonly id: string; readonly changed: boolean } {
  return { id: git('rev-parse', 'HEAD'), changed: git('status', '--porcelain', '--', ...paths, 'bench/soak', 'tools/soak.ts') !== '' }
}

/** 500 answers where nothing else is asked for: some minutes. */
async function replay(count: number, seed: number): Promise<void> {
  const { soakReplay } = await import('../bench/replay/soak.ts')
  const commit = commitOf('packages', 'bench/replay')
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const result = await soakReplay(count, seed)
  process.stdout.write(`${JSON.stringify({ soak: 'replay', date: new Date().toISOString(), machine, commit, seed, ...result }, null, 2)}\n`)
  process.stderr.write(`soak: ${result.passed} of ${result.answers} answers passed at level 1\n`)
  if (result.passed !== result.answers) process.exitCode = 1
}

/** Some minutes on a machine with nothing else to do, most of them for the workers that really register. */
async function scale(connections: number, registrations: number): Promise<void> {
  const { notFlat, soakScale } = await import('../bench/soak/scale/main.ts')
  setFlagsFromString('--expose-gc')
  globalThis.gc = runInNewContext('gc') as typeof globalThis.gc
  const commit = commitOf('packages', 'bench/soak')
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const result = await soakScale({ sizes: [100, 1000, 10_000], operations: 20_000, connections, registrations, rows: 10_000, progress })
  const findings = [...result.findings, ...notFlat(result.scales)]
  process.stdout.write(`${JSON.stringify({ soak: 'scale', date: new Date().toISOString(), machine, commit, ...result, findings }, null, 2)}\n`)
  process.stderr.write(`soak: ${findings.length} findings\n`)
  if (findings.length > 0) process.exitCode = 1
}

/** Some minutes. */
async function scoring(epochs: number, seed: number): Promise<void> {
  const { compareEpochs } = await import('../packages/veritee/test/scoring/compare-epochs.ts')
  const commit = commitOf('packages/veritee')
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const result = await compareEpochs({ from: seed, epochs }, (done) => {
    if (done % 500 === 0) process.stderr.write(`soak: ${done} of ${epochs} epochs\n`)
  })
  process.stdout.write(`${JSON.stringify({ soak: 'scoring', date: new Date().toISOString(), machine, commit, seed, ...result }, null, 2)}\n`)
  if (result.difference !== null) process.exitCode = 1
}

/** Some minutes. */
async function validatorKills(kills: number, seed: number): Promise<void> {
  const { soakValidatorKills } = await import('../bench/soak/validator/kills.ts')
  const commit = commitOf('packages')
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const result = await soakValidatorKills({ kills, seed }, (line) => void process.stderr.write(`soak: ${line}\n`))
  process.stdout.write(`${JSON.stringify({ soak: 'validator-kills', date: new Date().toISOString(), machine, commit, seed, ...result }, null, 2)}\n`)
  if (result.runs.some(({ same, killed }) => !same || killed < kills)) process.exitCode = 1
}

async function main(): Promise<void> {
  const [name, ...rest] = process.argv.slice(2)
  if (name === '--help' || name === '-h') {
    process.stdout.write(help)
    return
  }
  if (name === 'worker') {
    const { soakWorker } = await import('../bench/soak/worker/main.ts')
    if (!(await soakWorker(rest, commitOf('packages')))) process.exitCode = 1
    return
  }
  if (name === 'validator') {
    const { soakFleet } = await import('../bench/fleet/main.ts')
    if (!(await soakFleet(rest, commitOf('packages', 'bench/fleet')))) process.exitCode = 1
    return
  }
  if (name === 'gramine') {
    const { soakGramine } = await import('../bench/soak/gramine/main.ts')
    if (!(await soakGramine(rest, commitOf('packages')))) process.exitCode = 1
    return
  }
  if (name === 'distinguisher') {
    const { soakDistinguisher } = await import('../bench/distinguisher/main.ts')
    return soakDistinguisher(rest, commitOf('packages', 'bench/distinguisher'))
  }
  if (name === 'replicas') {
    const { soakReplicas } = await import('../bench/soak/replicas/main.ts')
    if (!(await soakReplicas(rest, commitOf('packages')))) process.exitCode = 1
    return
  }
  if (name === 'http2') {
    const { soakHttp2 } = await import('../bench/soak/http2/main.ts')
    if (!(await soakHttp2(rest, commitOf('packages')))) process.exitCode = 1
    return
  }
  if (name === 'scale') {
    const { values } = parseArgs({ args: rest, options: { connections: { type: 'string' }, registrations: { type: 'string' } } })
    return scale(whole(values.connections, 'connections', 10_000), whole(values.registrations, 'registrations', 10_000))
  }
  if (name === 'scoring') {
    const { values } = parseArgs({ args: rest, options: { epochs: { type: 'string' }, seed: { type: 'string' } } })
    return scoring(whole(values.epochs, 'epochs', 10_000), whole(values.seed, 'seed', 0))
  }
  if (name === 'validator-kills') {
    const { values } = parseArgs({ args: rest, options: { kills: { type: 'string' }, seed: { type: 'string' } } })
    return validatorKills(whole(values.kills, 'kills', 20), whole(values.seed, 'seed', 1))
  }
  if (name !== 'attestation' && name !== 'replay') usage(name === undefined ? 'which?' : `there is none with the name '${name}'`)
  const { values } = parseArgs({
    args: rest,
    options: { iterations: { type: 'string' }, seed: { type: 'string' }, only: { type: 'string' }, freeze: { type: 'boolean', default: false } },
  })
  if (name === 'replay') return replay(whole(values.iterations, 'iterations', 500), whole(values.seed, 'seed', 1))
  if (values.freeze) {
    writeFileSync(new URL('../bench/soak/corpus.json', import.meta.url), await makeCorpus(new Date('2026-05-06T07:08:09.000Z')))
    process.stderr.write('soak: bench/soak/corpus.json has new seeds\n')
    return
  }
  const seed = whole(values.seed, 'seed', 1)
  const only = values.only === undefined ? null : whole(values.only, 'only', 0)
  const iterations = only === null ? whole(values.iterations, 'iterations', defaultIterations) : 1
  const date = new Date().toISOString()
  const commit = commitOf('packages/veritee/src')
  const start = process.cpuUsage()
  const startedAt = performance.now()
  const result = await supervised(seed, iterations, only ?? 0)
  const { user, system } = process.cpuUsage(start)
  const seconds = { wall: Math.round((performance.now() - startedAt) / 1000), cpu: Math.round((user + system) / 1e6) }
  process.stderr.write('soak: how time grows with size\n')
  const growth = only === null ? await measureGrowth(loadCorpus()) : []
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  process.stdout.write(`${JSON.stringify({ soak: 'attestation', date, machine, commit, seconds, ...result, growth }, null, 2)}\n`)
  const steep = growth.filter(({ superlinear }) => superlinear)
  process.stderr.write(`soak: ${result.findings.length} findings, ${steep.length} kinds of input with superlinear time\n`)
  if (result.findings.length + steep.length > 0) process.exitCode = 1
}

if (isMainThread) await main()
else await inThread(workerData as Work)
