import type { SimEnclave } from 'veritee/attestation/sim'
import type { EvidencePolicy, Policy } from 'veritee/policy'

/** Exactly this simulated program; what no simulator can show is waived by name, and every verdict lists it. */
function section(enclave: SimEnclave, changes: Partial<EvidencePolicy>): EvidencePolicy {
  return {
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
  }
}

/** The policy of the demo's clients and of its controller: exactly these two simulated programs and exactly these weights. */
export function demoPolicy(
  enclaves: { readonly controller: SimEnclave; readonly worker: SimEnclave },
  models: { readonly [name: string]: readonly string[] },
): Policy {
  return {
    version: 'veritee.policy.v1',
    roles: {
      // Plain HTTP on loopback, so that an unmodified OpenAI client can talk to the demo.
      controller: section(enclaves.controller, { channel: 'loopback' }),
      worker: section(enclaves.worker, { models }),
    },
  }
}

/** What the model owner accepts as a broker before the model key leaves its machine (rule S13). */
export function ownerPolicy(broker: SimEnclave): Policy {
  return { version: 'veritee.policy.v1', roles: { broker: section(broker, { maxAttestationAge: 300 }) } }
}

/** Whom the broker may give the model key to: a worker that runs exactly this program, and has shown so within five minutes. It has no models yet. */
export function releasePolicy(worker: SimEnclave): Policy {
  return { version: 'veritee.policy.v1', roles: { worker: section(worker, { maxAttestationAge: 300 }) } }
}
