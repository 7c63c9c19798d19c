import { beforeAll, describe, expect, it } from 'vitest'
import { type Json, utf8 } from '../../src/bytes/index.ts'
import { type EvidencePolicy, explainPolicy } from '../../src/policy/index.ts'
import { checkModel } from '../../src/receipt/exchange.ts'
import {
  applyRewrite,
  type DescribedModel,
  type ExternalEngine,
  evaluateReport,
  parseReceipt,
  parseReport,
  type ReceiptEvent,
  type RewriteOperation,
  requestLimits,
  type VerifiedExchange,
  type VerifiedReport,
  verifyReport,
} from '../../src/receipt/index.ts'
import { createEnclave, engine, judgedAt, measured, nonceOf, sha, type TestEnclave, trust } from './enclaves.ts'
import { forwardedText, makeScenario, policyOf, verifyScenario } from './scenario.ts'

const td = { mrtd: 'ab'.repeat(48) }
const tdIdentity = [{ mrtd: td.mrtd, rtmr0: 'any', rtmr1: 'any', rtmr2: 'any', rtmr3: 'any', mrseam: 'any' }] as const
const external: ExternalEngine = {
  engine: { ...engine, name: 'vllm', cpu_variant: 'external' },
  engine_provenance: 'provider_asserted',
  weights_provenance: 'provider_asserted',
  placement: 'simulation',
  transport: 'unix',
  capabilities: ['deterministic', 'tokenIds'],
  replayable: true,
}
const provenAt = { engine_provenance: 'measured_mount', weights_provenance: 'measured_mount' } as const
const unknownModel: DescribedModel = { name: 'demo-model', files: [], format: 'unknown', sealed: false, chat_template_digest: null }
const knownModel: DescribedModel = { ...unknownModel, files: [{ name: 'a.safetensors', sha256: sha('weights'), size: 7 }], format: 'safetensors' }

const patch: readonly RewriteOperation[] = [
  { op: 'replace', path: '/model', value: 'org/demo' },
  { op: 'add', path: '/seed', value: 7 },
]
const rewrite: ReceiptEvent = { type: 'veritee.rewrite', patch, body_hash: sha(applyRewrite(utf8(forwardedText), patch, requestLimits)) }
const request = {
  prompt_tokens: 3,
  completion_tokens: null,
  prompt_tokens_hmac: null,
  completion_tokens_hmac: 'ab'.repeat(32),
  parameters: { temperature: '1' },
  passed_parameters: ['user'],
  seed: '0000000000000007',
  outcome: 'complete',
} as const

const descriptorOf = (
  facts: ExternalEngine,
  model = unknownModel,
): { models: DescribedModel[]; extensions: { readonly [name: string]: unknown } } => ({
  models: [model],
  extensions: { 'veritee.external_engines': [{ model: model.name, ...facts }] },
})

let worker: TestEnclave
let proven: TestEnclave
beforeAll(async () => {
  worker = await createEnclave('worker', { td, descriptor: descriptorOf(external) })
  proven = await createEnclave('worker', { td, descriptor: descriptorOf({ ...external, ...provenAt }, knownModel) })
})

interface Told {
  readonly at?: TestEnclave
  readonly facts?: Partial<ExternalEngine>
  readonly model?: Partial<DescribedModel> & { readonly provenance?: 'hashed_while_loading' | 'measured_mount' | 'provider_asserted' }
  readonly event?: { readonly [name: string]: Json }
  readonly rewrite?: ReceiptEvent
  readonly leaveOut?: string
  readonly policy?: Partial<EvidencePolicy>
}

