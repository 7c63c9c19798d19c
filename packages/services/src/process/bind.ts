import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'
import type { Bind } from '../http/listen.ts'

export interface PublicBind {
  readonly open: boolean
  readonly behind_tls: boolean
  readonly knows_simulated: boolean
}

/** The risks an operator has said, for one listener. */
export function bindOf(
  host: string,
  port: number,
  tls: Bind['tls'],
  simulated: boolean,
  said: PublicBind & { readonly names?: readonly string[] },
  apiKeys = false,
): Bind {
  const { open, behind_tls: behindTls, knows_simulated: knowsSimulated, names } = said
  return { host, port, tls, simulated, apiKeys, open, behindTls, knowsSimulated, ...(names !== undefined && { names }) }
}

/**
 * The listener where workers register knows no API keys, so that it is open to whoever reaches it. Throws `usage` where it leaves loopback and neither
 * `--control-open` nor `--open` says so.
 */
export function controlBindOf(
  control: { readonly host: string; readonly port: number; readonly open: boolean },
  tls: Bind['tls'],
  simulated: boolean,
  api: PublicBind,
): Bind {
  const open = api.open || control.open
  if (!open && !isLoopbackHost(control.host))
    throw fail(
      'usage',
      `binding ${control.host} lets anybody ask to be admitted as a worker; say --control-open, or have workers register on loopback`,
    )
  return bindOf(control.host, control.port, tls, simulated, { ...api, open })
}

/** What readiness repeats of those risks (rule S22). */
export function noticesOf(simulated: boolean, said: PublicBind, apiKeys = false): string[] {
  return [
    ...(simulated ? ['SIMULATED: nothing is protected'] : []),
    ...(said.open ? [apiKeys ? 'open: anybody may ask to be admitted as a worker' : 'open: no API keys'] : []),
    ...(said.behind_tls ? ['behind-tls: plain HTTP to a proxy in front'] : []),
  ]
}

export function controlNotices({ open }: { readonly open: boolean }): string[] {
  return open ? ['control-open: anybody may ask to be admitted as a worker'] : []
}

/** Under which URL others reach a listener. Throws `config_invalid` where it listens everywhere and nobody said. */
export function advertised(advertise: string | null, host: string, url: string): string {
  if (advertise !== null) return advertise
  if (!isLoopbackHost(host) && /^(?:0\.0\.0\.0|::)$/.test(host))
    throw fail('config_invalid', `listen.advertise: listening on ${host}, a worker cannot know its address; say --advertise https://address:port`)
  return url
}
