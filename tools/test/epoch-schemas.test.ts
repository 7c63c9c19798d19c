import { readFileSync } from 'node:fs'
import { utf8 } from 'veritee/bytes'
import {
  emptyState,
  parseAuditRecord,
  parseScoringPolicy,
  parseState,
  readFrom,
  scoreEpoch,
  scoresToJson,
  verifyEpoch,
  writeEpoch,
} from 'veritee/scoring'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseUidMap, weightsByUid } from '../../packages/services/src/validator/publish/uids.ts'
import {
  accusationsFromJson,
  canariesFromJson,
  dutiesFromJson,
  epochLogFromJson,
  parseOpening,
  rosterFromJson,
  roundsFromJson,
} from '../../packages/veritee/src/scoring/epoch/documents.ts'
import { dutyNames } from '../../packages/veritee/src/scoring/epoch/duties.ts'
import { manifestText, parseManifest, verifySignatures } from '../../packages/veritee/src/scoring/epoch/files.ts'
import { makeEpoch, makeWorld } from '../../packages/veritee/test/scoring/epoch-world.ts'
import { digest, hex, randomEpochs } from '../../packages/veritee/test/scoring/random-epoch.ts'
import { edited, put } from './edits.ts'
import { documentsOf, type EpochDocument } from './epoch-documents.ts'
import { complaints, schemas } from './schemas.ts'

const accused = { keyset: digest(0x70), operator: hex(0xa0), platform: hex(0xc0) }
let bundle: ReadonlyMap<string, string>
let documents: readonly EpochDocument[]
let validator: string
beforeAll(async () => {
  const world = await makeWorld()
  const parts = await makeEpoch(world, 3, { skipChosen: true })
  const text = readFileSync(new URL('../../spec/vectors/fraud-proof.json', import.meta.url), 'utf8')
  const { report, vectors } = JSON.parse(text) as { report: object; vectors: { proof: object }[] }
  const proof = JSON.stringify({ version: 'veritee.fraud-proof.v2', ...vectors[0]?.proof, report })
  const written = await writeEpoch({ ...parts, proofs: [{ text: proof, ...accused }] }, world.keys)
  bundle = written.bundle
  documents = documentsOf(bundle)
  validator = parts.validators[0]?.validator ?? ''
}, 120_000)

/** The first document of a schema. */
const some = (schema: string): unknown => {
  const found = documents.find((one) => one.schema === schema)
  if (found === undefined) throw new TypeError(`no ${schema} in the bundle`)
  return found.value
}

const uidMap = {
  version: 'veritee.uids.v1',
  uids: [
    { operator: hex(1), platform: hex(2), slot: 0, uid: 7 },
    { operator: hex(1), platform: null, slot: null, uid: 8 },
  ],
  burn: 0,
}

describe('documents that the running code makes are valid', () => {
  test('every document of a bundle with a log, an opening, a missed duty, a conviction', () => {
    for (const { schema, at, value } of documents) expect([at, complaints(schema, value)]).toEqual([at, []])
    const seen = new Set(documents.map(({ schema }) => schema))
    const named = [...schemas.keys()].filter((name) => name.startsWith('epoch-') || name === 'canary-opening')
    expect(named.filter((name) => !seen.has(name))).toEqual([])
    expect(some('epoch-missed')).toMatchObject({ missed: [{ duty: 'organic_missing' }] })
    expect(some('epoch-scores')).toMatchObject({ convictions: [{ grounds: [{ kind: 'proof' }] }] })
  })

  test('those of the bundle of the specification', () => {
    const { files } = JSON.parse(readFileSync(new URL('../../spec/vectors/epoch.json', import.meta.url), 'utf8')) as {
      files: { [path: string]: string }
    }
    for (const { schema, at, value } of documentsOf(new Map(Object.entries(files)))) expect([at, complaints(schema, value)]).toEqual([at, []])
  })

  test('scores of random epochs, with every kind of conviction and every reason not to count', async () => {
    const seen = { grounds: new Set<string>(), reasons: new Set<string | null>() }
    for (let seed = 0; seed < 80; seed++) {
      let before = emptyState
      for (const epoch of await randomEpochs(seed, 3)) {
        const scores = scoreEpoch({ ...epoch, before })
        expect(complaints('epoch-scores', scoresToJson(epoch.epoch, scores))).toEqual([])
        for (const { grounds } of scores.convictions) for (const { kind } of grounds) seen.grounds.add(kind)
        for (const { workers } of scores.validators) for (const { notCounted } of workers) seen.reasons.add(notCounted)
        before = scores.after
      }
    }
    expect(seen.grounds).toEqual(new Set(['proof', 'level1', 'level2']))
    expect(seen.reasons).toEqual(new Set(['platform_banned', 'platform_excluded', 'paused', 'inconclusive', null]))
  })

  test('every duty that can be missed has its name in the schema', () => {
    const { properties } = schemas.get('epoch-missed') as unknown as {
      properties: { missed: { items: { properties: { duty: { enum: string[] } } } } }
    }
    expect(new Set(properties.missed.items.properties.duty.enum)).toEqual(new Set(dutyNames))
  })

  test('a map of uids, and the weights that it gives', () => {
    expect(complaints('uid-map', uidMap)).toEqual([])
    expect(complaints('uid-map', { ...uidMap, burn: null })).toEqual([])
    const id = { operator: hex(1), platform: hex(2), slot: 0 }
    const network = { workers: [{ id, weight: 60_000 }], unassigned: { weight: 5535 } }
    const weights = weightsByUid({ network } as never, parseUidMap(JSON.stringify(uidMap)), 3)
    expect([weights, complaints('uid-weights', weights)]).toEqual([{ uids: [0, 7], weights: [5535, 60_000], version: 3 }, []])
  })
})