/** The verdict over one answer of a worker with an external engine in a simulated TD. */
async function exchange({ at = worker, facts, model, event, rewrite: told = rewrite, leaveOut, policy }: Told = {}): Promise<VerifiedExchange> {
  const isProven = at === proven
  const events: readonly ReceiptEvent[] = [
    told,
    { type: 'veritee.model', ...(isProven ? knownModel : unknownModel), provenance: isProven ? 'measured_mount' : 'provider_asserted', ...model },
    { type: 'veritee.external_engine', ...external, ...(isProven && provenAt), ...facts, ...request, ...event } as ReceiptEvent,
  ]
  const scenario = await makeScenario({
    worker: at,
    workerEvents: (usual) => usual.flatMap((found) => (found.type === 'veritee.model' ? events : [found])).filter((found) => found.type !== leaveOut),
  })
  const demands = { tee: 'any', identity: tdIdentity, models: 'any', externalEngine: 'any', ...policy } as const
  return verifyScenario(scenario, { policy: policyOf(demands) })
}
const code = async (told: Told): Promise<string> =>
  exchange(told).then(
    () => 'accepted',
    (error: { code?: string }) => error.code ?? String(error),
  )

describe('a receipt of an external engine', () => {
  it('S2: is accepted only by a policy that says so, and the verdict says what it is', async () => {
    const { model, checks, inferenceOutcome } = await exchange()
    expect(model.provenance).toBe('provider_asserted')
    expect(inferenceOutcome).toBe('complete')
    const told = checks.map(({ id, status, detail }) => `${id} ${status} ${detail}`).join('\n')
    expect(told).toContain('engine waived EXTERNAL engine vllm 1 over unix, its build only asserted, its weights only asserted')
    expect(told).toContain('model waived demo-model: weights NOT KNOWN to the worker')
    expect(told).toContain('rewrite pass before the engine got the request, the worker set model, seed')
  })
  it.each<[string, Told, string]>([
    ['a policy that wants the engine in the worker', { policy: { externalEngine: 'refuse' } }, 'policy_engine'],
    ['a policy from before there were external engines', { policy: { externalEngine: undefined as never } }, 'policy_engine'],
    ['weights that are only asserted, where measured ones are wanted', { policy: { externalEngine: 'measured' } }, 'policy_engine'],
    ['a policy that lists weights', { policy: { models: { 'demo-model': [sha('weights')] } } }, 'policy_models'],
    ['weights said to be hashed while loading', { model: { provenance: 'hashed_while_loading' } }, 'policy_models'],
    ['weights said to be measured', { model: { provenance: 'measured_mount' } }, 'policy_models'],
    ['files that the quote does not bind', { model: { files: knownModel.files } }, 'policy_models'],
    ['another format', { model: { format: 'gguf' } }, 'policy_models'],
    ['no word of the engine', { leaveOut: 'veritee.external_engine' }, 'policy_engine'],
    ['another engine', { facts: { engine: { ...external.engine, name: 'sglang' } } }, 'policy_engine'],
    ['another transport', { facts: { transport: 'loopback' } }, 'policy_engine'],
    ['an engine said to be measured', { facts: { engine_provenance: 'measured_mount' } }, 'policy_engine'],
    ['an engine said to do more', { facts: { capabilities: ['tools'] } }, 'policy_engine'],
    ['another place', { facts: { placement: 'confidential_vm' } }, 'policy_engine'],
    ['a rewrite that does not give the bytes', { rewrite: { ...rewrite, body_hash: sha('other') } as ReceiptEvent }, 'receipt_request_mismatch'],
    [
      'a rewrite that does not fit the request',
      { rewrite: { ...rewrite, patch: [{ op: 'replace', path: '/seed', value: 1 }] } as ReceiptEvent },
      'receipt_request_mismatch',
    ],
    [
      'a chat said to have been a request for a response',
      { rewrite: { ...rewrite, translation: 'veritee.responses-to-chat.v1' } as ReceiptEvent },
      'receipt_request_mismatch',
    ],
  ])('S2: is refused for %s', async (_, told, expected) => {
    expect(await code(told)).toBe(expected)
  })
  it('S2: with weights on a measured mount satisfies a policy that demands that, and that lists them', async () => {
    const demands = { externalEngine: 'measured', models: { 'demo-model': [sha('weights')] } } as const
    const { checks } = await exchange({ at: proven, policy: demands })
    expect(checks).toContainEqual({
      id: 'engine',
      status: 'pass',
      detail: 'EXTERNAL engine vllm 1 over unix, its build measured, its weights measured',
    })
    expect(await code({ at: proven, policy: { ...demands, models: { 'demo-model': [sha('other')] } } })).toBe('policy_models')
    expect(await code({ at: proven, policy: { externalEngine: 'refuse' } })).toBe('policy_engine')
  })
  it('what was aborted is a part of an answer, by the word of this event too', async () => {
    expect((await exchange({ event: { outcome: 'aborted' } })).outcome).toBe('verified-prefix')
  })
})

