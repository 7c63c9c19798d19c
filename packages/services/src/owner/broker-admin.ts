import { type Json, Shape, toBase64 } from 'veritee/bytes'
import type { Service } from 'veritee/client'
import { type AdminChannelOptions, openAdminChannel } from './admin-channel.ts'

/** The policy is what the model owner accepts as a broker: its section for the role `broker` is judged. */
export type BrokerAdminOptions = Omit<AdminChannelOptions, 'role'>

/** A key with the terms of its release. */
export interface ResourceOffer {
  /** `<repository>/<type>/<tag>`; for a model key the `key_id` of the manifest. */
  readonly resource: string
  readonly value: Uint8Array
  /** The text of a policy document; its section for workers is judged. */
  readonly policy: string
  /** `veritee` where only evidence with a service descriptor counts; `quote` also for clients of Trustee. */
  readonly evidence: 'veritee' | 'quote'
}

export interface ResourceSummary {
  readonly resource: string
  readonly version: number
  readonly revoked: boolean
  readonly policyDigest: string
  readonly evidence: string
  readonly changed: string
}

/** The admin interface of a broker that was verified. The credential and all that is sent go to its attested TLS key only. */
export interface BrokerAdmin {
  readonly service: Service
  put(offer: ResourceOffer): Promise<ResourceSummary>
  /** A new value, under the old terms or new ones. */
  rotate(offer: Pick<ResourceOffer, 'resource' | 'value'> & Partial<Pick<ResourceOffer, 'policy' | 'evidence'>>): Promise<ResourceSummary>
  revoke(resource: string): Promise<ResourceSummary>
  resources(): Promise<readonly ResourceSummary[]>
  /** Releases and changes, then refusals; each in order of `seq`. */
  audit(): Promise<{ readonly audit: readonly Json[]; readonly refusals: readonly Json[] }>
  close(): void
}

const shape = new Shape('service_refused')

/**
 * Verifies a key broker for a model owner (rule S13): a fresh nonce, its report under the policy's section for brokers, and the TLS key of this very
 * connection in its keyset. Before that holds, neither a key nor the credential leaves this machine; afterwards they go to that TLS key only.
 *
 * It does not show which resources the broker would release to whom: that is the policy which is put with each of them. Throws `usage` for a URL that is not
 * `https:` (whatever the policy says of channels), and every code of `connect`. The methods throw the codes of the broker (`broker_*`, `kbs_*`, `policy_*`),
 * `service_refused`, `service_unavailable`, `channel_mismatch`, `keyset_changed`, `policy_attestation_age`.
 */
export async function openBrokerAdmin(options: BrokerAdminOptions): Promise<BrokerAdmin> {
  const { service, tell, close } = await openAdminChannel({ ...options, role: 'broker' })
  return {
    service,
    put: async ({ resource, value, policy: terms, evidence }) =>
      summary(await tell('POST', 'resources', { resource, value: toBase64(value), policy: terms, evidence })),
    rotate: async ({ resource, value, policy: terms, evidence }) =>
      summary(
        await tell('POST', 'rotate', {
          resource,
          value: toBase64(value),
          ...(terms === undefined ? {} : { policy: terms }),
          ...(evidence === undefined ? {} : { evidence }),
        }),
      ),
    revoke: async (resource) => summary(await tell('POST', 'revoke', { resource })),
    resources: async () => shape.array((await tell('GET', 'resources', null)).resources, 'resources', 1 << 16).map((item) => summary(item)),
    audit: async () => {
      const { audit, refusals } = await tell('GET', 'audit', null)
      return { audit: shape.array(audit, 'audit', 1 << 16) as Json[], refusals: shape.array(refusals, 'refusals', 1 << 16) as Json[] }
    },
    close,
  }
}

function summary(value: unknown): ResourceSummary {
  const o = shape.record(value, 'resource')
  return {
    resource: shape.string(o.resource, 'resource', 256),
    version: shape.integer(o.version, 'version'),
    revoked: shape.boolean(o.revoked, 'revoked'),
    policyDigest: shape.digest(o.policy_digest, 'policy_digest'),
    evidence: shape.string(o.evidence, 'evidence', 16),
    changed: shape.string(o.changed, 'changed', 32),
  }
}