/** Path, new value; without a value the member goes. */
type Mutation = readonly [path: string, ...value: [unknown?]]
type Case = readonly [schema: string, code: string, read: (text: string) => unknown, mutations: readonly Mutation[]]

const nobody = new Set<string>()
/** Every document with a reader, what it refuses with, and what both it and the schema refuse. */
const cases: readonly Case[] = [
  [
    'epoch-manifest',
    'epoch_malformed',
    (text) => parseManifest(utf8(text)),
    [
      ['version', 'veritee.epoch.v2'],
      ['network', '../x'],
      ['network', 7],
      ['epoch', -1],
      ['epoch', 2 ** 32],
      ['epoch', '0'],
      ['files', {}],
      ['files/0/path', '../after.json'],
      ['files/0/path', 'a//b.json'],
      ['files/0/path', 'A.json'],
      ['files/0/path', `${'a'.repeat(200)}.json`],
      ['files/0/size', -1],
      ['files/0/size', 2 ** 29 + 1],
      ['files/0/sha256', 'AB'.repeat(32)],
      ['files/0/sha256'],
      ['files/0/mode', '0644'],
      ['note', 'trust me'],
    ],
  ],
  [
    'epoch-signatures',
    'epoch_malformed',
    (text) => verifySignatures(utf8(text), new Uint8Array(0), nobody),
    [
      ['version', 'veritee.epoch-signatures.v2'],
      ['signatures', 'all'],
      ['signatures/0/validator', hex(1).slice(2)],
      ['signatures/0/signature'],
      ['signatures/0/weight', 1],
      ['signed', true],
    ],
  ],
  [
    'scoring-policy',
    'scoring_policy_malformed',
    parseScoringPolicy,
    [
      ['version', 'veritee.scoring-policy.v2'],
      ['policy_version', 0],
      ['epoch/length', 59],
      ['validators', []],
      ['validators/0/weight', 0],
      ['validators/0/weight', '1'],
      ['models/0/level2', false],
      ['log', 'none'],
      ['beacon', 'drand'],
      ['cap', 0.2],
      ['cap', '1e-3'],
      ['sprt/alpha'],
      ['clip'],
      ['stake', 1],
    ],
  ],
  [
    'epoch-roster',
    'epoch_malformed',
    (text) => rosterFromJson(JSON.parse(text)),
    [
      ['version', 'veritee.roster.v2'],
      ['manifest', hex(1)],
      ['salt', ''],
      ['operators', null],
      ['operators/0', 'everybody'],
      ['operators', [hex(1), hex(1)]],
      ['shared'],
      ['admins', []],
    ],
  ],
  [
    'scoring-state',
    'scoring_state_malformed',
    (text) => parseState(text, 'test'),
    [['version', 'veritee.scoring-state.v2'], ['epoch', -1], ['validators', {}], ['keysets', ['x']], ['votes'], ['notes', []]],
  ],
  [
    'epoch-beacon',
    'epoch_malformed',
    (text) => roundsFromJson(JSON.parse(text)),
    [['version', 'veritee.epoch-beacon.v2'], ['closed'], ['rounds', []]],
  ],
  [
    'epoch-beacon',
    'beacon_malformed',
    (text) => roundsFromJson(JSON.parse(text)),
    [
      ['opened', null],
      ['opened/round', 0],
      ['opened/round', '7'],
      ['opened/signature', hex(1)],
      ['opened/previous_signature', ''],
      ['closed/randomness', null],
    ],
  ],
  [
    'epoch-log',
    'epoch_malformed',
    (text) => epochLogFromJson(JSON.parse(text)),
    [
      ['version', 'veritee.epoch-log.v2'],
      ['opens', null],
      ['closes'],
      ['before', [hex(1).toUpperCase().replace(/^./, 'F')]],
      ['before', Array(65).fill(hex(1))],
      ['leaves', []],
    ],
  ],
  [
    'audit-record',
    'audit_record_malformed',
    parseAuditRecord,
    [
      ['version', 'veritee.audit.v2'],
      ['index', 1_000_000],
      ['at', 1.5],
      ['kind', 'guess'],
      ['worker/slot', 65_536],
      ['path', 'direct'],
      ['verdict', 'maybe'],
      ['reason', 'unlucky'],
      ['timings/validator/total_ms'],
      ['prompt', 'How much is two and two?'],
    ],
  ],
  [
    'epoch-duties',
    'epoch_malformed',
    (text) => dutiesFromJson(JSON.parse(text), validator),
    [
      ['version', 'veritee.duties.v2'],
      ['validator', 'me'],
      ['seed', null],
      ['seed/commitment', null],
      ['seed/seed', ''],
      ['seed/proof', 7],
      ['seed/proof', 'x'.repeat(2 ** 19 + 1)],
      ['seed/salt', hex(1)],
      ['records/salt'],
      ['records/commitment', hex(1)],
      ['scores', {}],
    ],
  ],
  [
    'epoch-canaries',
    'epoch_malformed',
    (text) => canariesFromJson(JSON.parse(text), validator),
    [
      ['version', 'veritee.canaries.v2'],
      ['validator', 'me'],
      ['entropy', null],
      ['commitments', 'none'],
      ['commitments/0', hex(1)],
      ['commitments', [digest(1), digest(1)]],
      ['expected', []],
    ],
  ],
  [
    'canary-opening',
    'epoch_malformed',
    parseOpening,
    [
      ['prompt', null],
      ['expected'],
      ['salt', 'salt'],
      ['parameters', []],
      ['parameters/temperature', 0.5],
      ['parameters/temperature', { deep: [2 ** 53] }],
      ['purpose', 'veritee.canary.v1'],
    ],
  ],
  [
    'epoch-proven',
    'epoch_malformed',
    (text) => accusationsFromJson(JSON.parse(text)),
    [
      ['version', 'veritee.proven.v2'],
      ['proven', {}],
      ['proven/0/file', 7],
      ['proven/0/keyset', hex(1)],
      ['proven/0/operator', null],
      ['proven/0/platform', 'any'],
      ['proven/0/reason', 'because'],
      ['proven/0/platform'],
      ['convicted', true],
    ],
  ],
  [
    'uid-map',
    'uid_map_invalid',
    parseUidMap,
    [
      ['version', 'veritee.uids.v2'],
      ['uids', {}],
      ['uids/0/uid', 65_536],
      ['uids/0/uid', '7'],
      ['uids/0/platform', null],
      ['uids/1/slot', 0],
      ['uids/0/hotkey', 'x'],
      ['uids/0/slot'],
      ['burn', -1],
      ['burn'],
      ['netuid', 1],
    ],
  ],
]

