#!/usr/bin/env -S node --conditions=@veritee/source
import { VeriteeError } from 'veritee/errors'
import { runDemo } from '../demo/demo.ts'
import { type DemoOptions, demoHelp, parseDemoOptions } from '../demo/options.ts'
import { demoJson, howToTalk, simulatedNotice } from '../demo/present.ts'
import { release } from '../release.ts'

const help = `veriteed ${release.version}: verifiable inference in trusted execution environments, the services

Usage: veriteed demo [options]      a whole network on this machine, SIMULATED; see veriteed demo --help
       veriteed --version | --help
`

/** A close that hangs must not keep a terminal. */
const closeWithinMs = 10_000

const exitCodes = { configuration: 2, unavailable: 3, untrusted: 1, rejected: 1 } as const

async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args
  if (command === '--help' || command === '-h') {
    process.stdout.write(help)
    return 0
  }
  if (command === '--version') {
    process.stdout.write(`${release.version}\n`)
    return 0
  }
  if (command !== 'demo') {
    process.stderr.write(
      `veriteed: ${command === undefined ? 'expected a command' : `unknown command ${JSON.stringify(command)}`}; see veriteed --help\n`,
    )
    return 2
  }
  const options = parseDemoOptions(rest)
  if (options === 'help') {
    process.stdout.write(demoHelp)
    return 0
  }
  return demo(options)
}

async function demo(options: DemoOptions): Promise<number> {
  const out = options.json ? process.stderr : process.stdout
  const print = (line: string): void => {
    out.write(`${line}\n`)
  }
  const stop = Promise.withResolvers<void>()
  // Registered before anything starts, so that an early Ctrl-C still closes what is up, and for good: a terminal and npm may both pass one on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      stop.resolve()
      setTimeout(() => process.exit(1), closeWithinMs).unref()
    })
  for (const line of [`Veritee ${release.version}`, ...simulatedNotice, '']) print(line)
  const started = performance.now()
  const running = runDemo(options, print, process.stderr)
  const first = await Promise.race([running, stop.promise])
  if (first === undefined) {
    print('stopping ...')
    await running.then((result) => result.close()).catch(() => undefined)
    return 130
  }
  const ready = Math.round(performance.now() - started)
  print(`\nALL VERIFIED in ${ready} ms. SIMULATED: this shows the flow, not security.`)
  if (options.json) process.stdout.write(`${JSON.stringify({ ...demoJson(first, options), readyMs: ready }, null, 2)}\n`)
  if (!options.once) {
    for (const line of howToTalk(first)) print(line)
    await stop.promise
    print('stopping ...')
  }
  await first.close()
  return 0
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof VeriteeError) {
    process.stderr.write(`veriteed: ${error.code}: ${error.message}\n`)
    if (process.argv.includes('--json') && process.argv[2] === 'demo')
      process.stdout.write(`${JSON.stringify({ ok: false, simulated: true, error: { code: error.code, message: error.message } }, null, 2)}\n`)
    process.exitCode = exitCodes[error.kind]
  } else {
    process.stderr.write(`veriteed: unexpected failure: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