describe('hostile events of an external engine', () => {
  const base = { type: 'veritee.external_engine', ...external, ...request } as unknown as { readonly [name: string]: Json }
  const read = (event: Json): unknown => {
    const returned = { type: 'response.returned', body_hash: sha('') }
    return parseReceipt(worker.receipt([{ type: 'request.received', body_hash: sha('') }, event, returned]))
  }
  const refused = (event: Json): void => expect(() => read(event)).toThrow(expect.objectContaining({ code: 'receipt_malformed' }))

  it('the plain one is read', () => expect(() => read(base)).not.toThrow())
  it.each<[string, { readonly [name: string]: Json }]>([
    ['an unknown member', { extra: 1 }],
    ['an unknown provenance', { weights_provenance: 'hardware_proven' }],
    ['an unknown placement', { placement: 'sgx' }],
    ['a remote transport', { transport: 'tcp' }],
    ['an unknown capability', { capabilities: ['everything'] }],
    ['too many capabilities', { capabilities: Array(7).fill('tools') }],
    ['replayable as text', { replayable: 'yes' }],
    ['a negative count', { prompt_tokens: -1 }],
    ['a short digest', { prompt_tokens_hmac: 'ab' }],
    ['a seed of no hex', { seed: 'seed' }],
    ['a parameter that is an object', { parameters: { top_k: {} } }],
    ['too many passed parameters', { passed_parameters: Array(257).fill('x') }],
    ['an unknown outcome', { outcome: 'fine' }],
    ['an engine without a build', { engine: { name: 'vllm', version: '1', cpu_variant: 'external' } }],
  ])('%s', (_, change) => refused({ ...base, ...change }))
  it.each(Object.keys(base).filter((name) => name !== 'type'))('no %s', (name) => {
    const { [name]: _, ...rest } = base
    refused(rest)
  })

  const operation = (op: string, path: string, value: Json): Json => ({ type: 'veritee.rewrite', patch: [{ op, path, value }], body_hash: sha('') })
  it.each<[string, Json]>([
    ['of the messages', operation('replace', '/messages', 'other')],
    ['of max_tokens', operation('add', '/max_tokens', 1)],
    ['with another translation', { ...(operation('add', '/seed', 1) as { readonly [name: string]: Json }), translation: 'other' }],
    ['of a place below', operation('replace', '/model/name', 'x')],
    ['by removal', operation('remove', '/seed', 1)],
    ['with a list', operation('add', '/seed', [1])],
    ['with null', operation('add', '/seed', null)],
    ['with a long text', operation('replace', '/model', 'x'.repeat(257))],
    ['with other stream options', operation('add', '/stream_options', { include_usage: true, x: 1 })],
    ['against the usage', operation('add', '/stream_options', { include_usage: false })],
    ['of one place twice', { type: 'veritee.rewrite', patch: [1, 2].map((value) => ({ op: 'add', path: '/seed', value })), body_hash: sha('') }],
    [
      'of a place and one in it',
      {
        type: 'veritee.rewrite',
        patch: [
          { op: 'add', path: '/stream_options', value: { include_usage: true } },
          { op: 'add', path: '/stream_options/include_usage', value: true },
        ],
        body_hash: sha(''),
      },
    ],
  ])('S10: a rewrite %s', (_, event) => refused(event))
})