describe('schema and reader refuse alike', () => {
  const rows = cases.flatMap(([schema, code, read, mutations]) => mutations.map((mutation) => ({ schema, code, read, mutation, path: mutation[0] })))
  test.for(rows)('$schema: $path', async ({ schema, code, read, mutation: [path, ...value] }) => {
    const document = schema === 'uid-map' ? uidMap : some(schema)
    const changed = edited(document, (copy) => put(copy, path, ...value))
    expect(complaints(schema, changed)).not.toEqual([])
    await expect((async () => read(JSON.stringify(changed)))()).rejects.toMatchObject({ code })
  })

  test.for(cases.map(([schema, , read]) => ({ schema, read })))('$schema: what was changed is read by both as it was', async ({ schema, read }) => {
    const document = schema === 'uid-map' ? uidMap : some(schema)
    expect(complaints(schema, document)).toEqual([])
    // The signers of nobody are refused for who they are, after their shape.
    const outcome = (async () => read(JSON.stringify(document)))().then(
      () => 'read',
      (error: { readonly code: string }) => error.code,
    )
    expect(await outcome).toBe(schema === 'epoch-signatures' ? 'epoch_signature_invalid' : 'read')
  })
})

/** Documents that nobody reads: a verifier writes them again. The schema refuses the shape, the verifier every other text. */
const written: readonly (readonly [schema: string, file: string, mutations: readonly Mutation[]])[] = [
  [
    'epoch-scores',
    'scores.json',
    [
      ['version', 'veritee.scores.v2'],
      ['epoch', '0'],
      ['validators/0/weight', '1'],
      ['validators/0/operators/0/raw', 0],
      ['validators/0/operators/0/raw', '-1.000000000'],
      ['validators/0/operators/0/raw', '01.000000000'],
      ['validators/0/operators/0/raw', '1.0'],
      ['validators/0/operators/0/unscored', 'no'],
      ['validators/0/operators/0/bonus', '1.000000000'],
      ['validators/0/workers/0/not_counted', 'disliked'],
      ['validators/0/workers/0/goodness'],
      ['validators/0/controllers/0/before'],
      ['validators/0/votes', null],
      ['convictions/0/grounds', []],
      ['convictions/0/grounds/0/kind', 'rumour'],
      ['convictions/0/grounds/0/index', 1],
      ['convictions/0/until', -1],
      ['network/operators/0/share', 1],
      ['network/workers/0/weight', 65_536],
      ['network/unassigned/share'],
      ['network/unassigned/burn', 0],
      ['network/treasury', '1.000000000'],
    ],
  ],
  [
    'epoch-missed',
    'missed.json',
    [
      ['version', 'veritee.missed.v2'],
      ['missed', null],
      ['missed/0/duty', 'homework'],
      ['missed/0/validator', 'me'],
      ['missed/0/record', -1],
      ['missed/0/detail', 7],
      ['missed/0/excuse', 'ill'],
      ['missed/0/record'],
    ],
  ],
  [
    'epoch-weights',
    'weights.json',
    [
      ['version', 'veritee.weights.v2'],
      ['network', ''],
      ['epoch', null],
      ['weights/0/weight', 65_536],
      ['weights/0/weight', '1'],
      ['weights/0/worker/slot'],
      ['weights/0/uid', 1],
      ['unassigned'],
      ['total', 65_535],
    ],
  ],
]

