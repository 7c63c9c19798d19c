import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromUtf8, type Json, jcs, toHex, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import { withoutSignature } from '../../src/scoring/audit/sign.ts'
import { parseAuditRecord, signAuditRecord, type UnsignedAuditRecord, verifyAuditRecord } from '../../src/scoring/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly records: readonly { readonly what: string; readonly record: string }[]
  readonly refused: readonly { readonly why: string; readonly record: string; readonly code: string }[]
}

const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/audit-record.json', import.meta.url), 'utf8')) as Vectors
const script = fileURLToPath(new URL('make-record-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0
const texts = vectors.records.map(({ record }) => record)

describe('audit records: the vectors of the specification', () => {
  it.skipIf(!python)('are what an implementation in another language makes of the specification (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it.each(vectors.records)('accepted: $what', async ({ record }) => {
    expect(await verifyAuditRecord(record)).toEqual(JSON.parse(record))
  })

  it.each(vectors.refused)('refused: $why', async ({ record, code }) => {
    expect(await refusal(() => verifyAuditRecord(record))).toBe(code)
  })

  it.each(Object.keys(JSON.parse(texts[0] ?? '{}') as object))('refused: without %s', async (name) => {
    const { [name]: _, ...rest } = JSON.parse(texts[0] ?? '') as { [name: string]: unknown }
    expect(await refusal(() => parseAuditRecord(JSON.stringify(rest)))).toBe('audit_record_malformed')
  })
})

describe('an audit record', () => {
  it('is signed by the validator that it names, and read again as it was', async () => {
    const key = await generateEd25519()
    const { signature: _, ...record } = { ...parseAuditRecord(texts[0] ?? ''), validator: toHex(key.publicKey) }
    const { signature, ...read } = await verifyAuditRecord(await signAuditRecord(record, key))
    expect(read).toEqual(record)
    expect(signature).toMatch(/^[0-9a-f]{128}$/)
  })

  it('is not signed where no reader would take it, nor by another key', async () => {
    const key = await generateEd25519()
    const { signature: _, ...record } = { ...parseAuditRecord(texts[0] ?? ''), validator: toHex(key.publicKey) }
    expect(await refusal(() => signAuditRecord({ ...record, view: null }, key))).toBe('audit_record_malformed')
    await expect(signAuditRecord({ ...record, validator: '00'.repeat(32) }, key)).rejects.toThrow(TypeError)
  })

  it('has no byte that can be changed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...texts), fc.nat(), fc.integer({ min: 1, max: 255 }), async (text, where, by) => {
        const bytes = utf8(text)
        const at = where % bytes.length
        bytes[at] = (bytes[at] as number) ^ by
        const code = await refusal(() => verifyAuditRecord(fromUtf8(bytes)))
        expect(['malformed_encoding', 'audit_record_malformed', 'audit_record_signature_invalid']).toContain(code)
      }),
      { numRuns: 1000 },
    )
  })

  it('S6: has no member that could hold an unsalted digest of content', () => {
    // Every digest member, by name: of evidence, keys, weights, engines, calibrations, the audit view and a salted commitment; a new one has to be argued here.
    const digests = new Set<string>()
    const walk = (value: unknown, at: string): void => {
      if (typeof value === 'string' && /^(?:sha256:)?[0-9a-f]{64}$/.test(value)) digests.add(at.replace(/\[\d+\]/, '[]'))
      else if (value !== null && typeof value === 'object')
        for (const [name, item] of Object.entries(value)) walk(item, Array.isArray(value) ? `${at}[${name}]` : `${at}.${name}`)
    }
    for (const text of texts) walk(JSON.parse(text), '')
    expect([...digests].sort()).toEqual(
      [
        '.attestation.collateral',
        '.attestation.evidence',
        '.canary',
        '.keyset',
        '.model.weights',
        '.path[]',
        '.replay.calibration',
        '.replay.engine',
        '.validator',
        '.view.digest',
        '.view.log.leaf',
        '.worker.operator',
        '.worker.platform',
      ].sort(),
    )
  })
})

describe('the signed form of a record', () => {
  it.each(texts)('is its canonical form without the signature', (text) => {
    const { signature: _, ...unsigned } = JSON.parse(text) as { [name: string]: Json }
    expect(withoutSignature(text)).toBe(jcs(unsigned))
  })

  it.each([',"signature":"', `,"signature":"${'0'.repeat(128)}"`, '\\",\\"signature\\":\\"', '\\', '"'])(
    'whatever a name holds: %j',
    async (name) => {
      const key = await generateEd25519()
      const { signature: _, ...unsigned } = JSON.parse(texts[0] ?? '') as UnsignedAuditRecord & { signature: string }
      const model = { name, weights: `sha256:${'d1'.repeat(32)}` }
      const text = await signAuditRecord({ ...unsigned, model, validator: toHex(key.publicKey) }, key)
      expect((await verifyAuditRecord(text)).model).toEqual(model)
      expect(await refusal(() => verifyAuditRecord(text.replace('"d1', '"d2').replace('sha256:d1', 'sha256:d2')))).toBe(
        'audit_record_signature_invalid',
      )
    },
  )
})
