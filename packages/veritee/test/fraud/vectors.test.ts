import { createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { fromBase64, fromHex, type Json, jcs, utf8 } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import { fraudDigest, parseFraudProof, verifyFraudProof } from '../../src/fraud/index.ts'
import { parsePolicy } from '../../src/policy/index.ts'

interface Vector {
  readonly name: string
  readonly proof: { readonly kind: string; readonly receipts: readonly { readonly [name: string]: Json }[] }
  readonly proven: boolean
  readonly code?: string
  readonly contradiction?: string
  readonly digest?: string
}
const file = JSON.parse(readFileSync(new URL('../../../../spec/vectors/fraud-proof.json', import.meta.url), 'utf8')) as {
  readonly at: number
  readonly root_b64: string
  readonly policy: Json
  readonly report: { readonly attestation: { readonly workload_keyset: { readonly receipt_signing_keys: readonly { public_key: string }[] } } }
  readonly vectors: readonly Vector[]
}

const day = 86_400
it.each(
  file.vectors.flatMap((vector) => [
    [`${vector.name}, at once`, 0, vector] as const,
    [`${vector.name}, ten years later`, 3650 * day, vector] as const,
  ]),
)('%s', async (_, later, vector) => {
  const text = JSON.stringify({ version: 'veritee.fraud-proof.v2', report: file.report, ...vector.proof })
  const context = {
    trust: { roots: [fromBase64(file.root_b64)] as const },
    policy: parsePolicy(JSON.stringify(file.policy)),
    at: new Date((file.at + later) * 1000),
  }
  try {
    const proven = await verifyFraudProof(parseFraudProof(text), context)
    const { contradiction } = proven
    expect({ proven: true, contradiction, digest: await fraudDigest(proven) }).toEqual({
      proven: vector.proven,
      contradiction: vector.contradiction,
      digest: vector.digest,
    })
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    expect({ proven: false, code: error.code }).toEqual({ proven: vector.proven, code: vector.code })
  }
})

it("by Node's own verification, every receipt of a proven vector is signed by the key in the report", () => {
  const [{ public_key: raw } = { public_key: '' }] = file.report.attestation.workload_keyset.receipt_signing_keys
  const key = createPublicKey({ key: Buffer.concat([fromHex('302a300506032b6570032100'), fromHex(raw)]), format: 'der', type: 'spki' })
  for (const { proven, proof } of file.vectors.filter((vector) => vector.proven))
    for (const { signature, ...unsigned } of proof.receipts) expect(verify(null, utf8(jcs(unsigned)), key, fromHex(String(signature)))).toBe(proven)
})
