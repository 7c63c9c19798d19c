import { describe, expect, it } from 'vitest'
import { parsePolicy, policyFor, roles } from '../../src/policy/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { digest } from './documents.ts'

type Node = null | boolean | number | string | Node[] | { [name: string]: Node }
type Path = readonly (string | number)[]

/** Every field demands something, so that every path of a policy occurs. */
const section: Node = {
  tee: ['sgx', 'tdx'],
  simulated: 'refuse',
  physical: 'trusted-site',
  debug: 'refuse',
  identity: [
    { mrenclave: 'a1'.repeat(32) },
    { mrsigner: 'b2'.repeat(32), isvProdId: 1, minIsvSvn: 2 },
    {
      mrtd: 'c1'.repeat(48),
      rtmr0: 'c2'.repeat(48),
      rtmr1: 'c3'.repeat(48),
      rtmr2: 'c4'.repeat(48),
      rtmr3: 'c5'.repeat(48),
      mrseam: 'c6'.repeat(48),
    },
  ],
  attributes: { mask: 'ff'.repeat(16), value: '05'.repeat(16) },
  tdx: {
    attributes: { mask: 'ff'.repeat(8), value: '00'.repeat(8) },
    xfam: { mask: 'ff'.repeat(8), value: 'e7'.repeat(8) },
    septVeDisable: 'require',
    mrServiceTd: ['00'.repeat(48)],
  },
  tcb: { statuses: ['UpToDate', 'SWHardeningNeeded'], advisories: ['INTEL-SA-00001'], minTcbEvaluationDataNumber: 17, gracePeriod: 86_400 },
  platform: {
    fmspc: { allow: ['00906ed50000'], deny: ['00906ed10000'] },
    ppid: { allow: ['0f'.repeat(16)], deny: ['0e'.repeat(16)] },
    dynamicPlatform: 'refuse',
    cachedKeys: 'refuse',
    smt: 'refuse',
  },
  maxCollateralAge: 604_800,
  maxAttestationAge: 3600,
  models: { 'demo-model': [digest('11')] },
  engine: [{ build: digest('22'), cpuVariant: 'x86-64-v3' }],
  operator: ['33'.repeat(32)],
  release: {
    product: 'veritee',
    keys: ['44'.repeat(32), '55'.repeat(32)],
    threshold: 2,
    maxReleaseAge: 604_800,
    log: { origin: 'log.example', key: 'log-key', witnesses: ['witness-1', 'witness-2'], quorum: 1 },
  },
  log: { origin: 'log.example', key: 'log-key', witnesses: ['witness-1', 'witness-2'], quorum: 1 },
  channel: 'attested',
}
const complete: Node = { version: 'veritee.policy.v1', roles: { worker: section } }
const base: Path = ['roles', 'worker']

function* paths(node: Node, at: Path = []): Generator<Path> {
  if (at.length > 0) yield at
  if (node === null || typeof node !== 'object') return
  for (const [name, item] of Object.entries(node)) yield* paths(item, [...at, Array.isArray(node) ? Number(name) : name])
}

function read(node: Node, path: Path): Node {
  return path.reduce<Node>((inner, name) => (inner as { [name: string]: Node })[name] as Node, node)
}

function changed(path: Path, change: (parent: { [name: string]: Node }, name: string) => void): string {
  const copy = structuredClone(complete)
  change(read(copy, path.slice(0, -1)) as { [name: string]: Node }, String(path.at(-1)))
  return JSON.stringify(copy)
}

const all = [...paths(complete)]
const title = (path: Path): string => path.join('.')
const inSection = (...names: string[]): string => [...base, ...names].join('.')
const parseText = (text: string): Promise<string> => refusal(() => parsePolicy(text))

/** Where the literal "any" waives. */
const waivable = [
  'tee',
  'physical',
  'debug',
  'attributes',
  'tdx',
  'tdx.attributes',
  'tdx.xfam',
  'tdx.septVeDisable',
  'tdx.mrServiceTd',
  'tcb.advisories',
  'tcb.minTcbEvaluationDataNumber',
  'platform.fmspc.allow',
  'platform.dynamicPlatform',
  'platform.cachedKeys',
  'platform.smt',
  'maxCollateralAge',
  'maxAttestationAge',
  'models',
  'engine',
  'operator',
  'release',
  'release.log',
  'log',
  'identity.2.rtmr0',
  'identity.2.rtmr1',
  'identity.2.rtmr2',
  'identity.2.rtmr3',
  'identity.2.mrseam',
].map((name) => inSection(name))
/** Free text, where "any" is a value like others or waives. */
const freeText = [
  'release.product',
  ...['origin', 'key', 'witnesses.0', 'witnesses.1'].map((name) => `release.log.${name}`),
  'engine.0.cpuVariant',
  'tcb.advisories.0',
  'log.origin',
  'log.key',
  'log.witnesses.0',
  'log.witnesses.1',
].map((name) => inSection(name))
const mayBeEmpty = ['tcb.advisories', 'platform.fmspc.deny', 'platform.ppid.deny'].map((name) => inSection(name))