describe('schema and verifier refuse alike', () => {
  const rows = written.flatMap(([schema, , mutations]) => mutations.map((mutation) => ({ schema, mutation, path: mutation[0] })))
  test.for(rows)('$schema: $path', ({ schema, mutation: [path, ...value] }) => {
    expect(
      complaints(
        schema,
        edited(some(schema), (copy) => put(copy, path, ...value)),
      ),
    ).not.toEqual([])
  })

  test.for(written)('%s with its first mutation is what does not follow', { timeout: 120_000 }, async ([schema, file, [first]]) => {
    const [path = '', ...value] = first ?? []
    const changed = edited(some(schema), (copy) => put(copy, path, ...value))
    const files = new Map([...bundle, [file, JSON.stringify(changed)]])
    const listed = new Map([...files].filter(([name]) => name !== 'manifest.json' && name !== 'signatures.json'))
    files.set('manifest.json', await manifestText('test', 0, listed))
    const found = await verifyEpoch(readFrom(files), { trust: null, verifyProof: null, roster: null, previous: null })
    expect(found.first).toMatchObject({ file, code: 'epoch_mismatch' })
  })

  test('weights by uid', () => {
    const weights = { uids: [0, 7], weights: [5535, 60_000], version: 3 }
    const changes: readonly Mutation[] = [['uids', [7, 7]], ['uids/0', -1], ['weights/0', 0], ['weights/0', '1'], ['version'], ['netuid', 1]]
    for (const [path, ...value] of changes)
      expect(
        complaints(
          'uid-weights',
          edited(weights, (copy) => put(copy, path, ...value)),
        ),
        path,
      ).not.toEqual([])
  })
})
