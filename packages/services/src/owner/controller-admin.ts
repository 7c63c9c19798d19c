import type { Json } from 'veritee/bytes'
import { Shape } from 'veritee/bytes'
import type { Service } from 'veritee/client'
import { type AdminChannelOptions, openAdminChannel } from './admin-channel.ts'

/** A key as a controller tells it. */
export interface KeySummary {
  readonly id: string
  readonly name: string
  readonly models: readonly string[] | null
  readonly limits: { readonly [name: string]: number | null }
  readonly created: number
  readonly expires: number | null
  readonly revoked: number | null
  /** Whether it may have access tokens. */
  readonly access_tokens: boolean
}

/** One answer that was paid for: its receipts by their digests, and the token counts that a worker signed. */
export interface KeyCharge {
  readonly receipt_id: string
  readonly receipt_digest: string
  readonly upstream_receipt_digest: string
  readonly keyset_digest: string
  readonly served_at: number
  readonly model: string | null
  readonly prompt_tokens: number
  readonly completion_tokens: number
}

/** Whom a controller has barred: a machine, an operator, an operator on a machine, or a keyset. */
export interface BanSummary {
  readonly subject: string
  /** Unix seconds; past where it stands no more and only its history is kept. */
  readonly until: number
  readonly count: number
  readonly lifts: number
}

/** One ban that a controller made, or lifted. */
export interface BanTrailEntry {
  /** Unix seconds. */
  readonly at: number
  readonly action: 'barred' | 'lifted'
  readonly subject: string
  readonly until: number
  readonly count: number
  readonly reason: string
  /** Keyset digest of that controller. */
  readonly by: string
}

/** The admin interface of a controller that was verified; see {@link openAdminChannel}. */
export interface ControllerAdmin {
  readonly service: Service
  list(): Promise<{ readonly keys: readonly KeySummary[]; readonly version: number }>
  /** The key itself is in this answer and in no other. */
  create(wanted: Json): Promise<{ readonly key: string; readonly summary: KeySummary; readonly version: number }>
  revoke(id: string): Promise<{ readonly summary: KeySummary; readonly version: number }>
  /** Other limits for a key, in the place of all it had: within about a second at every replica. */
  limit(id: string, limits: KeySummary['limits']): Promise<{ readonly summary: KeySummary; readonly version: number }>
  /** Every charge whose receipt is still kept, oldest first. */
  usage(id: string): Promise<readonly KeyCharge[]>
  bans(): Promise<readonly BanSummary[]>
  /** Ends a ban before its time, with the reason for the controller's log and trail. */
  liftBan(subject: string, reason: string): Promise<void>
  /** Bans that were made and lifted, the latest thousand, and how many entries are missing. */
  banTrail(): Promise<{ readonly entries: readonly BanTrailEntry[]; readonly missing: number }>
  close(): void
}

const shape = new Shape('service_refused')
const maxKeys = 10_000
/** Of one key: what a controller keeps of receipts. */
const maxCharges = 1_000_000

