import type { Check } from 'veritee/attestation'
import type { AuditEntry } from './store/index.ts'

/** How one request ended, for whoever runs the broker: the line of the trail, and the checks behind it. Never a secret. */
export interface Decision extends Omit<AuditEntry, 'seq'> {
  /** Those of the evidence, then those of the resource's policy; empty where it did not come to judging. */
  readonly checks: readonly Check[]
}
