import { fromUtf8, parseJson, Shape } from '../bytes/index.ts'
import { type Answer, ask, chatBody, connect, fetchText, nodeTransport, type Service } from '../client/index.ts'
import { fail } from '../errors.ts'
import { type Role, roles } from '../policy/index.ts'
import { one, policyWhy, readArgs, required } from './args.ts'
import { readPolicy, readTrust } from './files.ts'
import { exitCodes, printable, writeJson, writeNotes } from './print.ts'

export const chatHelp = `veritee chat --url URL --policy FILE "PROMPT": ask a service that was verified first, and verify the answer

  --url URL        the service, such as http://127.0.0.1:8000
  --policy FILE    what you accept (spec/policy.md)
  --role ROLE      role of the service (default: controller)
  --model NAME     default: the only model served
  --root FILE      a further root certificate, such as a simulator's
  --max-tokens N, --temperature T, --seed N
  --no-stream      wait for the whole answer
  --json           answer and proof as one JSON document

The API key, where the service needs one, is read from VERITEE_API_KEY. Nothing is sent before the service is verified.
The answer goes to stdout, the proof to stderr.
Exit codes: 0 verified, 1 rejected, 2 wrong usage or policy, 3 something needed was unavailable, or the answer broke off.
`

export async function chatCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = readArgs(args, {
    url: { type: 'string' },
    policy: { type: 'string' },
    role: { type: 'string', default: 'controller' },
    model: { type: 'string' },
    root: { type: 'string' },
    'max-tokens': { type: 'string' },
    temperature: { type: 'string' },
    seed: { type: 'string' },
    'no-stream': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  })
  const prompt = one(positionals, 'PROMPT')
  const policy = await readPolicy(required(values.policy, '--policy', policyWhy))
  const url = required(values.url, '--url', 'the service to talk to')
  if (!roles.includes(values.role as Role)) throw fail('usage', `--role: expected one of ${roles.join(', ')}`)
  const trust = await readTrust(values.root)
  const apiKey = process.env.VERITEE_API_KEY
  if (apiKey !== undefined && !/^[\x21-\x7e]{1,512}$/.test(apiKey)) throw fail('usage', 'VERITEE_API_KEY: expected 1 to 512 visible ASCII characters')
  const transport = nodeTransport(url)
  try {
    const service = await connect(transport, {
      policy,
      trust,
      role: values.role as Role,
      now: () => new Date(),
      ...(apiKey === undefined ? {} : { apiKey }),
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

function modelNames(text: string): string[] {
  const shape = new Shape('service_refused')
  const list = shape.record(parseJson(text, { maxLength: 1 << 20, maxDepth: 8 }), '/v1/models')
  return shape.array(list.data, '/v1/models data', 1024).map((item, i) => shape.string(shape.record(item, `data[${i}]`).id, `data[${i}].id`, 256))
}

async function onlyModel(service: Service): Promise<string> {
  const text = await fetchText(service.transport, { method: 'GET', path: '/v1/models' }, 1 << 20)
  const names = modelNames(text)
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