describe('a policy document', () => {
  it('accepts the complete one, for every role, and reads it unchanged', () => {
    for (const role of roles) {
      const policy = parsePolicy(JSON.stringify({ version: 'veritee.policy.v1', roles: { [role]: section } }))
      expect(policyFor(policy, role)).toEqual(section)
    }
  })
  it.each(all.filter((path) => typeof path.at(-1) === 'string').map((path) => [title(path), path] as const))(
    'refuses one without %s',
    async (_, path) => {
      const text = changed(path, (parent, name) => delete parent[name])
      expect(await parseText(text)).toBe('policy_invalid')
    },
  )
  it.each(
    all.filter((path) => {
      const node = read(complete, path)
      return node !== null && typeof node === 'object' && !Array.isArray(node) && title(path) !== inSection('models')
    }),
  )('refuses an unknown field beside those of %s.%s', async (...path) => {
    for (const name of ['unknown', 'comment', '$schema', 'Debug'])
      expect(await parseText(changed([...path, name], (parent, added) => (parent[added] = 'any')))).toBe('policy_invalid')
  })
  it.each(all.map((path) => [title(path), path] as const))('refuses wrong types in %s', async (_, path) => {
    const wrong: Node[] = [null, true, -1, 1.5, 1e300, '', 'Any', 'ANY', 'none', [], {}, [[]], [null]]
    for (const value of wrong) {
      if (typeof value === 'string' && freeText.includes(title(path))) continue
      if (Array.isArray(value) && value.length === 0 && mayBeEmpty.includes(title(path))) continue
      expect(await parseText(changed(path, (parent, name) => (parent[name] = value))), JSON.stringify(value)).toBe('policy_invalid')
    }
  })
  it.each(all.map((path) => [title(path), path] as const))('"any" at %s waives only where it may', async (_, path) => {
    const expected = waivable.includes(title(path)) || freeText.includes(title(path)) ? 'accepted' : 'policy_invalid'
    expect(await parseText(changed(path, (parent, name) => (parent[name] = 'any')))).toBe(expected)
  })
  it.each([
    ['nothing', ''],
    ['another kind of document', '[]'],
    ['a byte order mark', `\ufeff${JSON.stringify(complete)}`],
    ['a duplicate field', JSON.stringify(complete).replace('"simulated":"refuse"', '"simulated":"refuse","simulated":"allow"')],
    ['no roles', '{"version":"veritee.policy.v1","roles":{}}'],
    ['an unknown role', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: section, wokrer: section } })],
    ['another version', JSON.stringify({ version: 'veritee.policy.v2', roles: { worker: section } })],
    ['too many levels', '['.repeat(13)],
    ['a document past its bound', `${' '.repeat(1 << 20)}{}`],
    ['a model named __proto__', JSON.stringify(complete).replace('"demo-model"', '"__proto__"')],
  ])('refuses %s', async (_, text) => {
    expect(await parseText(text)).toBe('policy_invalid')
  })
  it('names the place but not the value of a mistake', () => {
    expect(() => parsePolicy(changed([...base, 'tcb', 'gracePeriod'], (parent, name) => (parent[name] = 'soon')))).toThrow(
      /^roles\.worker\.tcb\.gracePeriod: expected an integer/,
    )
  })
  it('a role without a section is refused, not defaulted', async () => {
    const policy = parsePolicy(JSON.stringify(complete))
    expect(await refusal(() => policyFor(policy, 'controller'))).toBe('policy_role_missing')
  })
})

