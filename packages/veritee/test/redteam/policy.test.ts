import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { collateralToJson } from '../../src/attestation/collateral.ts'
import { parseCollateral, parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { type EvidencePolicy, evaluate, parsePolicy, type Verdict } from '../../src/policy/index.ts'
import { spliceConstraints } from '../../src/receipt/index.ts'

/** What is missing never passes; what is written differently is never read differently. */

const at = new Date('2026-03-01T00:00:00Z')
const complete: EvidencePolicy = {
  tee: ['sgx'],
  simulated: 'allow',
  physical: 'any',
  debug: 'any',
  identity: [{ mrenclave: '11'.repeat(32) }],
  attributes: 'any',
  tdx: 'any',
  tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 'any', gracePeriod: 0 },
  platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
  maxCollateralAge: 'any',
  maxAttestationAge: 'any',
  models: 'any',
  engine: 'any',
  operator: 'any',
  release: 'any',
  log: 'any',
  channel: 'attested',
}

/** Paths of every member, at any depth. */
function pathsOf(value: unknown, path: readonly string[] = []): string[][] {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return []
  return Object.entries(value).flatMap(([name, item]) => [[...path, name], ...pathsOf(item, [...path, name])])
}

function changed(value: object, path: readonly string[], change: (holder: Record<string, unknown>, name: string) => void): unknown {
  const copy = structuredClone(value) as Record<string, unknown>
  const holder = path.slice(0, -1).reduce((at, name) => at[name] as Record<string, unknown>, copy)
  change(holder, path.at(-1) ?? '')
  return copy
}

const document = (section: unknown): string => JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: section } })

describe('a policy with anything missing', () => {
  test('S14: is refused when read, whatever is missing', () => {
    expect(parsePolicy(document(complete)).roles.worker).toEqual(complete)
    for (const path of pathsOf(complete))
      for (const change of [
        (holder: Record<string, unknown>, name: string): void => {
          delete holder[name]
        },
        (holder: Record<string, unknown>, name: string): void => {
          holder[name] = null
        },
        (holder: Record<string, unknown>, name: string): void => {
          holder[`${name} `] = holder[name]
        },
      ])
        expect(() => parsePolicy(document(changed(complete, path, change))), path.join('.')).toThrow(
          expect.objectContaining({ code: 'policy_invalid' }),
        )
  })

  let judged: (policy: EvidencePolicy) => Verdict
  beforeAll(async () => {
    const platform = await createSimPlatform({ at })
    const quote = await platform.quote(
      { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 0, isvSvn: 0, debug: true },
      new Uint8Array(64),
    )
    const collateral = parseCollateral(JSON.stringify(collateralToJson(platform.collateral)))
    const { claims, checks } = await verifyQuote(parseQuote(quote), collateral, { roots: [platform.root] }, at)
    judged = (policy) => evaluate(claims, policy, at, checks)
  })

  test('accepts nothing either when it was made in code and never read', () => {
    expect(judged(complete)).toMatchObject({ verdict: 'accepted', simulated: true })
    // What only a report or a receipt shows is not judged by a quote alone.
    const elsewhere = ['maxAttestationAge', 'models', 'engine', 'operator', 'channel', 'tdx', 'log']
    // What these come to where they are absent is the strictest there is: no grace, no advisory tolerated, no flag on.
    const strictest = ['gracePeriod', 'advisories', 'dynamicPlatform', 'cachedKeys', 'smt']
    for (const path of pathsOf(complete).filter(([first, then]) => !elsewhere.includes(first ?? '') && !strictest.includes(then ?? ''))) {
      const policy = changed(complete, path, (holder, name) => {
        delete holder[name]
      }) as EvidencePolicy
      let verdict: string
      try {
        verdict = judged(policy).verdict
      } catch {
        verdict = 'refused'
      }
      expect([path.join('.'), verdict === 'accepted']).toEqual([path.join('.'), false])
    }
  })

  test('S15: and the word that allows simulation is exactly one', () => {
    for (const simulated of ['refuse', 'Allow', 'any', '', true, 1, ['allow'], { toString: () => 'allow' }, undefined])
      expect(judged({ ...complete, simulated } as EvidencePolicy)).toMatchObject({
        verdict: 'rejected',
        simulated: true,
        error: { code: 'policy_simulated' },
      })
  })
})

