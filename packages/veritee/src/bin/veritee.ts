#!/usr/bin/env -S node --conditions=@veritee/source
import packageJson from '../../package.json' with { type: 'json' }
import { VeriteeError } from '../errors.ts'
import { bundleCommand, bundleHelp } from './bundle.ts'
import { chatCommand, chatHelp } from './chat.ts'
import { collateralCommand, collateralHelp } from './collateral.ts'
import { fraudCommand, fraudHelp } from './fraud.ts'
import { inspectCommand, inspectHelp } from './inspect.ts'
import { policyCommand, policyHelp } from './policy.ts'
import { errorOf, exitCodes, failedVerdict, writeJson, writeNotes } from './print.ts'
import { receiptCommand, receiptHelp } from './receipt.ts'
import { replayCommand, replayHelp } from './replay.ts'
import { verifyCommand, verifyHelp } from './verify.ts'

const commands = new Map([
  ['verify', { run: verifyCommand, help: verifyHelp }],
  ['inspect', { run: inspectCommand, help: inspectHelp }],
  ['chat', { run: chatCommand, help: chatHelp }],
  ['receipt', { run: receiptCommand, help: receiptHelp }],
  ['replay', { run: replayCommand, help: replayHelp }],
  ['collateral', { run: collateralCommand, help: collateralHelp }],
  ['bundle', { run: bundleCommand, help: bundleHelp }],
  ['fraud', { run: fraudCommand, help: fraudHelp }],
  ['policy', { run: policyCommand, help: policyHelp }],
])

const help = `veritee ${packageJson.version}: check which code ran, on which genuine hardware, with which weights, on which bytes

Usage: veritee COMMAND ...
  verify QUOTE      judge a quote offline, with collateral and a policy
  inspect QUOTE     show what a quote says, unverified
  chat              verify a service, ask it, verify the answer
  receipt verify    check a receipt against the report of the service that signed it
  replay            run an answer again on your own machine and compare it token by token
  collateral fetch  fetch the vendor's signed data that a quote needs
  bundle create     put evidence into one file; bundle verify judges it, offline, at any later time
  fraud verify      check that an enclave has contradicted itself
  policy init       write a policy to start from; policy check and policy explain read one

veritee COMMAND --help tells more. Exit codes: 0 accepted, 1 rejected, 2 wrong usage or policy, 3 something needed was unavailable.
`

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === '--help' || name === '-h') {
    process.stdout.write(help)
    return 0
  }
  if (name === '--version') {
    process.stdout.write(`${packageJson.version}\n`)
    return 0
  }
  const command = commands.get(name ?? '')
  if (command === undefined) {
    process.stderr.write(`veritee: ${name === undefined ? 'expected a command' : `unknown command ${JSON.stringify(name)}`}; see veritee --help\n`)
    return exitCodes.configuration
  }
  // What follows -- is a prompt or a file name, whatever it says.
  const options = rest.slice(0, rest.includes('--') ? rest.indexOf('--') : rest.length)
  if (options.includes('--help') || options.includes('-h')) {
    process.stdout.write(command.help)
    return 0
  }
  return command.run(rest)
}

const args = process.argv.slice(2)
try {
  process.exitCode = await main(args)
} catch (error) {
  const known = error instanceof VeriteeError ? errorOf(error) : null
  // One line whatever happens; a defect is named as one.
  writeNotes([
    `veritee: ${known === null ? `unexpected failure: ${error instanceof Error ? error.message : String(error)}` : `${known.code}: ${known.message}`}`,
  ])
  if (args.includes('--json') && error instanceof VeriteeError)
    writeJson({ ...failedVerdict(error, args.includes('--policy') ? 'policy' : 'genuineness'), quote: null })
  process.exitCode = error instanceof VeriteeError ? exitCodes[error.kind] : 1
}
