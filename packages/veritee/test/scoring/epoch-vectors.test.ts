import { readFileSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { parseAdmissionTrust } from '../../src/admission/index.ts'
import { readFrom, verifyEpoch } from '../../src/scoring/index.ts'

vi.setConfig({ testTimeout: 120_000 })
const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/epoch.json', import.meta.url), 'utf8')) as {
  readonly trust: unknown
  readonly files: { readonly [path: string]: string }
  readonly missed: readonly (readonly [string, string])[]
  readonly edits: readonly {
    readonly why: string
    readonly file: string
    readonly from: string
    readonly to: string
    readonly code: string
    readonly line: number | null
  }[]
}
const context = { trust: parseAdmissionTrust(vectors.trust, 'trust'), verifyProof: null, roster: null, previous: null }
const files = new Map(Object.entries(vectors.files))

describe('the bundle of the specification', () => {
  it('verifies under its trust, and names who missed which duty', async () => {
    const { verdict, first, missed } = await verifyEpoch(readFrom(files), context)
    expect([verdict, first, missed.map(({ validator, duty }) => [validator, duty])]).toEqual(['verified', null, vectors.missed])
  })

  it.each(vectors.edits)('refused with another $why', async ({ file, from, to, code, line }) => {
    const text = files.get(file) as string
    expect(text).toContain(from)
    const { verdict, first } = await verifyEpoch(readFrom(new Map([...files, [file, text.replace(from, to)]])), context)
    expect([verdict, first?.code, first?.record?.line ?? null]).toEqual(['rejected', code, line])
  })
})
