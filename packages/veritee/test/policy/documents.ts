import { parseQuote, type QuoteClaims, type SgxClaims, type TdxClaims, type Verified, verifyQuote } from '../../src/attestation/index.ts'
import { createSimPlatform, type SimEnclave } from '../../src/attestation/sim/index.ts'
import type { EvidencePolicy } from '../../src/policy/index.ts'

/** Evidence is issued at `at` and judged an hour later. */
export const at: Date = new Date('2026-05-06T07:08:09Z')
export const soon: Date = new Date(at.getTime() + 3_600_000)
export const enclave: SimEnclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 3, isvSvn: 4 }
export const digest = (byte: string): string => `sha256:${byte.repeat(32)}`

type VerifiedClaims = Verified<QuoteClaims>

/** Claims that a verification of a simulated platform established, judged at `soon`. */
export async function sgxClaims(): Promise<VerifiedClaims> {
  const platform = await createSimPlatform({ at })
  const quote = await platform.quote(enclave, new Uint8Array(64))
  return (await verifyQuote(parseQuote(quote), platform.collateral, { roots: [platform.root] }, soon)).claims
}

export async function tdxClaims(): Promise<VerifiedClaims> {
  const platform = await createSimPlatform({ at })
  const td = { mrtd: 'c3'.repeat(48), rtmr0: 'd4'.repeat(48), rtmr3: 'd7'.repeat(48), mrseam: 'e5'.repeat(48), xfam: 'e702060000000000' }
  const quote = await platform.tdQuote(td, new Uint8Array(64))
  return (await verifyQuote(parseQuote(quote), platform.tdxCollateral, { roots: [platform.root] }, soon)).claims
}

/** Claims that no verification made, to reach what no simulator shows. Only tests may say so. */
export function variant(claims: QuoteClaims, changes: Partial<QuoteClaims>): VerifiedClaims {
  return { ...claims, ...changes } as VerifiedClaims
}

/** As if Intel's key had signed: the only way to reach acceptance with `simulated: "refuse"`. */
export function asGenuine(claims: QuoteClaims): VerifiedClaims {
  return variant(claims, { simulated: false, platform: { ...claims.platform, dynamicPlatform: false, cachedKeys: false, smtEnabled: false } })
}

export function bodyOf<T extends 'sgx' | 'tdx'>(claims: QuoteClaims, tee: T): T extends 'sgx' ? SgxClaims : TdxClaims {
  if (claims.body.tee !== tee) throw new Error(`expected ${tee}`)
  return claims.body as T extends 'sgx' ? SgxClaims : TdxClaims
}

/** A policy that demands something in every field that can be demanded of a quote, and that these claims meet. */
export function demanding(claims: QuoteClaims): EvidencePolicy {
  const { body, platform } = claims
  return {
    tee: [body.tee],
    simulated: 'refuse',
    physical: 'trusted-site',
    debug: 'refuse',
    identity: [
      body.tee === 'sgx'
        ? { mrenclave: body.mrenclave }
        : { mrtd: body.mrtd, rtmr0: body.rtmr0, rtmr1: body.rtmr1, rtmr2: body.rtmr2, rtmr3: body.rtmr3, mrseam: body.mrseam },
    ],
    attributes: body.tee === 'sgx' ? { mask: 'ff'.repeat(16), value: body.attributes } : 'any',
    tdx:
      body.tee === 'sgx'
        ? 'any'
        : {
            attributes: { mask: 'ff'.repeat(8), value: body.tdAttributes },
            xfam: { mask: 'ff'.repeat(8), value: body.xfam },
            septVeDisable: 'require',
            mrServiceTd: ['00'.repeat(48)],
          },
    tcb: {
      statuses: ['UpToDate'],
      advisories: [...claims.tcb.advisories],
      minTcbEvaluationDataNumber: claims.tcb.evaluationDataNumber,
      gracePeriod: 0,
    },
    platform: {
      fmspc: { allow: [platform.fmspc], deny: ['ffffffffffff'] },
      ppid: { allow: [platform.ppid], deny: ['ff'.repeat(16)] },
      dynamicPlatform: 'refuse',
      cachedKeys: 'refuse',
      smt: 'refuse',
    },
    maxCollateralAge: 30 * 86_400,
    maxAttestationAge: 300,
    models: { 'demo-model': [digest('11')] },
    engine: [{ build: digest('22'), cpuVariant: 'x86-64-v3' }],
    operator: ['33'.repeat(32)],
    release: 'any',
    log: 'any',
    channel: 'attested',
  }
}

/** The same, waiving all that may be waived. */
export function lenient(claims: QuoteClaims): EvidencePolicy {
  return {
    ...demanding(claims),
    tee: 'any',
    simulated: 'allow',
    physical: 'any',
    debug: 'any',
    attributes: 'any',
    tdx: 'any',
    tcb: { statuses: ['UpToDate'], advisories: 'any', minTcbEvaluationDataNumber: 'any', gracePeriod: 0 },
    platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
    maxCollateralAge: 'any',
    maxAttestationAge: 'any',
    models: 'any',
    engine: 'any',
    operator: 'any',
    channel: 'loopback',
  }
}
