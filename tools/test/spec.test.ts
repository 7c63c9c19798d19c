import { readFileSync } from 'node:fs'
import { parseAdmissionManifest } from 'veritee/admission'
import { parseLogStatement } from 'veritee/log'
import { parsePolicy } from 'veritee/policy'
import { parseDescriptor, parseReceipt, parseReport, parseSession } from 'veritee/receipt'
import { parseRelease } from 'veritee/release'
import { faults, obstacles, parseAuditRecord, parseState } from 'veritee/scoring'
import { parseManifest } from 'veritee/seal'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Documents, digestOf, makeDocuments } from './documents.ts'
import { edited, put, type Tree } from './edits.ts'
import { complaints, schemas, validatorOf } from './schemas.ts'

let documents: Documents
beforeAll(async () => {
  documents = await makeDocuments()
})

test.for([...schemas.keys()])('schema %s compiles strictly', (name) => {
  expect(schemas.get(name)).toMatchObject({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: expect.stringMatching(/^urn:veritee:schema:/),
  })
  expect(validatorOf(name)).toBeTypeOf('function')
})

describe('documents of the running code are valid', () => {
  test('policy', () => {
    expect(complaints('policy', documents.policy)).toEqual([])
    expect(() => parsePolicy(JSON.stringify(documents.policy))).not.toThrow()
  })

  test('service descriptors', () => {
    for (const descriptor of Object.values(documents.descriptors)) expect(complaints('service-descriptor', descriptor)).toEqual([])
  })

  test('reports', () => {
    for (const report of Object.values(documents.reports)) {
      expect(complaints('report', JSON.parse(report))).toEqual([])
      expect(() => parseReport(report)).not.toThrow()
    }
  })

  test('session', async () => {
    const { id, document } = documents.session
    expect(complaints('session', document)).toEqual([])
    expect((await parseSession(JSON.stringify(document), id)).id).toBe(id)
  })

  test('receipts', () => {
    for (const receipt of Object.values(documents.receipts)) {
      expect(complaints('receipt', JSON.parse(receipt))).toEqual([])
      expect(() => parseReceipt(receipt)).not.toThrow()
    }
    const types = new Set(Object.values(documents.receipts).flatMap((receipt) => parseReceipt(receipt).events.map((event) => event.type)))
    expect(types.size).toBe(15)
  })

  test('sealed model: the manifest of the vectors, and what its reader refuses for its shape', () => {
    const vectors = JSON.parse(readFileSync(new URL('../../spec/vectors/sealed-model.json', import.meta.url), 'utf8')) as { manifest: string }
    const manifest: unknown = JSON.parse(vectors.manifest)
    expect(complaints('sealed-model', manifest)).toEqual([])
    const changes: [string, unknown][] = [
      ['name', '-'],
      ['model_version', 0],
      ['chunk_size', 4095],
      ['key_id', 'a/b'],
      ['salt', ''],
      ['files', []],
      ['files/0/name', '../x'],
      ['files/0/size', -1],
      ['signature', 'AA'],
    ]
    for (const [path, value] of changes) {
      const changed = edited(manifest, (copy) => put(copy, path, value))
      expect(complaints('sealed-model', changed), path).not.toEqual([])
      expect(() => parseManifest(JSON.stringify(changed)), path).toThrow()
    }
  })

  test('release statement: that of the vectors, and what its reader refuses for its shape', async () => {
    const vectors = JSON.parse(readFileSync(new URL('../../spec/vectors/release-statement.json', import.meta.url), 'utf8')) as { statement: string }
    const statement = JSON.parse(vectors.statement) as unknown
    expect(complaints('release-statement', statement)).toEqual([])
    const mutations: readonly (readonly [string, unknown?])[] = [
      ['version', 'veritee.release-statement.v2'],
      ['product', 'two words'],
      ['sequence', 0],
      ['issued', -1],
      ['commit', 'abc'],
      ['enclaves', []],
      ['enclaves/0/role', 'robot'],
      ['enclaves/0/mrenclave', 'c0'],
      ['enclaves/0/inputs', 'c0'],
      ['enclaves/0/isv_svn', 65_536],
      ['svn_floor/robot', 1],
      ['withdrawn', ['1.1.0', '1.1.0']],
      ['signatures/0/key', '00'],
      ['note', 'trust me'],
      ...['release', 'svn_floor', 'withdrawn', 'signatures', 'enclaves/0/gramine', 'enclaves/0/bundle'].map((path) => [path] as const),
    ]
    for (const [path, ...value] of mutations) {
      const changed = edited(statement, (copy) => put(copy, path, ...value))
      expect(complaints('release-statement', changed), path).not.toEqual([])
      await expect(parseRelease(JSON.stringify(changed)), path).rejects.toMatchObject({ code: 'release_statement_malformed' })
    }
  })

  test('admission manifest: that of the vectors, and what its reader refuses for its shape', async () => {
    const vectors = JSON.parse(readFileSync(new URL('../../spec/vectors/admission-manifest.json', import.meta.url), 'utf8')) as { manifest: string }
    const manifest: unknown = JSON.parse(vectors.manifest)
    expect(complaints('admission-manifest', manifest)).toEqual([])
    const changes: [string, unknown][] = [
      ['version', 'veritee.admission-manifest.v2'],
      ['network', '../x'],
      ['manifest_version', 0],
      ['issued', -1],
      ['roles', {}],
      ['roles/worker/identity', []],
      ['platforms/salt', ''],
      ['platforms/allow', []],
      ['platforms/deny', ['x']],
      ['signatures/0/signature', 'AA'],
      ['signatures/0/more', 1],
    ]
    for (const [path, value] of changes) {
      const changed = edited(manifest, (copy) => put(copy, path, value))
      expect(complaints('admission-manifest', changed), path).not.toEqual([])
      await expect(parseAdmissionManifest(JSON.stringify(changed)), path).rejects.toThrow()
    }
  })

  test('audit record: those of the vectors', () => {
    const vectors = JSON.parse(readFileSync(new URL('../../spec/vectors/audit-record.json', import.meta.url), 'utf8')) as {
      records: { record: string }[]
    }
    for (const { record } of vectors.records) {
      expect(complaints('audit-record', JSON.parse(record))).toEqual([])
      expect(() => parseAuditRecord(record)).not.toThrow()
    }
    const { $defs } = schemas.get('audit-record') as unknown as { $defs: { fault: { enum: string[] }; obstacle: { enum: string[] } } }
    expect($defs.fault.enum).toEqual(Object.keys(faults))
    expect($defs.obstacle.enum).toEqual([...obstacles])
    const page = readFileSync(new URL('../../spec/audit-record.md', import.meta.url), 'utf8')
    for (const reason of [...$defs.fault.enum, ...$defs.obstacle.enum]) expect(page).toContain(`\`${reason}\``)
  })

  test('request for a confirmation: those of the vectors, and what their reader refuses for their shape', () => {
    const vectors = JSON.parse(readFileSync(new URL('../../spec/vectors/confirmation-request.json', import.meta.url), 'utf8')) as {
      requests: { request: string }[]
      refused: { request: string; code: string }[]
    }
    for (const { request } of vectors.requests) expect(complaints('confirmation-request', JSON.parse(request))).toEqual([])
    // The last two of these are of the right shape, and not of its canonical form.
    const malformed = vectors.refused.filter(({ code }) => code === 'confirmation_request_malformed').slice(0, -2)
    expect(malformed.length).toBeGreaterThan(10)
    for (const { request } of malformed) expect(complaints('confirmation-request', JSON.parse(request))).not.toEqual([])
  })

  test('scoring: policies and states', () => {
    const vectors = JSON.parse(readFileSync(new URL('../../spec/vectors/scoring-epochs.json', import.meta.url), 'utf8')) as {
      policy: unknown
      epochs: { after: { network: string } }[]
    }
    expect(complaints('scoring-policy', vectors.policy)).toEqual([])
    for (const { after } of vectors.epochs) {
      expect(complaints('scoring-state', after)).toEqual([])
      expect(() => parseState(JSON.stringify(after), after.network)).not.toThrow()
    }
  })

  test('statements for the log: those of the vectors, and what their reader refuses for their shape', () => {
    const { statements } = JSON.parse(readFileSync(new URL('../../spec/vectors/log.json', import.meta.url), 'utf8')) as {
      statements: { view: { text: string }; head: { text: string } }
    }
    const changes: readonly (readonly [of: string, path: string, ...value: [unknown?]])[] = [
      [statements.view.text, 'version', 'veritee.audit-view.v2'],
      [statements.view.text, 'log/origin'],
      [statements.view.text, 'tokens/prompt', 37],
      [statements.view.text, 'parameters/stop', ['x']],
      [statements.view.text, 'content/request_received', `sha256:${'a1'.repeat(32)}`],
      [statements.view.text, 'model/files', []],
      [statements.view.text, 'sequence', -1],
      [statements.view.text, 'signature', 'AA'],
      [statements.head.text, 'receipts', 0],
      [statements.head.text, 'last', null],
      [statements.head.text, 'last'],
      [statements.head.text, 'tokens', null],
    ]
    for (const { text } of [statements.view, statements.head]) expect(complaints('log-statement', JSON.parse(text))).toEqual([])
    for (const [of, path, ...value] of changes) {
      const changed = edited(JSON.parse(of), (copy) => put(copy, path, ...value))
      expect(complaints('log-statement', changed), path).not.toEqual([])
      expect(() => parseLogStatement(JSON.stringify(changed)), path).toThrow()
    }
  })

  test('verdicts: accepted, with quote, failed early', () => {
    expect(documents.verdict.verdict).toBe('accepted')
    expect(complaints('verdict', documents.verdict)).toEqual([])
    const error = { code: 'usage', message: 'no' }
    expect(complaints('verdict', { verdict: 'rejected', error })).toEqual([])
    expect(complaints('verdict', { ...documents.verdict, verdict: 'rejected' })).not.toEqual([])
    expect(complaints('verdict', { ...documents.verdict, error })).not.toEqual([])
    const known = (schemas.get('verdict') as unknown as { $defs: { verdict: { properties: object } } }).$defs.verdict.properties
    for (const member of Object.keys(documents.verdict)) expect(Object.keys(known)).toContain(member)
  })
})

