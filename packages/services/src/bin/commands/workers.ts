import { askOperations } from '../../process/status/ask.ts'
import { parseWorkerList, type WorkerRow } from '../../process/status/document.ts'
import type { Command } from '../command.ts'
import { argumentsHelp, readOperatorArguments } from '../operator/arguments.ts'
import { moment, table } from '../operator/table.ts'

const help = `veriteed workers: the workers that a running controller has verified, and those that it has quarantined, with the reason

  veriteed workers --url http://127.0.0.1:9090
${argumentsHelp}
Exit codes: 0 some worker gets requests, 1 none does, 2 wrong usage, 3 the controller did not answer or refused.
`

export const command: Command = {
  run: async (args) => {
    const asked = await readOperatorArguments('workers', args)
    if (asked.help) {
      process.stdout.write(help)
      return 0
    }
    const list = parseWorkerList(await askOperations('/workers', asked.at))
    const now = new Date()
    process.stdout.write(asked.json ? `${JSON.stringify(list, null, 2)}\n` : `${workersText(list.workers, now)}\n`)
    return list.workers.some((worker) => stateOf(worker, now) === 'serving') ? 0 : 1
  },
}

function stateOf({ quarantine, expires_at, breaker }: WorkerRow, now: Date): 'serving' | 'quarantined' | 'session ended' | 'held back' {
  if (quarantine !== null) return 'quarantined'
  if (expires_at <= now.getTime() / 1000) return 'session ended'
  return breaker === 'open' ? 'held back' : 'serving'
}

/** For a person. */
export function workersText(workers: readonly WorkerRow[], now: Date): string {
  if (workers.length === 0) return 'no workers'
  const list = table<WorkerRow>(
    [
      ['WORKER', ({ url }) => url],
      ['STATE', (worker) => `${stateOf(worker, now)}${worker.simulated ? ' SIMULATED' : ''}`],
      ['BREAKER', ({ breaker }) => breaker ?? '-'],
      ['PROTOCOL', ({ protocol }) => protocol ?? '-'],
      ['OUTSTANDING', ({ outstanding }) => String(outstanding)],
      ['SESSION', ({ session_id }) => session_id.slice(0, 19)],
      ['SESSION ENDS', ({ expires_at }) => moment(expires_at, now)],
      ['OPERATOR', ({ operator }) => operator?.slice(0, 16) ?? '-'],
      ['MODELS', ({ models }) => models.join(', ')],
    ],
    workers,
  )
  const quarantined = workers.filter(({ quarantine }) => quarantine !== null)
  if (quarantined.length === 0) return list
  return `${list}\n\n${table<WorkerRow>(
    [
      ['QUARANTINED', ({ url }) => url],
      ['REASON', ({ quarantine }) => quarantine ?? ''],
    ],
    quarantined,
  )}`
}