describe('S10: the cut that removes the constraints', () => {
  const limits = { maxLength: 1 << 20, maxDepth: 32 }
  const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/)
  /** A name as JSON, some of its characters escaped. */
  const written = (name: fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc
      .tuple(name, fc.nat())
      .map(
        ([text, bits]) =>
          `"${[...text].map((c, i) => ((bits >> (i % 16)) & 1 ? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}` : c)).join('')}"`,
      )
  const members = (names: readonly string[], values: (name: string) => fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc
      .shuffledSubarray([...names])
      .chain((chosen) =>
        fc
          .tuple(...chosen.map((name) => fc.tuple(written(fc.constant(name)), values(name), space, space, space, space)))
          .map((list) => `{${list.map(([n, v, a, b, c, d]) => `${a}${n}${b}:${c}${v}${d}`).join(',')}}`),
      )
  const plain = fc.constantFrom('1', 'null', '"a\\"}b"', '[1,{"aci_verified":true}]', '{"aci_x":1}')
  const provider = members(['aci_verified', 'aci_session_ids', 'order', 'acid', 'x_aci_verified'], (name) =>
    name === 'aci_verified' ? fc.constant('true') : name === 'aci_session_ids' ? fc.constant(`["${'0'.repeat(64)}"]`) : plain,
  )
  const body = members(['model', 'provider', 'messages', 'aci_verified'], (name) => (name === 'provider' ? provider : plain))

  test('leaves valid JSON that differs in nothing else, and a second cut finds nothing to do', () => {
    fc.assert(
      fc.property(body, (text) => {
        const { forwarded, constraints } = spliceConstraints(new TextEncoder().encode(text), limits)
        const before = JSON.parse(text) as { provider?: Record<string, unknown> }
        const expected = structuredClone(before)
        const constrained = Object.keys(before.provider ?? {}).filter((name) => name.startsWith('aci_'))
        if (expected.provider !== undefined && constrained.length > 0) {
          for (const name of constrained) delete expected.provider[name]
          if (Object.keys(expected.provider).length === 0) delete expected.provider
        }
        const out = new TextDecoder().decode(forwarded)
        expect(JSON.parse(out)).toEqual(expected)
        expect(constraints.verified).toBe(constrained.length > 0)
        expect(new TextDecoder().decode(spliceConstraints(forwarded, limits).forwarded)).toBe(out)
        // Kept members keep their order and their own bytes.
        expect(Object.keys(JSON.parse(out) as object)).toEqual(
          Object.keys(before).filter((name) => name !== 'provider' || expected.provider !== undefined),
        )
      }),
      { numRuns: 500 },
    )
  })

  test.for<[string, string, string]>([
    ['a byte order mark', '\ufeff{"model":"m"}', 'malformed_json'],
    ['provider twice', '{"provider":{"aci_verified":true},"provider":{}}', 'malformed_json'],
    ['provider twice, once escaped', '{"provider":{"aci_verified":true},"pr\\u006fvider":{}}', 'malformed_json'],
    ['a constraint twice, once escaped', '{"provider":{"aci_verified":true,"\\u0061ci_verified":false}}', 'malformed_json'],
    ['an unknown constraint, escaped', '{"provider":{"\\u0061ci_new":1}}', 'malformed_document'],
    ['__proto__, escaped', '{"provider":{"__pr\\u006fto__":{"aci_verified":true}}}', 'malformed_json'],
    ['a pin that waives itself', `{"provider":{"aci_verified":false,"aci_session_ids":["${'0'.repeat(64)}"]}}`, 'malformed_document'],
    ['an empty pin', '{"provider":{"aci_session_ids":[]}}', 'malformed_document'],
    ['a pin of null', '{"provider":{"aci_session_ids":null}}', 'malformed_document'],
  ])('refuses %s', ([, text, code]) => {
    expect(() => spliceConstraints(new TextEncoder().encode(text), limits)).toThrow(expect.objectContaining({ code }))
  })
})