/** Name of the mutation, path, new value; without a value the member goes. */
type Mutation = readonly [name: string, path: string, ...value: [unknown?]]

const worker = 'roles/worker'
const policyMutations: readonly Mutation[] = [
  ['another version', 'version', 'veritee.policy.v2'],
  ['no roles', 'roles', {}],
  ['an unknown role', 'roles/client', {}],
  ['an unknown member', `${worker}/mrenclave`, '0'.repeat(64)],
  ...['tee', 'simulated', 'physical', 'debug', 'identity', 'attributes', 'tdx', 'tcb', 'platform', 'models', 'release', 'log', 'channel'].map(
    (name): Mutation => [`no ${name}`, `${worker}/${name}`],
  ),
  ['an empty tee list', `${worker}/tee`, []],
  ['an unknown tee', `${worker}/tee`, ['sev']],
  ['simulated "any"', `${worker}/simulated`, 'any'],
  ['debug "allow"', `${worker}/debug`, 'allow'],
  ['identity "any"', `${worker}/identity`, 'any'],
  ['no identity', `${worker}/identity`, []],
  ['S25: released code, and nobody who releases it', `${worker}/identity`, 'released'],
  ['an empty identity', `${worker}/identity`, [{}]],
  ['S14: MRSIGNER alone', `${worker}/identity`, [{ mrsigner: '0'.repeat(64) }]],
  [
    'S14: a public signer',
    `${worker}/identity`,
    [{ mrsigner: '83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e', isvProdId: 1, minIsvSvn: 1 }],
  ],
  ['S14: an unreviewed value', `${worker}/identity`, [{ mrenclave: `UNREVIEWED:${'0'.repeat(64)}` }]],
  ['upper-case hex', `${worker}/identity`, [{ mrenclave: 'A'.repeat(64) }]],
  ['two kinds of identity in one', `${worker}/identity`, [{ mrenclave: '0'.repeat(64), mrsigner: '0'.repeat(64), isvProdId: 1, minIsvSvn: 1 }]],
  ['an SVN out of range', `${worker}/identity`, [{ mrsigner: '0'.repeat(64), isvProdId: 1, minIsvSvn: 65_536 }]],
  ['a TD identity without MRSEAM', `${worker}/identity`, [{ mrtd: '0'.repeat(96), rtmr0: 'any', rtmr1: 'any', rtmr2: 'any', rtmr3: 'any' }]],
  ['a mask of 8 bytes for SGX', `${worker}/attributes`, { mask: '0'.repeat(16), value: '0'.repeat(16) }],
  ['a mask that lets everything pass', `${worker}/attributes`, { mask: '0'.repeat(32), value: '0'.repeat(32) }],
  ['a TDX section without a member', `${worker}/tdx`, { attributes: 'any', xfam: 'any', septVeDisable: 'any' }],
  ['status Revoked', `${worker}/tcb/statuses`, ['Revoked']],
  ['no status', `${worker}/tcb/statuses`, []],
  ['statuses "any"', `${worker}/tcb/statuses`, 'any'],
  ['no advisories', `${worker}/tcb/advisories`],
  ['a negative grace period', `${worker}/tcb/gracePeriod`, -1],
  ['a fractional age', `${worker}/maxCollateralAge`, 0.5],
  ['an age above ten years', `${worker}/maxAttestationAge`, 316_224_001],
  ['an age as text', `${worker}/maxAttestationAge`, '3600'],
  ['an external engine by "allow"', `${worker}/externalEngine`, 'allow'],
  ['an FMSPC of 5 bytes', `${worker}/platform/fmspc`, { allow: ['0'.repeat(10)], deny: [] }],
  ['deny "any"', `${worker}/platform/ppid`, { allow: 'any', deny: 'any' }],
  ['smt "allow"', `${worker}/platform/smt`, 'allow'],
  ['S25: a trusted site without machines', `${worker}/physical`, 'trusted-site'],
  ['no models', `${worker}/models`, {}],
  ['a model without weights', `${worker}/models`, { m: [] }],
  ['a bare hex digest', `${worker}/models`, { m: ['0'.repeat(64)] }],
  ['an engine without a CPU variant', `${worker}/engine`, [{ build: digestOf('0') }]],
  ['a short operator key', `${worker}/operator`, ['00']],
  ['a threshold of 0', `${worker}/release`, { product: 'p', keys: ['0'.repeat(64)], threshold: 0, maxReleaseAge: 1, log: 'any' }],
  [
    'one release key twice',
    `${worker}/release`,
    { product: 'p', keys: ['0'.repeat(64), '0'.repeat(64)], threshold: 2, maxReleaseAge: 1, log: 'any' },
  ],
  ['makers of no product', `${worker}/release`, { keys: ['0'.repeat(64)], threshold: 1, maxReleaseAge: 1, log: 'any' }],
  ['makers with nothing said of a log', `${worker}/release`, { product: 'p', keys: ['0'.repeat(64)], threshold: 1, maxReleaseAge: 1 }],
  ['a log without witnesses', `${worker}/log`, { origin: 'o', key: 'k', witnesses: [], quorum: 1 }],
  ['channel "any"', `${worker}/channel`, 'any'],
]

