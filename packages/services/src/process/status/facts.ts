import type { Controller } from '../../controller/controller.ts'
import type { AdmittedWorker, Registry } from '../../controller/registry.ts'
import type { AdmissionRules } from '../../enclave/runtime/admission/rules.ts'
import { ManifestRules } from '../../enclave/runtime/admission/rules.ts'
import type { Identity } from '../../enclave/runtime/identity.ts'
import type { ServedModel } from '../../enclave/worker/served-model.ts'
import type { Gate } from '../gate.ts'
import { type ModelStatus, maxModels, type StatusFacts, type WorkerRow } from './document.ts'

/** Of any service that has its keys. */
export function plainFacts(identity: Identity, gate: Gate): StatusFacts {
  return { keyset: keysetOf(identity), requests_in_flight: gate.working, models: [], manifest: null, workers: null }
}

export function workerFacts(identity: Identity, gate: Gate, models: readonly ServedModel[]): StatusFacts {
  const listed = models.map(({ name, engine }) => ({ name, running: engine.load.running, waiting: engine.load.waiting, workers: null }))
  return { ...plainFacts(identity, gate), models: listed }
}

export function controllerFacts({ identity, registry }: Controller, gate: Gate, rules: AdmissionRules): StatusFacts {
  const models: ModelStatus[] = []
  for (const { model, running, waiting, members } of registry.routing.load()) {
    if (models.length === maxModels) break
    models.push({ name: model, running, waiting, workers: members })
  }
  return { ...plainFacts(identity, gate), models, manifest: manifestOf(rules), workers: registry.counts }
}

export function workerRows(registry: Registry): WorkerRow[] {
  return registry.all().map((worker) => rowOf(worker, registry))
}

function rowOf(worker: AdmittedWorker, { routing }: Registry): WorkerRow {
  const { report } = worker.service
  return {
    url: worker.origin,
    keyset_digest: report.keysetDigest,
    keyset_not_after: report.keyset.not_after,
    session_id: worker.session.id,
    expires_at: worker.session.document.expires_at,
    models: report.descriptor.models.map(({ name }) => name).slice(0, maxModels),
    simulated: report.claims.simulated,
    outstanding: worker.load.outstanding,
    breaker: routing.breakerOf(worker),
    protocol: worker.pool.protocol ?? null,
    // It may repeat what a worker said.
    quarantine: worker.quarantine?.slice(0, 1024) ?? null,
    operator: worker.party.operator,
    platform: worker.party.platform,
  }
}

function manifestOf(rules: AdmissionRules): StatusFacts['manifest'] {
  if (!(rules instanceof ManifestRules)) return null
  const { digest, manifest } = rules.manifest
  return { version: manifest.manifest_version, digest, network: manifest.network, expires: manifest.expires }
}

function keysetOf({ keysetDigest, keyset }: Identity): StatusFacts['keyset'] {
  return { digest: keysetDigest, not_after: keyset.not_after }
}
