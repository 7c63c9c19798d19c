import { fail } from 'veritee/errors'
import { type AccessControl, openAccessControl } from '../controller/access/index.ts'
import { AccessTokens } from '../controller/access/tokens/access-tokens.ts'
import type { Controller, TokenService } from '../controller/controller.ts'
import type { BanTrail } from '../controller/replicas/ban-trail.ts'
import type { SharedBans } from '../controller/replicas/shared-bans.ts'
import type { ReceiptArchive } from '../enclave/runtime/receipts/archive.ts'
import { type Bind, type Listening, listen } from '../http/listen.ts'
import type { Report } from './logs/log.ts'
import type { Metrics } from './metrics.ts'
import type { Readiness } from './readiness.ts'

export interface AccessConfig {
  readonly access: { readonly keys: boolean; readonly minimum_version: number; readonly tokens: boolean; readonly request_tokens: number }
}

/**
 * Opens the API keys of a controller: where it serves by them, and where it has an admin interface, since keys can be made before anybody is asked for one.
 * Null otherwise. Throws what the store throws.
 */
export async function openAccess(
  { access }: AccessConfig,
  adminToken: string | null,
  options: { readonly archive: ReceiptArchive; readonly now: () => Date; readonly report: (line: string) => void },
): Promise<AccessControl | null> {
  if (!access.keys && adminToken === null) return null
  const { report, archive } = options
  const control = await openAccessControl({ ...options, minimumVersion: access.minimum_version })
  report(`${control.ring.keys.length} API keys, list of version ${control.ring.version}${access.keys ? '' : ', not asked for'}`)
  if (archive.source === 'memory') report('the API keys are in memory only: they end with this process')
  return control
}

/**
 * Access tokens of a controller; null where they are off. `name` stands in their challenge. Throws `usage` where nobody is asked for an API key: there would be nothing to hide, and nothing to pay with.
 */
export function openTokens({ access }: AccessConfig, keys: AccessControl | null, name: string, now: () => Date): TokenService | null {
  if (!access.tokens) return null
  if (!access.keys || keys === null) throw fail('usage', '--access-tokens goes with --api-keys')
  return { keys: keys.access, tokens: new AccessTokens({ name, requestTokens: access.request_tokens, now }) }
}

/** Totals alone: figures of single tokens would tell what they are for not to tell. */
export function tokenMetrics(metrics: Metrics, service: TokenService | null): void {
  if (service === null) return
  const { totals } = service.tokens
  metrics.total('veritee_access_tokens_total', 'access tokens that were issued, and that were spent', () => [
    [{ event: 'issued' }, totals.issued],
    [{ event: 'spent' }, totals.spent],
  ])
  metrics.total('veritee_access_token_usage_total', 'tokens of prompts and answers that workers signed for requests with access tokens', () => [
    [{}, totals.usedTokens],
  ])
}

/** The admin interface on its own listener; null without a credential. Throws `usage`, `port_unavailable`. */
export async function listenAdmin(
  keys: AccessControl | null,
  token: string | null,
  bind: (tls: Controller['identity']['tls']) => Bind,
  { api, identity, keysetDigestOf, registry }: Controller,
  report: Report,
  { trail, shared }: { readonly trail: BanTrail; readonly shared: SharedBans },
): Promise<Listening | null> {
  if (keys === null || token === null) return null
  const bans = {
    list: () => registry.bans(),
    trail: () => trail.view(),
    lift: async (subject: string, reason: string): Promise<boolean> => {
      const standing = registry.standingBan(subject)
      if (standing === null) return false
      await trail.lifting(standing, reason)
      const lifted = registry.liftBan(subject)
      // Else it would stand again where this process ended now; where the store fails, the next round tells it.
      await shared.tell().catch(() => undefined)
      if (lifted) report(`the ban of ${subject} is lifted: ${reason}`, { event: 'worker.ban_lifted', level: 'warn' })
      return lifted
    },
  }
  return listen(bind(identity.tls), keys.admin(token, api, bans), keysetDigestOf)
}

/** Figures of keys, and of rows of the store that somebody else wrote. */
export function accessMetrics(metrics: Metrics, keys: AccessControl | null, archive: ReceiptArchive): void {
  metrics.total(
    'veritee_store_rejected_authority_rows_total',
    'rows that say who may do something and are not genuine, or older than what was seen',
    () => [[{}, archive.authority.rejected]],
  )
  if (keys === null) return
  metrics.gauge('veritee_api_keys', 'API keys in the list, by state', () => {
    const revoked = keys.ring.keys.filter((key) => key.revoked !== null).length
    return [
      [{ state: 'in_force' }, keys.ring.keys.length - revoked],
      [{ state: 'revoked' }, revoked],
    ]
  })
  metrics.gauge('veritee_api_keys_version', 'version of the list of API keys in force', () => [[{}, keys.ring.version]])
}

/** Why a controller that serves by keys should get no requests. */
export function accessReasons(readiness: Readiness, keys: AccessControl): void {
  readiness.add('api_keys_not_current', () => (keys.ring.problem === null ? [] : [keys.ring.problem]))
}