describe('the report of a worker with an external engine', () => {
  const context = { role: 'worker', at: judgedAt, attestedAt: judgedAt, channel: 'attested' } as const
  const reportOf = async (enclave: TestEnclave): Promise<VerifiedReport> =>
    verifyReport(parseReport(await enclave.report(nonceOf('n'))), nonceOf('n'), await trust(), judgedAt)
  const judge = (report: VerifiedReport, demands: Partial<EvidencePolicy>): string => {
    const section = policyOf({ tee: 'any', identity: tdIdentity, models: 'any', ...demands }).roles.worker as EvidencePolicy
    return evaluateReport(report, section, context).error?.code ?? 'accepted'
  }
  const genuine = (report: VerifiedReport): VerifiedReport => ({ ...report, claims: { ...report.claims, simulated: false } })

  it('S2: is refused before anything is sent, unless the policy says otherwise', async () => {
    const asserted = await reportOf(worker)
    expect(judge(asserted, {})).toBe('policy_engine')
    expect(judge(asserted, { externalEngine: 'refuse' })).toBe('policy_engine')
    expect(judge(asserted, { externalEngine: 'measured' })).toBe('policy_engine')
    expect(judge(asserted, { externalEngine: 'any' })).toBe('accepted')
    expect(judge(await reportOf(proven), { externalEngine: 'measured' })).toBe('accepted')
  })
  it('S2: is refused where the place it states is not the one that the quote shows', async () => {
    expect(judge(genuine(await reportOf(worker)), { externalEngine: 'any' })).toBe('policy_engine')
    const lying = await createEnclave('worker', { td, descriptor: descriptorOf({ ...external, placement: 'confidential_vm' }) })
    expect(judge(await reportOf(lying), { externalEngine: 'any' })).toBe('policy_engine')
    expect(judge(genuine(await reportOf(lying)), { externalEngine: 'any' })).toBe('accepted')
  })
  it('S2: under SGX is refused by every policy, and so is the receipt', async () => {
    const enclave = await createEnclave('worker', { descriptor: descriptorOf({ ...external, ...provenAt }, knownModel) })
    const report = await reportOf(enclave)
    const demands = { externalEngine: 'any', identity: [{ mrenclave: measured('worker').mrenclave }] } as const
    expect(judge(report, demands)).toBe('policy_engine')
    const receipt = parseReceipt(
      enclave.receipt([
        { type: 'request.received', body_hash: sha('') },
        { type: 'veritee.model', ...knownModel, provenance: 'measured_mount' },
        { type: 'veritee.external_engine', ...external, ...provenAt, ...request } as ReceiptEvent,
        { type: 'response.returned', body_hash: sha('') },
      ]),
    )
    const section = policyOf({ ...demands, models: 'any' }).roles.worker as EvidencePolicy
    expect(() => checkModel(receipt, report, section, [], null)).toThrow(expect.objectContaining({ code: 'policy_engine' }))
  })
  it.each<[string, unknown]>([
    ['no list', {}],
    ['an empty list', []],
    ['an unknown member', [{ model: 'demo-model', ...external, extra: 1 }]],
    ['no model', [{ ...external }]],
    ['an unknown provenance', [{ model: 'demo-model', ...external, weights_provenance: 'hashed' }]],
  ])('a malformed list of engines is refused: %s', async (_, list) => {
    const enclave = await createEnclave('worker', { td, descriptor: { models: [unknownModel], extensions: { 'veritee.external_engines': list } } })
    expect(judge(await reportOf(enclave), { externalEngine: 'any' })).toBe('policy_engine')
  })
  it('a format that only an external engine loads is refused where none is named', async () => {
    const enclave = await createEnclave('worker', { td, descriptor: { models: [knownModel] } })
    expect(judge(await reportOf(enclave), { externalEngine: 'any' })).toBe('policy_engine')
  })
  it('policies are explained: what is accepted is told as waived', () => {
    const told = (externalEngine: 'refuse' | 'measured' | 'any'): string => {
      const [section] = explainPolicy({
        version: 'veritee.policy.v1',
        roles: { worker: policyOf({ externalEngine }).roles.worker as EvidencePolicy },
      })
      return `${section?.demanded.join('\n')}\n--\n${section?.waived.join('\n')}`
    }
    expect(told('refuse')).toMatch(/the engine is the worker's own\n[\s\S]*--/)
    expect(told('measured')).toMatch(/--[\s\S]*on a measured mount/)
    expect(told('any')).toMatch(/--[\s\S]*only asserted/)
  })
})
