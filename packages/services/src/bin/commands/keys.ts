import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { type ControllerAdmin, type KeyCharge, type KeySummary, openControllerAdmin } from '../../owner/controller-admin.ts'
import type { Command } from '../command.ts'
import { controllerHelp, controllerOptions, readAdminOptions } from './admin-options.ts'

const help = `veriteed keys: API keys of a controller, over its admin interface (docs/keys.md)

  veriteed keys create --name NAME CONTROLLER   a new key; it is shown once and kept nowhere
      --model MODEL ...                         the models it may use; every one where not given
      --expires-days N
      --access-tokens                           it may have access tokens (docs/access-tokens.md); not together with --model
      --requests-per-minute N  --tokens-per-minute N  --tokens-per-month N
  veriteed keys list CONTROLLER
  veriteed keys revoke ID CONTROLLER
  veriteed keys limit ID CONTROLLER             other limits, in the place of all it had; in force within about a second
      --requests-per-minute N  --tokens-per-minute N  --tokens-per-month N
  veriteed keys usage ID CONTROLLER             tokens that workers signed for, receipt by receipt
${controllerHelp}`

const common = Object.keys(controllerOptions)
const own = {
  create: ['name', 'model', 'access-tokens', 'expires-days', 'requests-per-minute', 'tokens-per-minute', 'tokens-per-month'],
  list: [],
  revoke: [],
  limit: ['requests-per-minute', 'tokens-per-minute', 'tokens-per-month'],
  usage: [],
} as const
type Action = keyof typeof own