const descriptorMutations: readonly Mutation[] = [
  ['another version', 'version', 'veritee.descriptor.v2'],
  ['an unknown member', 'owner', 'me'],
  ['an unknown role', 'role', 'client'],
  ...['configuration_digest', 'models', 'engine', 'admission', 'operator_key', 'release', 'extensions'].map((name): Mutation => [`no ${name}`, name]),
  ['a bare hex digest', 'configuration_digest', '0'.repeat(64)],
  ['another format', 'models/0/format', 'pickle'],
  ['sealed as text', 'models/0/sealed', 'no'],
  ['a file without a size', 'models/0/files/0/size'],
  ['a negative size', 'models/0/files/0/size', -1],
  ['an engine without a CPU variant', 'engine/cpu_variant'],
  ['a short admission key', 'admission/keys', ['00']],
  ['an upper-case operator key', 'operator_key', 'A'.repeat(64)],
  ['a release without a commit', 'release/commit'],
  ['extensions as a list', 'extensions', []],
  ['a fraction deep in the extensions', 'extensions/note/depth', 0.5],
]

const modelEvent = {
  type: 'veritee.model',
  name: 'm',
  files: [],
  format: 'gguf',
  sealed: false,
  provenance: 'hashed_while_loading',
  chat_template_digest: null,
} as const

