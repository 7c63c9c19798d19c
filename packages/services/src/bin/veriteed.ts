#!/usr/bin/env -S node --conditions=@veritee/source
import { VeriteeError } from 'veritee/errors'
import { release } from '../release.ts'
import { type Command, exitCodes } from './command.ts'

/** Name -> [one line, the file that runs it]. */
const commands: Readonly<Record<string, readonly [string, () => Promise<{ readonly command: Command }>]>> = {
  model: ['sealed models: make keys, seal, inspect, verify, open; their keys at a broker', () => import('./commands/model.ts')],
  manifest: ['who may take part in a network: make, sign, verify, inspect; of enclaves: render and lint', () => import('./commands/manifest.ts')],
  release: ['what the makers of a release say of it: measure, create, sign, verify', () => import('./commands/release.ts')],
  doctor: ['whether an enclave can run on this machine, and what mends it if not; sizes of enclaves', () => import('./commands/doctor.ts')],
  worker: ['runs models and signs what it answers', () => import('./commands/worker.ts')],
  broker: ['releases model keys to attested enclaves', () => import('./commands/broker.ts')],
  controller: ['verifies workers and routes to them', () => import('./commands/controller.ts')],
  keys: ['API keys of a controller: create, list, revoke, usage', () => import('./commands/keys.ts')],
  bans: ['machines and operators that a controller has barred: list, lift, trail', () => import('./commands/bans.ts')],
  status: ['whether a service that runs is ready, and why not', () => import('./commands/status.ts')],
  workers: ['the workers of a running controller', () => import('./commands/workers.ts')],
  weights: ['the weights of a verified epoch, as uids or a table', () => import('./commands/weights.ts')],
  log: ['a transparency log: appends, signs, serves', () => import('./commands/log.ts')],
  witness: ['cosigns checkpoints of transparency logs', () => import('./commands/witness.ts')],
  validator: ['audits the workers of a network and scores them', () => import('./commands/validator.ts')],
  demo: ['a whole network on this machine, SIMULATED', () => import('./commands/demo.ts')],
}

function help(): string {
  const lines = Object.entries(commands).map(([name, [summary]]) => `  veriteed ${name.padEnd(12)} ${summary}`)
  return `veriteed ${release.version}: verifiable inference in trusted execution environments, the services

Usage:
${lines.join('\n')}
  veriteed --version | --help

Each command has its own --help.
`
}

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === '--help' || name === '-h') {
    process.stdout.write(help())
    return 0
  }
  if (name === '--version') {
    process.stdout.write(`${release.version}\n`)
    return 0
  }
  const entry = name === undefined || !Object.hasOwn(commands, name) ? undefined : commands[name]
  if (entry === undefined) {
    process.stderr.write(`veriteed: ${name === undefined ? 'expected a command' : `unknown command ${JSON.stringify(name)}`}; see veriteed --help\n`)
    return 2
  }
  const { command } = await entry[1]()
  return command.run(rest)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const json = process.argv.includes('--json')
  if (error instanceof VeriteeError) {
    process.stderr.write(`veriteed: ${error.code}: ${error.message}\n`)
    if (json) {
      const simulated = process.argv[2] === 'demo' ? { simulated: true } : {}
      process.stdout.write(`${JSON.stringify({ ok: false, ...simulated, error: { code: error.code, message: error.message } }, null, 2)}\n`)
    }
    process.exitCode = exitCodes[error.kind]
  } else {
    process.stderr.write(`veriteed: unexpected failure: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
