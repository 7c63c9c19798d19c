import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import type { BrokerConfig } from '../../src/config/broker.ts'
import { brokerLog } from '../../src/process/broker-log.ts'
import { type Anchors, parseAnchors } from '../../src/process/program.ts'
import { SmallLog } from '../broker/small-log.ts'

const none = { url: null, origin: null, key: null, witnesses: [], quorum: null, max_policy_age: 3600 }
const configured = (log: Partial<BrokerConfig['log']>): BrokerConfig => ({ log: { ...none, ...log } }) as unknown as BrokerConfig
const anchorsOf = (log?: object): Anchors =>
  parseAnchors(JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null, ...(log && { log }) }))
const url = 'http://127.0.0.1:1/'

it('S13: log and witnesses of an enclave are in its anchors, and nowhere else; in simulation they are configuration', async () => {
  const log = await SmallLog.make()
  const { origin } = log.trust
  const whole = { origin, ...log.keys, quorum: 2 }
  const code = async (config: Partial<BrokerConfig['log']>, anchors: Anchors | null): Promise<string> => {
    try {
      return (await brokerLog(configured(config), anchors)) === null ? 'none' : 'a log'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  expect(await code({}, null)).toBe('none')
  expect(await code({}, anchorsOf())).toBe('none')
  expect(await code({ url, ...whole }, null)).toBe('a log')
  expect(await code({ url }, anchorsOf(whole))).toBe('a log')
  expect(await code({}, anchorsOf(whole))).toBe('config_invalid')
  expect(await code({ url }, null)).toBe('config_invalid')
  expect(await code({ url }, anchorsOf())).toBe('config_invalid')
  expect(await code(whole, null)).toBe('config_invalid')
  for (const missing of ['origin', 'key', 'quorum']) expect(await code({ url, ...whole, [missing]: null }, null)).toBe('config_invalid')
  expect(await code({ url, ...whole }, anchorsOf())).toBe('anchors_not_measured')
  expect(await code({ url, quorum: 1 }, anchorsOf(whole))).toBe('anchors_not_measured')
  expect(await code({ url, ...whole, quorum: 3 }, null)).toBe('policy_invalid')
  expect(await code({ url, ...whole, key: 'no key' }, null)).toBe('log_key_malformed')
  expect(() => anchorsOf({ origin })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
})

it('files of the log are read below its URL, bounded, and an error is an error', async () => {
  const log = await SmallLog.make()
  await log.publish(new Date())
  const server = createServer((request, response) => {
    const file = request.url?.startsWith('/keys/') === true ? log.file(request.url.slice('/keys/'.length)) : null
    response.writeHead(file === null ? 404 : 200).end(file ?? 'none')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    for (const base of ['keys', 'keys/']) {
      const found = await brokerLog(configured({ url: `http://127.0.0.1:${port}/${base}`, origin: log.trust.origin, ...log.keys, quorum: 2 }), null)
      expect(Buffer.from((await found?.read('checkpoint', 4096)) ?? []).toString()).toBe(log.note)
      await expect(found?.read('checkpoint', 16)).rejects.toMatchObject({ code: 'response_too_large' })
      await expect(found?.read('tile/0/000', 4096)).rejects.toMatchObject({ code: 'service_refused' })
    }
  } finally {
    server.close()
  }
})
