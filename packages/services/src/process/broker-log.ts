import { nodeTransport, readBody } from 'veritee/client'
import { fail } from 'veritee/errors'
import { type LogPolicy, parseLogTrust } from 'veritee/log'
import type { BrokerConfig } from '../config/broker.ts'
import type { FollowedLog } from '../enclave/broker/index.ts'
import { anchorFromOutside } from './anchor.ts'
import type { Anchors } from './program.ts'

const readMs = 10_000
const maxAnswerBytes = 4096

/**
 * The log that a broker follows, or null. Which log and which witnesses an enclave believes is measured (rule S13); where the log is read is not, since all of it is verified. An enclave whose anchors
 * name a log does not start without one, nor without the credential that its store needs to be told from an older one (rule S11). Throws `config_invalid`, `anchors_not_measured`, `log_key_malformed`, `policy_invalid`.
 */
export async function brokerLog({ log }: BrokerConfig, anchors: Anchors | null, token: string | null): Promise<FollowedLog | null> {
  const { url, origin, key, witnesses, quorum, max_policy_age: maxAgeSeconds } = log
  const said = origin !== null || key !== null || witnesses.length > 0 || quorum !== null
  if (anchors !== null && said) throw anchorFromOutside('log')
  const named = anchors?.log ?? null
  if (url === null) {
    if (named !== null || said || token !== null) throw fail('config_invalid', 'log.url: expected where the log is read that is trusted; say --log')
    return null
  }
  const policy = named ?? (anchors === null && origin !== null && key !== null && quorum !== null ? { origin, key, witnesses, quorum } : null)
  if (policy === null)
    throw fail(
      'config_invalid',
      'log: expected origin, key, witnesses and quorum of the log, in simulation as configuration, in an enclave in its anchors',
    )
  if (anchors !== null && token === null) throw fail('config_invalid', 'secrets.log: expected the credential to add to the log; say --log-token-file')
  const submit = token === null ? null : submitter(url, token)
  return { trust: await parseLogTrust(policy satisfies LogPolicy), read: reader(url), maxAgeSeconds, submit }
}

/** Everything that is read is signed or hashed, so no certificate is asked for: each read has a connection of its own. */
function reader(url: string): FollowedLog['read'] {
  const { origin, base } = placeOf(url)
  return async (path, maxBytes) => {
    const transport = nodeTransport(origin)
    try {
      const response = await transport.send({ method: 'GET', path: `${base}${path}`, signal: AbortSignal.timeout(readMs) })
      if (response.status !== 200) throw fail('service_refused', `the log answered ${response.status}`)
      return await readBody(response, maxBytes)
    } finally {
      transport.close()
    }
  }
}

/** Whether it was added shows when the log is read. */
function submitter(url: string, token: string): NonNullable<FollowedLog['submit']> {
  const { origin, base } = placeOf(url)
  return async (entry) => {
    const transport = nodeTransport(origin)
    try {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' }
      const response = await transport.send({ method: 'POST', path: `${base}add-entry`, headers, body: entry, signal: AbortSignal.timeout(readMs) })
      await readBody(response, maxAnswerBytes)
      if (response.status !== 200) throw fail('service_refused', `the log answered ${response.status}`)
    } finally {
      transport.close()
    }
  }
}

function placeOf(url: string): { readonly origin: string; readonly base: string } {
  const { origin, pathname } = new URL(url)
  return { origin, base: pathname.endsWith('/') ? pathname : `${pathname}/` }
}
