import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { generateEd25519 } from '../../src/crypto/node.ts'
import { acceptRelease, parseRelease, type ReleaseTrust, releaseKeySet, signRelease, verifyRelease } from '../../src/release/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly trust: ReleaseTrust
  readonly at: number
  readonly statement: string
  readonly digest: string
  readonly signers: readonly string[]
  readonly key_set: string
  readonly refused: readonly { readonly why: string; readonly statement: string; readonly code: string }[]
}

const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/release-statement.json', import.meta.url), 'utf8')) as Vectors
const { trust, statement } = vectors
const at = new Date(vectors.at * 1000)
const script = fileURLToPath(new URL('make-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0

describe('the vectors of the specification', () => {
  it.skipIf(!python)('are what an implementation in another language makes of the specification (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it('the statement verifies, with its digest and signers', async () => {
    const { digest, signers } = await verifyRelease(statement, trust, at)
    expect({ digest, signers }).toEqual({ digest: vectors.digest, signers: vectors.signers })
  })

  it('S25: the set of signers has its name, whatever the order of its keys', async () => {
    expect(await releaseKeySet({ ...trust, keys: [...trust.keys].reverse() })).toBe(vectors.key_set)
  })

  it.each(vectors.refused)('S25: refused: $why', async ({ statement: text, code }) => {
    expect(await refusal(() => verifyRelease(text, trust, at))).toBe(code)
  })
})

it('S25: whatever byte of a signed statement is changed, it is refused', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: statement.length - 1 }), fc.integer({ min: 1, max: 94 }), async (place, by) => {
      const other = String.fromCharCode(32 + ((statement.charCodeAt(place) - 32 + by) % 95))
      const changed = statement.slice(0, place) + other + statement.slice(place + 1)
      // A changed key is a stranger's, and then there are too few. The product is looked at first.
      expect(await refusal(() => verifyRelease(changed, trust, at))).toMatch(
        /^release_(?:statement_malformed|signature_invalid|signatures_missing|product)$/,
      )
    }),
    { numRuns: 300 },
  )
})

it('is signed by one after the other, in any order; signing again replaces', async () => {
  const [one, two] = [generateEd25519(), generateEd25519()]
  const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex')
  const { document } = await parseRelease(statement)
  const bare = JSON.stringify({ ...document, signatures: [] })
  const forth = await signRelease(await signRelease(bare, one), two)
  expect(await signRelease(await signRelease(bare, two), one)).toBe(forth)
  expect(await signRelease(forth, one)).toBe(forth)
  const own = { ...trust, keys: [hex(one.publicKey), hex(two.publicKey)] }
  expect((await verifyRelease(forth, own, at)).signers).toHaveLength(2)
})

it.each([{ threshold: 0 }, { threshold: 4 }, { keys: [] }])('trust in nobody is a mistake of the program: %j', async (change) => {
  await expect(verifyRelease(statement, { ...trust, ...change }, at)).rejects.toThrow(TypeError)
})

describe('S14: a policy is filled from a release', () => {
  const policy = (mrenclave: string): string =>
    JSON.stringify({
      version: 'veritee.policy.v1',
      comments: { 'worker.identity': 'compare' },
      roles: {
        worker: { identity: [{ mrenclave }], models: { 'UNREVIEWED:m': ['UNREVIEWED:sha256:00'] } },
        controller: { identity: [{ mrenclave: 'aa'.repeat(32) }] },
      },
    })

  it('with all measurements of the role, and says which marks are left', async () => {
    const { text, filled, left } = acceptRelease(policy(`UNREVIEWED:${'e0'.repeat(32)}`), await verifyRelease(statement, trust, at))
    const { roles } = JSON.parse(text) as { roles: { [role: string]: { identity: unknown } } }
    expect(roles.worker?.identity).toEqual([{ mrenclave: 'e0'.repeat(32) }, { mrenclave: 'e1'.repeat(32) }])
    // What somebody reviewed stays.
    expect(roles.controller?.identity).toEqual([{ mrenclave: 'aa'.repeat(32) }])
    expect(filled).toEqual(['worker'])
    expect(left).toEqual(['roles.worker.models.UNREVIEWED:m', 'roles.worker.models.UNREVIEWED:m.0'])
  })

  it('a section that takes whatever is released has nothing to fill', async () => {
    const text = JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: { identity: 'released' } } })
    expect(acceptRelease(text, await verifyRelease(statement, trust, at))).toMatchObject({ filled: [], left: [] })
  })

  it('a measurement found on a service that is not of the release is refused, not replaced', async () => {
    const release = await verifyRelease(statement, trust, at)
    expect(await refusal(() => acceptRelease(policy(`UNREVIEWED:${'ab'.repeat(32)}`), release))).toBe('release_measurement_unknown')
  })

  it.each(['{}', '{"roles":[]}', '{"roles":{"worker":{"identity":{}}}}', '{"roles":{"robot":{}}}', 'x'])('%s is no policy', async (text) => {
    const release = await verifyRelease(statement, trust, at)
    expect(await refusal(() => acceptRelease(text, release))).toBe('policy_invalid')
  })
})
