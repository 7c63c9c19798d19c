import { fromUtf8 } from '../../bytes/index.ts'
import { type Answer, ask, chatBody, connect, nodeTransport, type Service } from '../../client/index.ts'
import { fail } from '../../errors.ts'
import type { Role } from '../../policy/index.ts'
import {
  apiKeyFromEnvironment,
  apiKeyNote,
  type Command,
  command,
  type Given,
  type Options,
  one,
  policyWhy,
  required,
  shared,
} from '../terminal/command.ts'
import { readPolicy, readTrust } from '../terminal/files.ts'
import { exitCodes, printable, writeJson, writeNotes } from '../terminal/print.ts'
import { modelNames } from './sessions.ts'

const options = {
  url: { type: 'string', value: 'URL', help: 'the service, such as http://127.0.0.1:8000' },
  policy: shared.policy,
  role: shared.serviceRole,
  model: { type: 'string', value: 'NAME', help: 'default: the only model served' },
  root: shared.root,
  'max-tokens': { type: 'string', value: 'N', help: 'length of the answer' },
  temperature: { type: 'string', value: 'T', help: '0 for the likeliest token each time' },
  seed: { type: 'string', value: 'N', help: 'for the same answer again' },
  'no-stream': { type: 'boolean', default: false, help: 'wait for the whole answer' },
  json: { ...shared.json, help: 'answer and proof as one JSON document' },
} as const satisfies Options

export const chat: Command = command({
  name: 'chat',
  operands: 'PROMPT',
  summary: 'verify a service, ask it, verify the answer',
  options,
  notes: [`${apiKeyNote} Nothing is sent before the service is verified.`, 'The answer goes to stdout, the proof to stderr.'],
  exits: { 0: 'verified', 3: 'something needed was unavailable, or the answer broke off' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const prompt = one(positionals, 'PROMPT')
  const policy = await readPolicy(required(values.policy, '--policy', policyWhy))
  const url = required(values.url, '--url', 'the service to talk to')
  const trust = await readTrust(values.root)
  const apiKey = apiKeyFromEnvironment()
  const transport = nodeTransport(url)
  try {
    const service = await connect(transport, {
      policy,
      trust,
      role: values.role as Role,
      now: () => new Date(),
      ...apiKey,
    })
    const body = chatBody(values.model ?? (await onlyModel(service)), prompt, {
      stream: !values['no-stream'],
      ...number('maxTokens', '--max-tokens', values['max-tokens']),
      ...number('temperature', '--temperature', values.temperature),
      ...number('seed', '--seed', values.seed),
    })
    const answer = await ask(service, '/v1/chat/completions', body, values.json ? {} : { onEvent: printEvent })
    if (values.json) writeJson(answerJson(answer))
    else {
      if (values['no-stream']) process.stdout.write(messageText(answer.responseBody))
      process.stdout.write('\n')
      writeNotes(proofLines(answer))
    }
    return isWhole(answer) ? 0 : exitCodes.unavailable
  } finally {
    transport.close()
  }
}

function number<N extends string>(name: N, option: string, text: string | undefined): { [K in N]?: number } {
  if (text === undefined) return {}
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw fail('usage', `${option}: expected a number, found ${JSON.stringify(text)}`)
  return { [name]: value } as { [K in N]?: number }
}

async function onlyModel(service: Service): Promise<string> {
  const names = await modelNames(service.transport, {})
  const [only] = names
  if (only === undefined || names.length !== 1)
    throw fail('usage', `--model: the service has ${names.length} models (${names.join(', ').slice(0, 300)}); say which`)
  return only
}

function printEvent(event: Uint8Array): boolean {
  const text = new TextDecoder().decode(event)
  if (text.startsWith('data: {')) process.stdout.write(contentOf(text.slice(6), 'delta'))
  return true
}

function messageText(body: Uint8Array): string {
  return contentOf(new TextDecoder().decode(body), 'message')
}

/** The text of the first choice; nothing where the document is not what OpenAI's API gives. The bytes are verified either way. */
function contentOf(text: string, member: 'delta' | 'message'): string {
  try {
    const { choices } = JSON.parse(text) as { choices?: { delta?: { content?: unknown } | null; message?: { content?: unknown } | null }[] }
    const content = choices?.[0]?.[member]?.content
    return typeof content === 'string' ? printable(content) : ''
  } catch {
    return ''
  }
}

/** This command never stops early: a part of an answer, or one that ended in an error, is the service's or the network's doing. */
function isWhole({ proof }: Answer): boolean {
  return proof.outcome === 'verified' && proof.inferenceOutcome !== 'error'
}

function proofLines(answer: Answer): string[] {
  const { proof } = answer
  const worker = proof.worker?.report ?? null
  return [
    '',
    `${proof.simulated ? 'SIMULATED ' : ''}${proof.outcome}: ${proof.model.name}, weights ${proof.model.files.map((file) => file.sha256).join(', ')}`,
    `receipt ${proof.receipt.receiptId}${worker === null ? '' : `, worker ${worker.keysetDigest}`}`,
    ...(isWhole(answer) ? [] : ['INCOMPLETE: the answer broke off; what came of it is genuine']),
    ...(proof.simulated ? ['SIMULATED: no hardware protects this exchange; it shows the flow only'] : []),
  ]
}

function answerJson({ proof, requestBody, responseBody, records }: Answer): object {
  return {
    outcome: proof.outcome,
    simulated: proof.simulated,
    model: proof.model,
    checks: proof.checks,
    request: fromUtf8(requestBody),
    response: fromUtf8(responseBody),
    receipts: { service: proof.receipt.document, worker: proof.worker?.receipt.document ?? null },
    session: records.session === null ? null : (JSON.parse(records.session) as object),
  }
}