const transportEvent = { type: 'veritee.transport', enc: '0'.repeat(64), response_nonce: '1'.repeat(64), client_nonce: null }
const opaqueEvent = { type: 'veritee.opaque', extension: 'veritee.ehbp.v1', session_id: '0'.repeat(64), enc: '1'.repeat(64) }
const receiptMutations: readonly Mutation[] = [
  ['another protocol', 'api_version', 'aci/2'],
  ['an unknown member', 'score', 1],
  ['no chat id', 'chat_id'],
  ['a bare hex digest', 'workload_keyset_digest', '0'.repeat(64)],
  ['a fractional time', 'served_at', 1.5],
  ['a short signature', 'signature', '00'],
  ['a method that is no text', 'method', 5],
  ['an empty log', 'event_log', []],
  ['a log that begins elsewhere', 'event_log/0/type', 'request.forwarded'],
  ['an unknown member in a known event', 'event_log/2/extra', 1],
  ['a nonce of another length', 'event_log/2/client_nonce', 'ab'],
  ['weights of unknown provenance', 'event_log/3/provenance', 'guessed'],
  ['a token digest with a prefix', 'event_log/4/prompt_tokens_hmac', digestOf('0')],
  ['a fractional parameter', 'event_log/4/parameters/temperature', 0.7],
  ['a parameter that is an object', 'event_log/4/parameters/top_k', {}],
  ['an unknown outcome', 'event_log/4/outcome', 'fine'],
  ['a stream without a root', 'event_log/5/root'],
  ['no response.returned', 'event_log/6', { type: 'some.other' }],
  ['request.received twice', 'event_log/7', { type: 'request.received', body_hash: digestOf('0') }],
  ['two models', 'event_log/7', { ...modelEvent }],
  ['an upstream that failed without a reason', 'event_log/7', { type: 'upstream.verified', result: 'failed', required: true, model_id: 'm' }],
  [
    'a verified upstream with a reason',
    'event_log/7',
    { type: 'upstream.verified', result: 'verified', required: true, model_id: 'm', session_id: '0'.repeat(64), reason: 'none' },
  ],
  ['an encrypted exchange without a nonce of the answer', 'event_log/7', { ...transportEvent, response_nonce: undefined }],
  ['an encapsulated key of 31 bytes', 'event_log/7', { ...transportEvent, enc: '0'.repeat(62) }],
  ['an encrypted exchange with more', 'event_log/7', { ...transportEvent, path: '/' }],
  ['an unread body of another extension', 'event_log/7', { ...opaqueEvent, extension: '2' }],
  ['an unread body without a session', 'event_log/7', { ...opaqueEvent, session_id: null }],
  ['a negative sequence', 'event_log/7/sequence', -1],
  ['a fraction in an unknown event', 'event_log/7', { type: 'some.other', deep: [{ value: 0.5 }] }],
]