describe('policies that accept too much', () => {
  const withIdentity = (identity: Node): Promise<string> => parseText(changed([...base, 'identity'], (parent, name) => (parent[name] = [identity])))
  const signer = { mrsigner: 'b2'.repeat(32), isvProdId: 1, minIsvSvn: 2 }

  it.each<[string, Node]>([
    ['MRSIGNER alone', { mrsigner: signer.mrsigner }],
    ['MRSIGNER without ISVPRODID', { mrsigner: signer.mrsigner, minIsvSvn: 2 }],
    ['MRSIGNER without a minimum ISVSVN', { mrsigner: signer.mrsigner, isvProdId: 1 }],
    ['MRSIGNER with any product', { ...signer, isvProdId: 'any' }],
    ['MRSIGNER and MRENCLAVE in one', { ...signer, mrenclave: 'a1'.repeat(32) }],
    ['the public sample signer', { ...signer, mrsigner: '83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e' }],
    ['an unreviewed MRENCLAVE', { mrenclave: `UNREVIEWED:${'a1'.repeat(32)}` }],
    ['an unreviewed MRSIGNER', { ...signer, mrsigner: `UNREVIEWED:${signer.mrsigner}` }],
    ['an ISVPRODID past 16 bits', { ...signer, isvProdId: 65_536 }],
    ['an upper-case measurement', { mrenclave: 'A1'.repeat(32) }],
    ['a short measurement', { mrenclave: 'a1'.repeat(31) }],
    ['an MRTD alone', { mrtd: 'c1'.repeat(48) }],
    ['nothing', {}],
  ])('S14: an identity of %s is refused', async (_, identity) => {
    expect(await withIdentity(identity)).toBe('policy_invalid')
  })
  it('S14: the mark UNREVIEWED: is refused in every identity field, registers too', async () => {
    for (const name of ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'])
      expect(await parseText(changed([...base, 'identity', 2, name], (parent, field) => (parent[field] = `UNREVIEWED:${'c1'.repeat(48)}`)))).toBe(
        'policy_invalid',
      )
  })
  it.each(['Revoked', 'NotSupported', 'Unrecognized', 'uptodate'])('S14: the TCB status %s cannot be listed', async (status) => {
    expect(await parseText(changed([...base, 'tcb', 'statuses'], (parent, name) => (parent[name] = ['UpToDate', status])))).toBe('policy_invalid')
  })
  it('S25: a trusted site without a list of its machines is refused', async () => {
    expect(await parseText(changed([...base, 'platform', 'ppid', 'allow'], (parent, name) => (parent[name] = 'any')))).toBe('policy_invalid')
    const waived = changed([...base, 'platform', 'ppid', 'allow'], (parent, name) => (parent[name] = 'any')).replace('"trusted-site"', '"any"')
    expect(await parseText(waived)).toBe('accepted')
  })
  it.each([
    ['attributes', 16],
    ['tdx.attributes', 8],
    ['tdx.xfam', 8],
  ] as const)('a mask of zeros for %s waives without saying so, and is refused', async (name, length) => {
    const zeros = '00'.repeat(length)
    const path = [...base, ...name.split('.')]
    expect(await parseText(changed(path, (parent, field) => (parent[field] = { mask: zeros, value: zeros })))).toBe('policy_invalid')
    const outside = { mask: `01${zeros.slice(2)}`, value: `03${zeros.slice(2)}` }
    expect(await parseText(changed(path, (parent, field) => (parent[field] = outside)))).toBe('policy_invalid')
  })
  it.each<[string, Path, Node]>([
    ['release keys', ['release'], { product: 'p', keys: ['44'.repeat(32), '44'.repeat(32)], threshold: 2, maxReleaseAge: 1, log: 'any' }],
    ['a release threshold above its keys', ['release'], { product: 'p', keys: ['44'.repeat(32)], threshold: 2, maxReleaseAge: 1, log: 'any' }],
    ['a release threshold of zero', ['release'], { product: 'p', keys: ['44'.repeat(32)], threshold: 0, maxReleaseAge: 1, log: 'any' }],
    ['witnesses', ['log'], { origin: 'o', key: 'k', witnesses: ['w', 'w'], quorum: 1 }],
    ['65 witnesses', ['log'], { origin: 'o', key: 'k', witnesses: Array.from({ length: 65 }, (_, i) => `w${i}`), quorum: 1 }],
    ['a quorum of zero', ['log'], { origin: 'o', key: 'k', witnesses: ['w'], quorum: 0 }],
    ['a quorum above the witnesses', ['log'], { origin: 'o', key: 'k', witnesses: ['w'], quorum: 2 }],
  ])('counts distinct keys only: %s', async (_, path, value) => {
    expect(await parseText(changed([...base, ...path], (parent, name) => (parent[name] = value)))).toBe('policy_invalid')
  })
})

describe('a policy on engines of other processes', () => {
  const withEngine = (externalEngine: Node): string =>
    JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: { ...(section as { [name: string]: Node }), externalEngine } } })

  it('says nothing, or one of three words', () => {
    expect(policyFor(parsePolicy(JSON.stringify(complete)), 'worker').externalEngine).toBeUndefined()
    for (const word of ['refuse', 'measured', 'any'] as const) expect(policyFor(parsePolicy(withEngine(word)), 'worker').externalEngine).toBe(word)
  })

  it.each(['allow', '', null, true, ['any']])('%j is refused', async (word) => {
    expect(await parseText(withEngine(word))).toBe('policy_invalid')
  })
})

describe('comments', () => {
  const withComments = (comments: unknown): string => JSON.stringify({ ...(complete as object), comments })

  it('are for people, and change nothing', () => {
    expect(parsePolicy(withComments({ 'worker.tcb': 'as of May', anything: '' }))).toEqual(parsePolicy(JSON.stringify(complete)))
    expect(parsePolicy(withComments({}))).toEqual(parsePolicy(JSON.stringify(complete)))
  })

  it.each([
    null,
    'text',
    [],
    { a: 1 },
    { a: null },
    { a: { b: '' } },
    { a: 'x'.repeat(4097) },
    Object.fromEntries(Array.from({ length: 1025 }, (_, index) => [`n${index}`, ''])),
  ])('are texts, and not too many: case %#', async (comments) => {
    expect(await refusal(() => parsePolicy(withComments(comments)))).toBe('policy_invalid')
  })

  it('have no place in a section', async () => {
    const text = changed(base, (parent, name) => {
      parent[name] = { ...(section as object), comments: {} }
    })
    expect(await refusal(() => parsePolicy(text))).toBe('policy_invalid')
  })
})
