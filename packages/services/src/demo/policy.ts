import type { SimEnclave, SimTd } from 'veritee/attestation/sim'
import type { EvidencePolicy, Policy } from 'veritee/policy'

/**
 * Policies for simulated services: exactly this program. What no simulator can show is waived by name, and every verdict lists it.
 */
function simulatedSection(changes: Partial<EvidencePolicy> & Pick<EvidencePolicy, 'identity'>): EvidencePolicy {
  return {
    tee: ['sgx'],
    simulated: 'allow',
    physical: 'any',
    debug: 'refuse',
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

function only({ mrenclave }: SimEnclave): EvidencePolicy['identity'] {
  return [{ mrenclave }]
}

/** For a simulated controller. `loopback`: plain HTTP on loopback, so that an unmodified OpenAI client can talk to it. */
export function controllerPolicy(enclave: SimEnclave, channel: 'attested' | 'loopback'): EvidencePolicy {
  return simulatedSection({ identity: only(enclave), channel })
}

/** For a simulated worker, with exactly these weights: name -> digests. */
export function workerPolicy(enclave: SimEnclave, models: { readonly [name: string]: readonly string[] }): EvidencePolicy {
  return simulatedSection({ identity: only(enclave), models })
}

/**
 * For a worker in a simulated TD, with exactly these weights of its own. `external`: an engine that it did not start, whose weights nobody has shown, is
 * accepted too, and with it any weights.
 */
export function tdWorkerPolicy(td: SimTd, models: { readonly [name: string]: readonly string[] }, external: boolean): EvidencePolicy {
  const identity = [{ mrtd: td.mrtd, rtmr0: 'any', rtmr1: 'any', rtmr2: 'any', rtmr3: 'any', mrseam: 'any' }] as const
  return simulatedSection({ tee: ['tdx'], identity, ...(external ? { externalEngine: 'any' } : { models }) })
}

/** The policy of the demo's clients and of its controller. */
export function demoPolicy(
  enclaves: { readonly controller: SimEnclave; readonly worker: SimEnclave },
  models: { readonly [name: string]: readonly string[] },
): Policy {
  return {
    version: 'veritee.policy.v1',
    roles: { controller: controllerPolicy(enclaves.controller, 'loopback'), worker: workerPolicy(enclaves.worker, models) },
  }
}

/** What a model owner accepts as a simulated broker before the model key leaves its machine (rule S13). */
export function brokerPolicy(broker: SimEnclave): Policy {
  return { version: 'veritee.policy.v1', roles: { broker: simulatedSection({ identity: only(broker), maxAttestationAge: 300 }) } }
}

/** Whom a broker may give a model key to: a worker that runs exactly this program, and has shown so within five minutes. It has no models yet. */
export function releasePolicy(worker: SimEnclave): Policy {
  return { version: 'veritee.policy.v1', roles: { worker: simulatedSection({ identity: only(worker), maxAttestationAge: 300 }) } }
}
