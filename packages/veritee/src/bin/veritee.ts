#!/usr/bin/env -S node --conditions=@veritee/source
import packageJson from '../../package.json' with { type: 'json' }
import { fail, VeriteeError } from '../errors.ts'
import { commands as table } from './commands.ts'
import { completionsCommand } from './completions.ts'
import { helpOf, overview } from './help.ts'
import type { Command } from './terminal/command.ts'
import { errorOf, exitCodes, failedVerdict, writeJson, writeNotes } from './terminal/print.ts'

const commands: readonly Command[] = [...table, completionsCommand(table)]

/** The commands that the first words name: one, or the several that share a first word; and what follows. */
function named([first = '', second]: readonly string[]): { readonly found: readonly Command[]; readonly words: number } {
  const exact = commands.find(({ name }) => name === `${first} ${second}`)
  if (exact !== undefined) return { found: [exact], words: 2 }
  const single = commands.find(({ name }) => name === first)
  const group = commands.filter(({ name }) => name.startsWith(`${first} `))
  return { found: single === undefined ? group : [single, ...group], words: 1 }
}

async function main(args: readonly string[]): Promise<number> {
  const [name, second] = args
  if (name === '--help' || name === '-h') {
    process.stdout.write(overview(packageJson.version, commands))
    return 0
  }
  if (name === '--version') {
    process.stdout.write(`${packageJson.version}\n`)
    return 0
  }
  const { found, words } = named(args)
  const [command] = found
  if (command === undefined) {
    process.stderr.write(`veritee: ${name === undefined ? 'expected a command' : `unknown command ${JSON.stringify(name)}`}; see veritee --help\n`)
    return exitCodes.configuration
  }
  const rest = args.slice(words)
  // What follows -- is a prompt or a file name, whatever it says.
  const options = rest.slice(0, rest.includes('--') ? rest.indexOf('--') : rest.length)
  if (options.includes('--help') || options.includes('-h')) {
    process.stdout.write(helpOf(found))
    return 0
  }
  if (command.name !== args.slice(0, words).join(' ')) {
    const expected = found.map((each) => `veritee ${each.name}`).join(', ')
    throw fail('usage', `expected ${expected}, found ${second === undefined ? 'nothing more' : JSON.stringify(second.slice(0, 100))}`)
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
