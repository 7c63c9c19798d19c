import type { SimEnclave } from 'veritee/attestation/sim'
import type { EvidencePolicy, Policy } from 'veritee/policy'

/**
 * The policy of the demo's clients and of its controller: exactly these two simulated programs and exactly these weights.
 * What no simulator can show is waived by name, and every verdict lists it.
 */
export function demoPolicy(
  enclaves: { readonly controller: SimEnclave; readonly worker: SimEnclave },
  models: { readonly [name: string]: readonly string[] },
): Policy {
  const section = (enclave: SimEnclave, changes: Partial<EvidencePolicy>): EvidencePolicy => ({
    tee: ['sgx'],
    simulated: 'allow',
    physical: 'any',
    debug: 'refuse',
    identity: [{ mrenclave: enclave.mrenclave }],
    attributes: 'any',
    tdx: 'any',
    tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 'any', gracePeriod: 0 },
    platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
    maxCollateralAge: 30 * 86_400,
    maxAttestationAge: 86_400,
    models: 'any',
    engine: 'any',
    operator: 'any',
    release: 'any',
    log: 'any',
    channel: 'attested',
    ...changes,
  })
  return {
    version: 'veritee.policy.v1',
    roles: {
      // Plain HTTP on loopback, so that an unmodified OpenAI client can talk to the demo.
      controller: section(enclaves.controller, { channel: 'loopback' }),
      worker: section(enclaves.worker, { models }),
    },
  }
}
