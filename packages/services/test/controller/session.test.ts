import type { Service } from 'veritee/client'
import type { ExternalEngine } from 'veritee/receipt'
import { externalEnginesExtension, sessionId } from 'veritee/receipt'
import { expect, test } from 'vitest'
import { sessionDocument } from '../../src/controller/session.ts'

interface Found {
  readonly simulated?: boolean
  readonly debug?: boolean
  readonly tcb?: string
  readonly models?: number
  readonly external?: readonly ExternalEngine['weights_provenance'][]
}

const engine = {
  engine: { name: 'vllm', version: '1', build: `sha256:${'66'.repeat(32)}`, cpu_variant: 'external' },
  engine_provenance: 'measured_mount',
  placement: 'confidential_vm',
  transport: 'unix',
  capabilities: [],
  replayable: false,
}

/** A worker as `connect` gives it, so far as a session tells of it. */
function worker({ simulated = false, debug = false, tcb = 'UpToDate', models = 1, external = [] }: Found): Service {
  return {
    transport: { origin: 'https://10.0.0.1:21841', spki: '11'.repeat(32) },
    options: { policy: { roles: { worker: { identity: [{}, {}] } } } },
    report: {
      keysetDigest: `sha256:${'22'.repeat(32)}`,
      keyset: { not_after: 2_000_000_000 },
      claims: {
        simulated,
        debug,
        tcb: { status: tcb, evaluationDataNumber: 17 },
        body: { tee: 'sgx', mrenclave: '33'.repeat(32), mrsigner: '44'.repeat(32) },
      },
      descriptor: {
        models: Array.from({ length: models }, (_, i) => ({ name: `m${i}` })),
        extensions:
          external.length === 0
            ? {}
            : { [externalEnginesExtension]: external.map((weights_provenance, i) => ({ ...engine, model: `m${i}`, weights_provenance })) },
      },
    },
    reportText: '{}',
    nonce: '55'.repeat(32),
    attestedAt: new Date(1_790_000_000_000),
  } as unknown as Service
}

const claimsOf = async (found: Found): Promise<{ readonly [name: string]: unknown }> =>
  (await sessionDocument(worker(found), 'worker https://10.0.0.1:21841')).claims
const unknown = { status: 'unknown' }

test.for<readonly [string, Found, { readonly [claim: string]: object }]>([
  [
    'genuine hardware that hashed the weights while loading',
    {},
    {
      tee_attested: { status: 'asserted', source: 'hardware_proven' },
      tcb_up_to_date: { status: 'asserted', source: 'verifier_derived' },
      serving_software_known_good: { status: 'asserted', source: 'operator_asserted' },
      model_weights_provenance: { status: 'asserted', source: 'hardware_proven' },
      gpu_attested: unknown,
      os_known_good: unknown,
    },
  ],
  [
    'a simulator',
    { simulated: true },
    {
      tee_attested: { status: 'refuted' },
      tcb_up_to_date: unknown,
      model_weights_provenance: { status: 'asserted', source: 'verifier_derived', reason: expect.stringMatching(/^SIMULATED/) as string },
    },
  ],
  [
    'a platform that is out of date',
    { tcb: 'OutOfDate' },
    { tcb_up_to_date: { status: 'refuted', reason: expect.stringMatching(/OutOfDate/) as string } },
  ],
  ['a debug enclave that the policy lets in', { debug: true }, { tee_attested: { status: 'refuted' }, model_weights_provenance: unknown }],
  ['no model at all', { models: 0 }, { model_weights_provenance: unknown }],
])('S2: the claims of a session are no more than what was shown: %s', async ([, found, claims]) => {
  const told = await claimsOf(found)
  for (const [name, claim] of Object.entries(claims)) {
    expect(told[name]).toMatchObject(claim)
    // aci/1 section 8.3: what is unknown has no source.
    if (claim === unknown) expect(told[name]).toEqual(unknown)
  }
  expect(told.extra).toMatchObject({ simulated: found.simulated ?? false, debug: found.debug ?? false })
})

test.for<readonly [string, readonly ExternalEngine['weights_provenance'][], boolean]>([
  ['on a measured mount', ['measured_mount'], true],
  ["by somebody's word", ['provider_asserted'], false],
  ['one of each kind', ['measured_mount', 'provider_asserted'], false],
])('S2: weights of an external engine, %s', async ([, external, proven]) => {
  const { model_weights_provenance: claim } = await claimsOf({ models: external.length, external })
  if (proven) expect(claim).toMatchObject({ status: 'asserted', source: 'hardware_proven', reason: expect.stringMatching(/mount/) as string })
  else expect(claim).toEqual(unknown)
})

test('a session is addressed by its content, and ends with the keyset at the latest', async () => {
  const found = worker({})
  const document = await sessionDocument(found, 'w')
  expect(await sessionDocument(found, 'w')).toEqual(document)
  expect(document.expires_at - document.established_at).toBe(3600)
  const late = { ...found, report: { ...found.report, keyset: { ...found.report.keyset, not_after: 1_790_000_060 } } }
  const short = await sessionDocument(late, 'w')
  expect(short.expires_at).toBe(1_790_000_060)
  expect(await sessionId(short)).not.toBe(await sessionId(document))
})
