import { describe, expect, it } from 'vitest'
import {
  checkSuccession,
  judgePlatform,
  parseAdmissionManifest,
  parseAdmissionTrust,
  platformId,
  signAdmissionManifest,
  signOperatorStatement,
  verifyAdmissionManifest,
  verifyOperator,
} from '../../src/admission/index.ts'
import { type Json, jcs, toHex } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { at, lenient, sgxClaims } from '../policy/documents.ts'

const claims = await sgxClaims()
const keys = await Promise.all([1, 2, 3].map(() => generateEd25519()))
const [a, b, c] = keys as [(typeof keys)[0], (typeof keys)[0], (typeof keys)[0]]
const seconds = Math.floor(at.getTime() / 1000)
const trust = { network: 'test', keys: keys.map((key) => toHex(key.publicKey)), threshold: 2, minimumVersion: 1 }
const section = lenient(claims)

type Edit = (draft: { [name: string]: unknown }) => void

function draft(edit: Edit = () => undefined): string {
  const document: { [name: string]: unknown } = {
    version: 'veritee.admission-manifest.v1',
    network: 'test',
    manifest_version: 5,
    issued: seconds,
    expires: seconds + 86_400,
    roles: { worker: section, controller: section },
    platforms: { salt: '05'.repeat(32), allow: 'any', deny: [], shared: [] },
    signatures: [],
  }
  edit(document)
  return JSON.stringify(document)
}

async function signed(edit?: Edit, by: readonly (typeof a)[] = [a, b]): Promise<string> {
  let text = draft(edit)
  for (const key of by) text = await signAdmissionManifest(text, key)
  return text
}

const verified = async (edit?: Edit) => verifyAdmissionManifest(await signed(edit), trust, at)
const set =
  (name: string, value: unknown): Edit =>
  (document) => {
    document[name] = value
  }

describe('S13: an admission manifest counts by who signed it', () => {
  it('any two of three, in any order, and the same document whoever signed', async () => {
    const results = await Promise.all(
      [
        [a, b],
        [b, a],
        [c, a],
        [a, b, c],
      ].map(async (by) => verifyAdmissionManifest(await signed(undefined, by), trust, at)),
    )
    expect(results.map(({ signers }) => signers.length)).toEqual([2, 2, 2, 3])
    expect(new Set(results.map(({ digest }) => digest)).size).toBe(1)
    expect(await signed(undefined, [a, b])).toBe(await signed(undefined, [b, a]))
  })

  it('too few signatures: none, one, one twice, strangers', async () => {
    const stranger = await generateEd25519()
    for (const by of [[], [a], [a, a], [a, stranger], [stranger, await generateEd25519()]])
      expect(await refusal(async () => verifyAdmissionManifest(await signed(undefined, by), trust, at))).toBe('admission_manifest_signatures_missing')
    const twice = JSON.parse(await signed(undefined, [a])) as { signatures: object[] }
    twice.signatures.push(...twice.signatures)
    expect(await refusal(() => verifyAdmissionManifest(JSON.stringify(twice), trust, at))).toBe('admission_manifest_malformed')
  })

  it('any member changed after signing, and a signature of one key under the name of another', async () => {
    const text = await signed()
    for (const [name, value] of Object.entries({ manifest_version: 6, issued: seconds - 1, expires: seconds + 1, roles: { worker: section } })) {
      const edited = { ...(JSON.parse(text) as object), [name]: value }
      expect(await refusal(() => verifyAdmissionManifest(JSON.stringify(edited), trust, at)), name).toBe('admission_manifest_signature_invalid')
    }
    const swapped = JSON.parse(text) as { signatures: { key: string; signature: string }[] }
    const [one, other] = swapped.signatures as [{ key: string; signature: string }, { key: string; signature: string }]
    swapped.signatures = [
      { key: one.key, signature: other.signature },
      { key: other.key, signature: one.signature },
    ]
    expect(await refusal(() => verifyAdmissionManifest(JSON.stringify(swapped), trust, at))).toBe('admission_manifest_signature_invalid')
  })

  it('a trust in nobody, or that nobody can satisfy, is a mistake', async () => {
    for (const changes of [
      { keys: [] },
      { threshold: 0 },
      { threshold: 4 },
      { threshold: 1.5 },
      { keys: [trust.keys[0], trust.keys[0]] as string[] },
    ])
      await expect(verifyAdmissionManifest(await signed(), { ...trust, ...changes }, at)).rejects.toThrow(TypeError)
    const good = { network: 'test', keys: trust.keys, threshold: 2, minimum_version: 1 }
    expect(parseAdmissionTrust(good, 'x')).toEqual(trust)
    for (const changes of [
      { keys: [] },
      { keys: ['x'] },
      { keys: [trust.keys[0], trust.keys[0]] },
      { threshold: 0 },
      { threshold: 4 },
      { network: '' },
      { network: '../x' },
      { more: 1 },
    ])
      expect(await refusal(() => parseAdmissionTrust({ ...good, ...changes }, 'x')), JSON.stringify(changes)).toBe('admission_manifest_malformed')
  })
})

