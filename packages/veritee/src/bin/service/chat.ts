import { fromUtf8 } from '../../bytes/index.ts'
import type { Connection, ProofEvidence } from '../../client/index.ts'
import { fail } from '../../errors.ts'
import { apiKeyNote, type Command, command, type Given, type Options, one, policyWhy, required, shared } from '../terminal/command.ts'
import { readStandardInput } from '../terminal/files.ts'
import { exitCodes, writeJson, writeNotes } from '../terminal/print.ts'
import { type Asked, askOver, isWhole, type Message, type Parameters, proofLines } from './asking.ts'
import { converse } from './conversation.ts'
import { link, linkOptions } from './linking.ts'
import { modelNames } from './sessions.ts'

const options = {
  url: { type: 'string', value: 'URL', help: 'the service, such as http://127.0.0.1:8000' },
  ...linkOptions,
  model: { type: 'string', value: 'NAME', help: 'default: the only model served' },
  system: { type: 'string', value: 'TEXT', help: 'what the model is told before everything else' },
  'max-tokens': { type: 'string', value: 'N', help: 'length of the answer' },
  temperature: { type: 'string', value: 'T', help: '0 for the likeliest token each time' },
  seed: { type: 'string', value: 'N', help: 'for the same answer again' },
  'no-stream': { type: 'boolean', default: false, help: 'wait for the whole answer' },
  json: { ...shared.json, help: 'answer and proof as one JSON document' },
} as const satisfies Options

export const chat: Command = command({
  name: 'chat',
  operands: '[PROMPT]',
  summary: 'verify a service, ask it, verify the answer',
  options,
  notes: [
    `${apiKeyNote} Nothing is sent before the service is verified. --url and --policy are required.`,
    'Without PROMPT: a conversation at a terminal, where /proof shows what the last answer proves; elsewhere the prompt is read from standard input.',
    'The answer goes to stdout, the proof to stderr.',
  ],
  exits: { 0: 'verified', 3: 'something needed was unavailable, or the answer broke off' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const url = required(values.url, '--url', 'the service to talk to')
  required(values.policy, '--policy', policyWhy)
  const interactive = positionals.length === 0 && process.stdin.isTTY === true && !values.json
  const prompt = interactive ? null : positionals.length === 0 ? await promptFromInput() : one(positionals, 'PROMPT')
  const sampling = {
    ...number('max_tokens', '--max-tokens', values['max-tokens']),
    ...number('temperature', '--temperature', values.temperature),
    ...number('seed', '--seed', values.seed),
  }
  const kept: { evidence: ProofEvidence | null } = { evidence: null }
  const onProof = (_: unknown, found: ProofEvidence): void => {
    kept.evidence = found
  }
  const connection = await link(url, values, { onProof })
  try {
    const parameters: Parameters = { model: values.model ?? (await onlyModel(connection)), stream: !values['no-stream'], ...sampling }
    if (prompt === null) return await converse(connection, parameters, { input: process.stdin, output: process.stdout }, values.system ?? null)
    const messages: Message[] = [
      ...(values.system === undefined ? [] : [{ role: 'system', content: values.system } as const]),
      { role: 'user', content: prompt },
    ]
    const write = (text: string): void => void process.stdout.write(text)
    const asked = await askOver(connection, messages, parameters, values.json ? {} : { onText: write })
    if (values.json) writeJson(answerJson(asked, kept.evidence))
    else {
      write('\n')
      writeNotes(['', ...proofLines(asked.proof)])
    }
    return isWhole(asked.proof) ? 0 : exitCodes.unavailable
  } finally {
    connection.close()
  }
}

async function promptFromInput(): Promise<string> {
  const text = await readStandardInput()
  if (text.trim() === '') throw fail('usage', 'expected exactly one PROMPT, or a text on standard input, found none')
  return text
}

function number<N extends string>(name: N, option: string, text: string | undefined): { [K in N]?: number } {
  if (text === undefined) return {}
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw fail('usage', `${option}: expected a number, found ${JSON.stringify(text)}`)
  return { [name]: value } as { [K in N]?: number }
}

async function onlyModel({ service }: Connection): Promise<string> {
  const names = await modelNames(service.transport, {})
  const [only] = names
  if (only === undefined || names.length !== 1)
    throw fail('usage', `--model: the service has ${names.length} models (${names.join(', ').slice(0, 300)}); say which`)
  return only
}

function answerJson({ proof }: Asked, evidence: ProofEvidence | null): object {
  const records = evidence?.records ?? null
  const document = (text: string | null | undefined): object | null => (text == null ? null : (JSON.parse(text) as object))
  return {
    outcome: proof.status,
    simulated: proof.simulated,
    model: proof.model,
    checks: proof.checks.filter(({ of }) => of === 'answer'),
    request: evidence === null ? null : fromUtf8(evidence.requestBody),
    response: evidence === null ? null : fromUtf8(evidence.responseBody),
    receipts: { service: document(records?.receipt), worker: document(records?.workerReceipt) },
    session: document(records?.session),
    proof,
  }
}