/** Verifies a controller under the policy's section for controllers before the credential is sent. Throws as `openAdminChannel`, and the codes of the controller (`api_key*`). */
export async function openControllerAdmin(options: Omit<AdminChannelOptions, 'role'>): Promise<ControllerAdmin> {
  const { service, tell, close } = await openAdminChannel({ ...options, role: 'controller' })
  return {
    service,
    list: async () => {
      const { keys, version } = await tell('GET', 'keys', null)
      return { keys: shape.array(keys, 'keys', maxKeys).map(summaryOf), version: shape.integer(version, 'version') }
    },
    create: async (wanted) => {
      const answer = await tell('POST', 'keys', wanted)
      return { key: shape.string(answer.key, 'key', 64), summary: summaryOf(answer), version: shape.integer(answer.version, 'version') }
    },
    revoke: async (id) => {
      const answer = await tell('POST', 'keys/revoke', { id })
      return { summary: summaryOf(answer), version: shape.integer(answer.version, 'version') }
    },
    limit: async (id, limits) => {
      const answer = await tell('POST', 'keys/limits', { id, limits })
      return { summary: summaryOf(answer), version: shape.integer(answer.version, 'version') }
    },
    usage: async (id) => {
      const charges: KeyCharge[] = []
      let after = 0
      while (charges.length < maxCharges) {
        const page = await tell('GET', `keys/usage?id=${encodeURIComponent(id)}&after=${after}`, null)
        for (const charge of shape.array(page.charges, 'charges', 1000)) charges.push(chargeOf(charge))
        if (page.next === null) return charges
        const next = shape.integer(page.next, 'next')
        if (next <= after) throw shape.refuse('next', `more than ${after}`)
        after = next
      }
      throw shape.refuse('charges', `at most ${maxCharges}`)
    },
    bans: async () => {
      const { bans } = await tell('GET', 'bans', null)
      return shape.array(bans, 'bans', 1000).map(banOf)
    },
    liftBan: async (subject, reason) => {
      await tell('POST', 'bans/lift', { subject, reason })
    },
    banTrail: async () => {
      const { entries, missing } = await tell('GET', 'bans/trail', null)
      return { entries: shape.array(entries, 'entries', 1000).map(entryOf), missing: shape.integer(missing, 'missing') }
    },
    close,
  }
}

function entryOf(value: unknown): BanTrailEntry {
  const o = shape.record(value, 'entry')
  return {
    at: shape.integer(o.at, 'at'),
    action: shape.oneOf(o.action, 'action', ['barred', 'lifted']),
    subject: shape.string(o.subject, 'subject', 200),
    until: shape.integer(o.until, 'until'),
    count: shape.integer(o.count, 'count'),
    reason: shape.string(o.reason, 'reason', 300),
    by: shape.string(o.by, 'by', 80),
  }
}

function summaryOf(value: unknown): KeySummary {
  const o = shape.record(value, 'key')
  const limits = shape.record(o.limits, 'limits')
  const optional = (name: string, from: Record<string, unknown>): number | null => (from[name] === null ? null : shape.integer(from[name], name))
  return {
    id: shape.string(o.id, 'id', 32),
    name: shape.string(o.name, 'name', 100),
    models: o.models === null ? null : shape.array(o.models, 'models', 64).map((model) => shape.string(model, 'model', 256)),
    limits: Object.fromEntries(['requests_per_minute', 'tokens_per_minute', 'tokens_per_month'].map((name) => [name, optional(name, limits)])),
    created: shape.integer(o.created, 'created'),
    expires: optional('expires', o),
    revoked: optional('revoked', o),
    access_tokens: o.access_tokens === true,
  }
}

function banOf(value: unknown): BanSummary {
  const o = shape.record(value, 'ban')
  return {
    subject: shape.string(o.subject, 'subject', 200),
    until: shape.integer(o.until, 'until'),
    count: shape.integer(o.count, 'count'),
    lifts: shape.integer(o.lifts, 'lifts'),
  }
}

function chargeOf(value: unknown): KeyCharge {
  const o = shape.record(value, 'charge')
  return {
    receipt_id: shape.string(o.receipt_id, 'receipt_id', 64),
    receipt_digest: shape.digest(o.receipt_digest, 'receipt_digest'),
    upstream_receipt_digest: shape.digest(o.upstream_receipt_digest, 'upstream_receipt_digest'),
    keyset_digest: shape.digest(o.keyset_digest, 'keyset_digest'),
    served_at: shape.integer(o.served_at, 'served_at'),
    model: shape.nullableString(o.model, 'model', 256),
    prompt_tokens: shape.integer(o.prompt_tokens, 'prompt_tokens'),
    completion_tokens: shape.integer(o.completion_tokens, 'completion_tokens'),
  }
}