describe('S11: no way back', () => {
  it('below the lowest version, before its time, from its end on', async () => {
    expect(await refusal(async () => verifyAdmissionManifest(await signed(), { ...trust, minimumVersion: 6 }, at))).toBe(
      'admission_manifest_rolled_back',
    )
    const times: readonly (readonly [number, string])[] = [
      [-301, 'admission_manifest_expired'],
      [-300, 'accepted'],
      [86_399, 'accepted'],
      [86_400, 'admission_manifest_expired'],
    ]
    for (const [offset, outcome] of times)
      expect(await refusal(async () => verifyAdmissionManifest(await signed(), trust, new Date((seconds + offset) * 1000))), String(offset)).toBe(
        outcome,
      )
  })

  it('after a newer one no older one, and no other of the same version', async () => {
    const current = await verified()
    expect(checkSuccession(current, await verified())).toBe(false)
    expect(checkSuccession(current, await verified(set('manifest_version', 6)))).toBe(true)
    for (const next of [await verified(set('manifest_version', 4)), await verified(set('expires', seconds + 1000))])
      expect(await refusal(() => checkSuccession(current, next))).toBe('admission_manifest_rolled_back')
  })
})

describe('hostile documents', () => {
  const worker = (changes: object): Edit => set('roles', { worker: { ...section, ...changes } })
  const platforms = (changes: object): Edit => set('platforms', { salt: '05'.repeat(32), allow: 'any', deny: [], shared: [], ...changes })
  it.each<[string, Edit, string]>([
    ['another version', set('version', 'veritee.admission-manifest.v2'), 'admission_manifest_malformed'],
    ['a member too many', set('more', 1), 'admission_manifest_malformed'],
    ['a member too few', (document) => delete document.platforms, 'admission_manifest_malformed'],
    ['a network that is a path', set('network', '../x'), 'admission_manifest_malformed'],
    ['an empty network', set('network', ''), 'admission_manifest_malformed'],
    ['version 0', set('manifest_version', 0), 'admission_manifest_malformed'],
    ['a version beyond the integers', set('manifest_version', 2 ** 53), 'admission_manifest_malformed'],
    ['a version as text', set('manifest_version', '5'), 'admission_manifest_malformed'],
    ['the end before the beginning', set('expires', seconds), 'admission_manifest_malformed'],
    ['longer than a year', set('expires', seconds + 367 * 86_400), 'admission_manifest_malformed'],
    ['no roles', set('roles', {}), 'policy_invalid'],
    ['an unknown role', set('roles', { client: section }), 'policy_invalid'],
    ['S14: an identity not reviewed', worker({ identity: [{ mrenclave: `UNREVIEWED:${'0'.repeat(64)}` }] }), 'policy_invalid'],
    ['S14: a signer alone', worker({ identity: [{ mrsigner: 'ab'.repeat(32) }] }), 'policy_invalid'],
    ['a fraction within a section', worker({ maxCollateralAge: 0.5 }), 'admission_manifest_malformed'],
    [
      'S15: a network that is half simulated',
      set('roles', { worker: section, controller: { ...section, simulated: 'refuse' } }),
      'admission_manifest_malformed',
    ],
    ['a salt too short', platforms({ salt: '05' }), 'admission_manifest_malformed'],
    ['an empty list of machines', platforms({ allow: [] }), 'admission_manifest_malformed'],
    ['a machine twice', platforms({ deny: ['01'.repeat(32), '01'.repeat(32)] }), 'admission_manifest_malformed'],
    ['a machine in upper case', platforms({ shared: ['AB'.repeat(32)] }), 'admission_manifest_malformed'],
    [
      'signatures out of order',
      set(
        'signatures',
        [2, 1].map((n) => ({ key: `0${n}`.repeat(32), signature: '00'.repeat(64) })),
      ),
      'admission_manifest_malformed',
    ],
    ['a signature too short', set('signatures', [{ key: '01'.repeat(32), signature: '00' }]), 'admission_manifest_malformed'],
    [
      '65 signatures',
      set(
        'signatures',
        Array.from({ length: 65 }, (_, i) => ({ key: i.toString(16).padStart(64, '0'), signature: '00'.repeat(64) })),
      ),
      'admission_manifest_malformed',
    ],
  ])('%s', async (_, edit, code) => {
    expect(await refusal(() => parseAdmissionManifest(draft(edit)))).toBe(code)
  })

  it.each([
    ['nothing', ''],
    ['an array', '[]'],
    ['a member twice', draft().replace('"network":', '"network":"other","network":')],
    ['too deep', draft().replace('"roles":{', `"roles":{"x":${'['.repeat(20)}${']'.repeat(20)},`)],
    ['too long', `${draft()}${' '.repeat(1 << 20)}`],
    ['something after it', `${draft()}x`],
  ])('%s', async (_, text) => {
    expect(await refusal(() => parseAdmissionManifest(text))).toBe('admission_manifest_malformed')
  })

  it('the digest is over the document as it stands, a member that a section may lack included', async () => {
    const bare = await parseAdmissionManifest(draft())
    const said = await parseAdmissionManifest(draft(worker({ externalEngine: 'refuse' })))
    expect(said.digest).not.toBe(bare.digest)
    expect(jcs(bare.document)).toBe(jcs((({ signatures: _, ...rest }) => rest)(JSON.parse(draft()) as { signatures: Json; [name: string]: Json })))
  })
})

