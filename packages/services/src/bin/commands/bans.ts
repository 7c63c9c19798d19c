import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { type BanSummary, type ControllerAdmin, openControllerAdmin } from '../../owner/controller-admin.ts'
import type { Command } from '../command.ts'
import { controllerHelp, controllerOptions, readAdminOptions } from './admin-options.ts'

const help = `veriteed bans: machines and operators that a controller has barred, over its admin interface (docs/controller.md)

  veriteed bans list CONTROLLER                         those that stand, and those whose history is kept
  veriteed bans lift SUBJECT --reason TEXT CONTROLLER   ends one before its time; the reason goes to the controller's log and trail
  veriteed bans trail CONTROLLER                        what was made and lifted, when, why and by which controller of the store
${controllerHelp}`

const options = {
  ...controllerOptions,
  reason: { type: 'string' },
} as const

export const command: Command = {
  run: async (args) => {
    const [name = '--help', ...rest] = args
    if (name === '--help' || name === '-h') {
      process.stdout.write(help)
      return 0
    }
    if (name !== 'list' && name !== 'lift' && name !== 'trail')
      throw fail('usage', `bans: expected list, lift or trail, found ${JSON.stringify(name.slice(0, 40))}`)
    process.stdout.write(await runBans(name, rest))
    return 0
  },
}

type Action = 'list' | 'lift' | 'trail'

/** Runs one action and gives what is printed. Throws `usage`, what `openControllerAdmin` and its methods throw. */
export async function runBans(action: Action, args: readonly string[]): Promise<string> {
  const { values, subject } = read(action, args)
  if (values.admin === undefined) throw fail('usage', 'expected --admin URL; see veriteed bans --help')
  const now = new Date()
  const admin = await openControllerAdmin({ url: values.admin, ...(await readAdminOptions(values)), now: () => now })
  try {
    const { simulated } = admin.service.verdict
    const notice = simulated ? 'SIMULATED controller: nothing is protected\n' : ''
    if (action === 'trail') {
      const trail = await admin.banTrail()
      return values.json ? `${JSON.stringify({ simulated, ...trail }, null, 2)}\n` : `${notice}${told(trail)}\n`
    }
    if (action === 'lift') await admin.liftBan(subject, values.reason ?? '')
    const bans = await admin.bans()
    if (values.json) return `${JSON.stringify({ simulated, bans }, null, 2)}\n`
    // As of the answer: a ban that was just lifted ended after the command began.
    return `${notice}${table(bans, Date.now() / 1000)}\n`
  } finally {
    admin.close()
  }
}

function table(bans: readonly BanSummary[], seconds: number): string {
  if (bans.length === 0) return 'nobody is barred'
  return bans
    .map(({ subject, until, count, lifts }) => {
      const state = until > seconds ? `barred until ${new Date(until * 1000).toISOString()}` : 'no longer barred'
      return `${subject}\n  ${state}; incidents ${count}, lifted ${lifts}`
    })
    .join('\n')
}

function told({ entries, missing }: Awaited<ReturnType<ControllerAdmin['banTrail']>>): string {
  const lines = entries.map(
    ({ at, action, subject, until, count, reason, by }) =>
      `${new Date(at * 1000).toISOString()} ${action} ${subject}\n  until ${new Date(until * 1000).toISOString()}, incidents ${count}; by ${by}\n  ${reason}`,
  )
  const gap = missing === 0 ? [] : [`${missing} ${missing === 1 ? 'entry is' : 'entries are'} MISSING: somebody took them out of the store`]
  return [...(lines.length === 0 ? ['nobody was barred'] : lines), ...gap].join('\n')
}

function read(action: Action, args: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    const [subject = '', ...more] = positionals
    if (more.length > 0 || (subject === '') !== (action !== 'lift'))
      throw new TypeError(`bans ${action}: expected ${action === 'lift' ? 'one subject' : 'no argument'}`)
    if ((values.reason === undefined) !== (action !== 'lift'))
      throw new TypeError(`bans ${action}: expected ${action === 'lift' ? '--reason' : 'no --reason'}`)
    return { values, subject }
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}
