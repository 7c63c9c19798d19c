import type { Service } from 'veritee/client'
import { type Claim, externalEnginesOf, type SessionClaims, type SessionDocument, sessionEvidence, type VerifiedReport } from 'veritee/receipt'

/** How long one verification of a worker is good for new requests, at most (aci/1 section 8: `expires_at`). */
export const sessionSeconds = 3600
const verifierId = 'veritee/0.1'

/**
 * The record of one verification of a worker, as it is published and cited. It ends with the keys, with what it was judged by (`ends`, Unix seconds) and where
 * the policy wants a younger attestation.
 */
export async function sessionDocument(worker: Service, upstreamName: string, ends: number | null = null): Promise<SessionDocument> {
  const { report, transport } = worker
  const established = Math.floor(worker.attestedAt.getTime() / 1000)
  if (transport.spki === null) throw new TypeError('sessionDocument: the worker was not reached over TLS')
  return {
    api_version: 'aci/1',
    upstream_name: upstreamName,
    endpoint: transport.origin,
    verifier_id: verifierId,
    established_at: established,
    expires_at: Math.min(established + Math.min(sessionSeconds, maxAge(worker)), report.keyset.not_after, ends ?? Number.MAX_SAFE_INTEGER),
    identity: { workload_keyset_digest: report.keysetDigest },
    channel_binding: [{ type: 'tls_spki_sha256', origin: transport.origin, spki_sha256: transport.spki }],
    claims: sessionClaims(worker),
    evidence: await sessionEvidence(worker.reportText, worker.nonce),
  }
}

function maxAge({ options }: Service): number {
  const age = options.policy.roles.worker?.maxAttestationAge ?? 'any'
  return age === 'any' ? sessionSeconds : age
}

/** Honest claims: nothing that a simulator says is proven by hardware, and what was not looked at is unknown. */
function sessionClaims({ report, options }: Service): SessionClaims {
  const { claims } = report
  const unknown: Claim = { status: 'unknown' }
  const identity = options.policy.roles.worker?.identity ?? []
  return {
    tee_attested: teeClaim(report),
    gpu_attested: unknown,
    tcb_up_to_date: claims.simulated
      ? unknown
      : {
          status: claims.tcb.status === 'UpToDate' ? 'asserted' : 'refuted',
          source: 'verifier_derived',
          reason: `${claims.tcb.status} at evaluation data number ${claims.tcb.evaluationDataNumber}`,
        },
    os_known_good: unknown,
    serving_software_known_good: {
      status: 'asserted',
      source: 'operator_asserted',
      reason:
        identity === 'released'
          ? 'the measurement is one that a release statement names'
          : `the measurement is one of ${identity.length} that this controller's policy lists`,
    },
    model_weights_provenance: weightsClaim(report),
    extra: {
      simulated: claims.simulated,
      tcb_status: claims.tcb.status,
      tcb_evaluation_data_number: claims.tcb.evaluationDataNumber,
      debug: claims.debug,
      ...(claims.body.tee === 'sgx' ? { mrenclave: claims.body.mrenclave, mrsigner: claims.body.mrsigner } : { mrtd: claims.body.mrtd }),
    },
  }
}

/** A policy may allow debug; genuine hardware protects nothing then. */
function teeClaim({ claims }: VerifiedReport): Claim {
  if (claims.simulated)
    return { status: 'refuted', source: 'verifier_derived', reason: 'SIMULATED: the quote chains to a simulator, not to hardware' }
  if (claims.debug) return { status: 'refuted', source: 'verifier_derived', reason: 'debug is on: the host reads and changes what is inside' }
  return { status: 'asserted', source: 'hardware_proven', reason: "the quote verifies to Intel's root and binds this keyset" }
}

/** One claim over all models: it is as good as the worst of them. Weights in an engine of another process are proven on a measured mount only (rule S2). */
function weightsClaim({ claims, descriptor }: VerifiedReport): Claim {
  const external = externalEnginesOf(descriptor.extensions)
  // Whoever changes memory changes weights after they were hashed.
  if (claims.debug) return { status: 'unknown' }
  if (descriptor.models.length === 0 || external.some(({ weights_provenance }) => weights_provenance !== 'measured_mount'))
    return { status: 'unknown' }
  const how = external.length === 0 ? 'while loading' : 'while loading, or on a measured read-only mount'
  return {
    status: 'asserted',
    source: claims.simulated ? 'verifier_derived' : 'hardware_proven',
    reason: `${claims.simulated ? 'SIMULATED: ' : ''}the measured worker hashed every weight byte ${how}; the hashes are bound by the quote`,
  }
}
