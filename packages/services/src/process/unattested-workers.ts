import { fail } from 'veritee/errors'
import type { ControllerConfig } from '../config/controller.ts'
import { readNetworks } from '../controller/fastchat/address.ts'
import type { UnattestedModels } from '../controller/fastchat/openai.ts'
import { createFastchatSurface, isPassed } from '../controller/fastchat/surface.ts'
import { UnattestedWorkers } from '../controller/fastchat/workers.ts'
import type { LegacyAttest } from '../http/legacy-attest.ts'
import { type Listening, listen } from '../http/listen.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { unverifiedName } from '../http/unverified.ts'
import { bindOf } from './bind.ts'
import type { Gate } from './gate.ts'

export interface UnattestedWorkersParts {
  readonly config: ControllerConfig
  readonly simulated: boolean
  readonly gate: Gate
  readonly now: () => Date
  readonly report: (line: string) => void
  /** See {@link createFastchatSurface}. */
  readonly attest: LegacyAttest | null
}

export interface UnattestedListening extends Listening {
  readonly unattested: UnattestedModels
}

/**
 * Starts the FastChat surface of a controller process where it is configured, on a listener of its own (rule S22); null where it is not.
 * Throws `config_invalid` for a port without a model that is allowed or the other way round, `usage` and `port_unavailable`.
 */
export async function unattestedWorkersOf({
  config,
  simulated,
  gate,
  now,
  report,
  attest,
}: UnattestedWorkersParts): Promise<UnattestedListening | null> {
  const { port, host, models, networks, advertise, api, open, behind_tls } = config.fastchat
  if (port === null && models.length === 0 && api === null) return null
  if (port === null || models.length === 0)
    throw fail('config_invalid', 'fastchat: expected --fastchat-port and at least one --fastchat-model together; one of them is missing')
  if (advertise === null && ['0.0.0.0', '::'].includes(host))
    throw fail(
      'usage',
      `listening on ${host}, the FastChat surface cannot know its address; say with --fastchat-advertise under which others reach it`,
    )
  const workers = new UnattestedWorkers({
    models,
    networks: readNetworks(networks.length > 0 ? networks : ['127.0.0.0/8', '::1/128']),
    now,
    report,
  })
  let url = ''
  const surface = createFastchatSurface({
    workers,
    address: () => advertise ?? url,
    registerLimit: new RateLimit({ perSecond: 2, burst: 50, now }),
    attest,
  })
  const said = { open, behind_tls, knows_simulated: config.api.knows_simulated }
  const listening = await listen(bindOf(host, port, null, simulated, said), gate.wrap(surface, isPassed))
  url = listening.url
  report(`FastChat at ${url}: UNATTESTED workers may serve ${models.map(unverifiedName).join(', ')}; nothing of their answers is verified`)
  return { ...listening, unattested: { api, models: () => workers.models() } }
}

/** What readiness repeats of it. */
export function unattestedNotices({ fastchat }: ControllerConfig): string[] {
  return fastchat.port === null ? [] : ['fastchat: unattested workers are served there, and anybody who reaches the port may use and register them']
}
