import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import { type Connection, explain, type Proof } from '../../client/index.ts'
import { VeriteeError } from '../../errors.ts'
import { nextStep } from '../terminal/advice.ts'
import { oneLine } from '../terminal/print.ts'
import { askOver, type Message, type Parameters, proofLine } from './asking.ts'

export interface Terminal {
  readonly input: Readable
  readonly output: Writable
}

const help = [
  '/proof  what the last answer proves, in full',
  '/json   the same as JSON',
  '/new    forget the conversation',
  '/quit   end (or Ctrl-D)',
]

/**
 * A conversation at a terminal: each answer as it comes, and a line below it that says what was proven. Everything said so far is sent again with each
 * question, over the connection that verifies the service first. Ctrl-C stops an answer; what came of it is proven as a beginning.
 *
 * Gives the exit code: 0, or 1 where an answer was rejected and the conversation ended.
 */
export async function converse(connection: Connection, parameters: Parameters, { input, output }: Terminal, system: string | null): Promise<number> {
  const lines = createInterface({ input, output, terminal: 'isTTY' in output && output.isTTY === true })
  const say = (text: string): void => void output.write(`${text}\n`)
  const fresh = (): Message[] => (system === null ? [] : [{ role: 'system', content: system }])
  let messages = fresh()
  let last: Proof | null = null
  let asking: AbortController | null = null
  lines.on('SIGINT', () => {
    if (asking === null) lines.close()
    else asking.abort()
  })
  say(
    `${connection.service.verdict.simulated ? 'SIMULATED: ' : ''}${connection.service.transport.origin} is verified; ${parameters.model} answers. /help tells more`,
  )
  const prompt = (): void => {
    lines.setPrompt('> ')
    lines.prompt()
  }
  prompt()
  for await (const line of lines) {
    const asked = line.trim()
    if (asked === '/quit') break
    if (asked === '/help') help.forEach(say)
    else if (asked === '/new') {
      messages = fresh()
      say('forgotten')
    } else if (asked === '/proof') say(last === null ? 'nothing was answered yet' : explain(last))
    else if (asked === '/json') say(last === null ? 'null' : JSON.stringify(last, null, 2))
    else if (asked.startsWith('/')) say(`unknown: ${oneLine(asked.slice(0, 40))}; /help`)
    else if (asked !== '') {
      const turn: Message[] = [...messages, { role: 'user', content: line }]
      asking = new AbortController()
      try {
        const { proof, text } = await askOver(connection, turn, parameters, { onText: (piece) => void output.write(piece), signal: asking.signal })
        last = proof
        messages = [...turn, { role: 'assistant', content: text }]
        say(`\n[${proofLine(proof)}]`)
      } catch (error) {
        if (!(error instanceof VeriteeError)) throw error
        const next = nextStep(error.code)
        say(
          `\n[${oneLine(`${error.kind === 'unavailable' ? 'NOT PROVEN' : 'REJECTED'}: ${error.code}: ${error.message}`)}]${next === null ? '' : `\n[next: ${next}]`}`,
        )
        // What is not genuine, or not wanted, is no partner to go on with.
        if (error.kind !== 'unavailable') {
          lines.close()
          return 1
        }
      } finally {
        asking = null
      }
    }
    prompt()
  }
  lines.close()
  return 0
}