const externalMutations: readonly Mutation[] = [
  ['a rewrite of the messages', 'event_log/3/patch/0/path', '/messages'],
  ['a rewrite by removal', 'event_log/3/patch/0/op', 'remove'],
  ['a rewrite with a fraction', 'event_log/3/patch/0/value', 0.5],
  ['a rewrite with null', 'event_log/3/patch/0/value', null],
  ['a rewrite without a digest', 'event_log/3/body_hash'],
  ['stream options of the worker', 'event_log/3/patch/1/value', { include_usage: true, more: 1 }],
  ['an unknown provenance', 'event_log/5/weights_provenance', 'hardware_proven'],
  ['an unknown placement', 'event_log/5/placement', 'sgx'],
  ['an unknown capability', 'event_log/5/capabilities', ['everything']],
  ['a fractional count', 'event_log/5/prompt_tokens', 0.5],
  ['a token digest with a prefix', 'event_log/5/prompt_tokens_hmac', digestOf('0')],
  ['an unknown member', 'event_log/5/extra', 1],
  ['no seed', 'event_log/5/seed'],
  ['two engines', 'event_log/6', { type: 'veritee.external_engine' }],
]

describe('schema and parser refuse alike', () => {
  test.for(policyMutations)('policy: %s', ([, path, ...value]) => {
    const mutated = edited(documents.policy, (copy) => put(copy, path, ...value))
    expect(complaints('policy', mutated)).not.toEqual([])
    expect(() => parsePolicy(JSON.stringify(mutated))).toThrow(expect.objectContaining({ code: 'policy_invalid' }))
  })

  test.for(descriptorMutations)('service descriptor: %s', ([, path, ...value]) => {
    const mutated = edited(documents.descriptors.worker, (copy) => put(copy, path, ...value))
    expect(complaints('service-descriptor', mutated)).not.toEqual([])
    expect(() => parseDescriptor(mutated)).toThrow(expect.objectContaining({ code: 'report_malformed' }))
  })

  test.for(receiptMutations)('receipt: %s', ([, path, ...value]) => {
    const mutated = edited(JSON.parse(documents.receipts.worker), (copy) => put(copy, path, ...value))
    expect(complaints('receipt', mutated)).not.toEqual([])
    expect(() => parseReceipt(JSON.stringify(mutated))).toThrow(expect.objectContaining({ code: 'receipt_malformed' }))
  })

  test('an external engine, as written', () => {
    expect(complaints('receipt', JSON.parse(documents.receipts.external))).toEqual([])
  })

  test.for(externalMutations)('receipt of an external engine: %s', ([, path, ...value]) => {
    const mutated = edited(JSON.parse(documents.receipts.external), (copy) => put(copy, path, ...value))
    expect(complaints('receipt', mutated)).not.toEqual([])
    expect(() => parseReceipt(JSON.stringify(mutated))).toThrow(expect.objectContaining({ code: 'receipt_malformed' }))
  })

  test.for([transportEvent, opaqueEvent])('$type is read by both, once', (event) => {
    const extended = (times: number): unknown =>
      edited(JSON.parse(documents.receipts.worker), (copy) => {
        for (let i = 0; i < times; i++) copy.event_log?.push(event as unknown as Tree)
      })
    expect(complaints('receipt', extended(1))).toEqual([])
    expect(parseReceipt(JSON.stringify(extended(1))).events).toContainEqual(event)
    expect(complaints('receipt', extended(2))).not.toEqual([])
    expect(() => parseReceipt(JSON.stringify(extended(2)))).toThrow(expect.objectContaining({ code: 'receipt_malformed' }))
  })

  test('an event of an unknown type is left alone by both', () => {
    const extended = edited(JSON.parse(documents.receipts.worker), (copy) =>
      copy.event_log?.push({ type: 'some.other', note: 'x' } as unknown as Tree),
    )
    expect(complaints('receipt', extended)).toEqual([])
    expect(() => parseReceipt(JSON.stringify(extended))).not.toThrow()
  })
})