const options = {
  ...controllerOptions,
  name: { type: 'string' },
  model: { type: 'string', multiple: true },
  'access-tokens': { type: 'boolean' },
  'expires-days': { type: 'string' },
  'requests-per-minute': { type: 'string' },
  'tokens-per-minute': { type: 'string' },
  'tokens-per-month': { type: 'string' },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values']

export const command: Command = {
  run: async (args) => {
    const [name = '--help', ...rest] = args
    if (name === '--help' || name === '-h') {
      process.stdout.write(help)
      return 0
    }
    if (!Object.hasOwn(own, name))
      throw fail('usage', `keys: expected create, list, revoke, limit or usage, found ${JSON.stringify(name.slice(0, 40))}`)
    process.stdout.write(await runKeys(name as Action, rest))
    return 0
  },
}

/** Runs one action and gives what is printed. Throws `usage`, what `openControllerAdmin` and its methods throw. */
export async function runKeys(action: Action, args: readonly string[]): Promise<string> {
  const { values, id } = read(action, args)
  if (values.admin === undefined) throw fail('usage', 'expected --admin URL; see veriteed keys --help')
  const admin = await openControllerAdmin({ url: values.admin, ...(await readAdminOptions(values)), now: () => new Date() })
  try {
    const result = await run(action, admin, values, id)
    const simulated = admin.service.verdict.simulated
    if (values.json) return `${JSON.stringify({ simulated, ...result.json }, null, 2)}\n`
    return `${simulated ? 'SIMULATED controller: nothing is protected\n' : ''}${result.text}\n`
  } finally {
    admin.close()
  }
}

interface Result {
  readonly json: object
  readonly text: string
}

async function run(action: Action, admin: ControllerAdmin, values: Values, id: string): Promise<Result> {
  if (action === 'create') {
    const { key, summary, version } = await admin.create({
      name: values.name ?? '',
      models: values.model ?? null,
      ...(values['access-tokens'] === true && { access_tokens: true }),
      expires: values['expires-days'] === undefined ? null : Math.floor(Date.now() / 1000) + number(values, 'expires-days', 36_500) * 86_400,
      limits: limitsOf(values),
    })
    return { json: { key, ...summary, version }, text: `${key}\n\n${table([summary])}\nThe key is shown this once. Version of the list: ${version}` }
  }
  if (action === 'list') {
    const { keys, version } = await admin.list()
    return { json: { keys, version }, text: `${table(keys)}\nVersion of the list: ${version}` }
  }
  if (action === 'limit') {
    const { summary, version } = await admin.limit(id, limitsOf(values))
    return { json: { ...summary, version }, text: `${table([summary])}\nVersion of the list: ${version}` }
  }
  if (action === 'revoke') {
    const { summary, version } = await admin.revoke(id)
    return { json: { ...summary, version }, text: `${table([summary])}\nVersion of the list: ${version}` }
  }
  return usageOf(id, await admin.usage(id))
}

/** What is not said is not limited. */
function limitsOf(values: Values): KeySummary['limits'] {
  return {
    requests_per_minute: limit(values, 'requests-per-minute'),
    tokens_per_minute: limit(values, 'tokens-per-minute'),
    tokens_per_month: limit(values, 'tokens-per-month'),
  }
}

function usageOf(id: string, charges: readonly KeyCharge[]): Result {
  const total = { answers: charges.length, prompt_tokens: 0, completion_tokens: 0 }
  const models: Record<string, { answers: number; prompt_tokens: number; completion_tokens: number }> = {}
  for (const { model, prompt_tokens: prompt, completion_tokens: completion } of charges) {
    models[model ?? ''] ??= { answers: 0, prompt_tokens: 0, completion_tokens: 0 }
    const of = models[model ?? '']
    if (of === undefined) continue
    of.answers++
    for (const sum of [total, of]) {
      sum.prompt_tokens += prompt
      sum.completion_tokens += completion
    }
  }
  const row = (name: string, sum: typeof total): string =>
    [name.padEnd(32), ...[sum.answers, sum.prompt_tokens, sum.completion_tokens].map((n) => String(n).padStart(14))].join('')
  const lines = Object.entries(models).map(([name, sum]) => row(name, sum))
  const head = ['model'.padEnd(32), ...['answers', 'prompt', 'completion'].map((word) => word.padStart(14))].join('')
  const note = 'Of receipts that are kept. --json lists them: anybody with the key can fetch, verify and add them up.'
  return { json: { id, total, models, receipts: charges }, text: [head, ...lines, row('total', total), note].join('\n') }
}

function table(keys: readonly KeySummary[]): string {
  const day = (seconds: number | null): string => (seconds === null ? '-' : new Date(seconds * 1000).toISOString().slice(0, 10))
  const rows = keys.map(({ id, name, models, limits, created, expires, revoked, access_tokens: tokens }) => [
    id,
    name,
    revoked === null ? 'in force' : 'revoked',
    day(created),
    day(expires),
    models === null ? '*' : models.join(','),
    Object.values(limits)
      .map((value) => value ?? '-')
      .join('/'),
    tokens ? 'yes' : '-',
  ])
  const lines = [['id', 'name', 'state', 'created', 'expires', 'models', 'requests/min, tokens/min, tokens/month', 'access tokens'], ...rows]
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0))) ?? []
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function limit(values: Values, name: 'requests-per-minute' | 'tokens-per-minute' | 'tokens-per-month'): number | null {
  return values[name] === undefined ? null : number(values, name, 1_000_000_000_000)
}

function number(values: Values, name: keyof Values & string, max: number): number {
  const text = String(values[name])
  if (!/^[1-9][0-9]{0,12}$/.test(text) || Number(text) > max) throw fail('usage', `--${name}: expected an integer from 1 to ${max}`)
  return Number(text)
}

function read(action: Action, args: readonly string[]): { readonly values: Values; readonly id: string } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    const allowed: readonly string[] = [...own[action], ...common]
    for (const name of Object.keys(values)) if (!allowed.includes(name)) throw new TypeError(`--${name} is not an option of keys ${action}`)
    const wanted = action === 'create' || action === 'list' ? 0 : 1
    if (positionals.length !== wanted) throw new TypeError(`keys ${action}: expected ${wanted === 1 ? 'the id of one key' : 'no argument'}`)
    if (values['access-tokens'] === true && values.model !== undefined) throw new TypeError('--access-tokens: expected no --model beside it')
    if (action === 'create' && values.name === undefined) throw new TypeError('keys create: expected --name')
    return { values, id: positionals[0] ?? '' }
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}
