import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { operatorId, parseAdmissionTrust, platformId, verifyAdmissionManifest, verifyOperator } from '../../src/admission/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly trust: unknown
  readonly at: number
  readonly manifest: string
  readonly digest: string
  readonly signers: readonly string[]
  readonly platforms: readonly { readonly ppid: string; readonly instance: string | null; readonly id: string }[]
  readonly operator: { readonly key: string; readonly keyset_digest: string; readonly signature: string }
  readonly refused: readonly { readonly why: string; readonly manifest: string; readonly code: string }[]
}

const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/admission-manifest.json', import.meta.url), 'utf8')) as Vectors
const trust = parseAdmissionTrust(vectors.trust, 'trust')
const at = new Date(vectors.at * 1000)
const script = fileURLToPath(new URL('make-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0

describe('the vectors of the specification', () => {
  it.skipIf(!python)('are what an implementation in another language makes of the specification (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it('the manifest verifies, with its digest and signers', async () => {
    const { digest, signers } = await verifyAdmissionManifest(vectors.manifest, trust, at)
    expect({ digest, signers }).toEqual({ digest: vectors.digest, signers: vectors.signers })
  })

  it.each(vectors.refused)('refused: $why', async ({ manifest, code }) => {
    expect(await refusal(() => verifyAdmissionManifest(manifest, trust, at))).toBe(code)
  })

  it('S17: the name of an operator, made by another implementation', async () => {
    const key = 'fd1724385aa0c75b64fb78cd602fa1d991fdebf76b13c58ed702eac835e9f618'
    expect(await operatorId('05'.repeat(32), key)).toBe('324cd96240b10a4418f42d3e3c05891c0db88214547b9eb2bcfe2d696ffe184a')
    expect(await operatorId('06'.repeat(32), key)).not.toBe(await operatorId('05'.repeat(32), key))
  })

  it('names of platforms', async () => {
    const { salt } = (await verifyAdmissionManifest(vectors.manifest, trust, at)).manifest.platforms
    for (const { ppid, instance, id } of vectors.platforms) expect(await platformId(salt, { ppid, platformInstanceId: instance } as never)).toBe(id)
  })

  it("the operator's signature", async () => {
    const { key, keyset_digest: digest, signature } = vectors.operator
    expect(await verifyOperator(key, digest, signature)).toBe(key)
  })
})
