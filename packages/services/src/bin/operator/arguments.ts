import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { nodeFiles } from '../../process/files.ts'
import type { AskOptions } from '../../process/status/ask.ts'

export interface OperatorArguments {
  readonly help: boolean
  readonly json: boolean
  readonly at: AskOptions
}

export const argumentsHelp = `      --url URL          the listener for operators (--metrics-port), http://host:port on loopback, or https
      --token-file FILE  the token of /metrics, where there is one; or VERITEE_METRICS_TOKEN
      --json             one document on stdout
`

/** The arguments that `status` and `workers` have alike. Throws `usage`, `file_unavailable`. */
export async function readOperatorArguments(command: string, args: readonly string[]): Promise<OperatorArguments> {
  const { values } = parse(args)
  if (values.help) return { help: true, json: false, at: { url: '', token: null } }
  if (values.url === undefined) throw fail('usage', `expected --url; see veriteed ${command} --help`)
  return { help: false, json: values.json, at: { url: values.url, token: await tokenOf(values['token-file']) } }
}

function parse(args: readonly string[]) {
  const options = {
    url: { type: 'string' },
    'token-file': { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  } as const
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false })
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function tokenOf(path: string | undefined): Promise<string | null> {
  const given = process.env.VERITEE_METRICS_TOKEN
  if (path !== undefined && given !== undefined) throw fail('usage', 'expected either --token-file or VERITEE_METRICS_TOKEN, found both')
  const token = path === undefined ? given : (await nodeFiles.readText(path)).replace(/\r?\n$/, '')
  if (token === undefined) return null
  if (!/^[\x21-\x7e]{32,512}$/.test(token)) throw fail('usage', 'the token: expected 32 to 512 visible ASCII characters')
  return token
}
