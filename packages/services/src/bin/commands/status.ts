import { askOperations } from '../../process/status/ask.ts'
import { parseStatus, type Status } from '../../process/status/document.ts'
import type { Command } from '../command.ts'
import { argumentsHelp, readOperatorArguments } from '../operator/arguments.ts'
import { moment, shown, table } from '../operator/table.ts'

const help = `veriteed status: whether a service that runs is ready, and why not; its keys, models and admission manifest

  veriteed status --url http://127.0.0.1:9090
${argumentsHelp}
Exit codes: 0 ready, 1 not ready, 2 wrong usage, 3 the service did not answer or refused.
`

export const command: Command = {
  run: async (args) => {
    const asked = await readOperatorArguments('status', args)
    if (asked.help) {
      process.stdout.write(help)
      return 0
    }
    const status = parseStatus(await askOperations('/status', asked.at))
    process.stdout.write(asked.json ? `${JSON.stringify(status, null, 2)}\n` : `${statusText(status, new Date())}\n`)
    return status.ready ? 0 : 1
  },
}

/** For a person. */
export function statusText({ role, release, simulated, ready, reasons, details, notices, facts }: Status, now: Date): string {
  const lines: (readonly [string, string])[] = [
    ['service', `${role} ${release}${simulated ? ' SIMULATED: nothing is protected' : ''}`],
    ['ready', ready ? 'yes' : `NO: ${reasons.join(', ')}`],
    ...details.map((line) => ['reason', line] as const),
    ...notices.map((line) => ['notice', line] as const),
  ]
  if (facts !== null) {
    const { keyset, manifest, workers } = facts
    lines.push(['keyset', keyset.digest], ['keyset ends', moment(keyset.not_after, now)])
    if (manifest !== null)
      lines.push(
        ['manifest', `${manifest.network} version ${manifest.version}, ${manifest.digest}`],
        ['manifest ends', moment(manifest.expires, now)],
      )
    if (workers !== null) lines.push(['workers', `${workers.serving} serving, ${workers.quarantined} quarantined`])
    lines.push(['requests', `${facts.requests_in_flight} in flight`])
  }
  const head = lines.map(([name, value]) => `${`${name}:`.padEnd(15)}${shown(value)}`).join('\n')
  if (facts === null || facts.models.length === 0) return head
  const models = table(
    [
      ['MODEL', ({ name }) => name],
      ['RUNNING', ({ running }) => String(running)],
      ['WAITING', ({ waiting }) => String(waiting)],
      ...(facts.workers === null ? [] : [['WORKERS', ({ workers }: { readonly workers: number | null }) => String(workers ?? '')] as const]),
    ],
    facts.models,
  )
  return `${head}\n\n${models}`
}