describe('S17: machines and operators', () => {
  it('machines are named under the salt of the network, and judged by that name', async () => {
    const id = await platformId('05'.repeat(32), claims.platform)
    expect(await platformId('06'.repeat(32), claims.platform)).not.toBe(id)
    expect(await platformId('05'.repeat(32), { ...claims.platform, platformInstanceId: 'ab'.repeat(16) })).not.toBe(id)
    const judge = (changes: object) => judgePlatform({ platforms: { salt: '05'.repeat(32), allow: 'any', deny: [], shared: [], ...changes } }, claims)
    expect(await judge({})).toEqual({ id, shared: false })
    expect(await judge({ allow: [id], shared: [id] })).toEqual({ id, shared: true })
    for (const changes of [{ allow: ['00'.repeat(32)] }, { deny: [id] }, { allow: [id], deny: [id] }])
      expect(await refusal(() => judge(changes))).toBe('admission_platform')
  })

  it('neither the enclave nor the operator can claim the other alone', async () => {
    const [keyset, other] = [`sha256:${'11'.repeat(32)}`, `sha256:${'22'.repeat(32)}`]
    const key = toHex(a.publicKey)
    const signature = await signOperatorStatement(keyset, a)
    expect(await verifyOperator(key, keyset, signature)).toBe(key)
    expect(await verifyOperator(null, keyset, null)).toBeNull()
    expect(await refusal(() => verifyOperator(key, keyset, null))).toBe('operator_signature_missing')
    for (const [named, digest, given] of [
      [key, other, signature],
      [toHex(b.publicKey), keyset, signature],
      [null, keyset, signature],
      [key, keyset, 'x'],
      [key, keyset, signature.toUpperCase()],
    ] as const)
      expect(await refusal(() => verifyOperator(named, digest, given))).toBe('operator_signature_invalid')
    await expect(signOperatorStatement('x', a)).rejects.toThrow(TypeError)
  })
})
