import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { verifierKeyText } from 'veritee/log'
import { expect, it } from 'vitest'
import type { BrokerConfig } from '../../src/config/broker.ts'
import { openStore } from '../../src/enclave/broker/index.ts'
import { openFileSealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { brokerLog } from '../../src/process/broker-log.ts'
import { type Anchors, parseAnchors } from '../../src/process/program.ts'
import { SmallLog } from '../broker/small-log.ts'
import { askOf, clockFrom, outcomeOf, type RunningBroker, startBroker } from '../broker/system.ts'
import { scratch } from '../log/logs.ts'
import { clock, system, token } from '../log/served-log.ts'

const none = { url: null, origin: null, key: null, witnesses: [], quorum: null, max_policy_age: 3600 }
const configured = (log: Partial<BrokerConfig['log']>): BrokerConfig => ({ log: { ...none, ...log } }) as unknown as BrokerConfig
const anchorsOf = (log?: object): Anchors =>
  parseAnchors(JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null, ...(log && { log }) }))
const url = 'http://127.0.0.1:1/'

it('S13: log and witnesses of an enclave are in its anchors, and nowhere else; in simulation they are configuration', async () => {
  const log = await SmallLog.make()
  const { origin } = log.trust
  const whole = { origin, ...log.keys, quorum: 2 }
  const code = async (
    config: Partial<BrokerConfig['log']>,
    anchors: Anchors | null,
    token: string | null = anchors?.log ? 'a-credential' : null,
  ): Promise<string> => {
    try {
      return (await brokerLog(configured(config), anchors, token)) === null ? 'none' : 'a log'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  expect(await code({}, null)).toBe('none')
  expect(await code({}, anchorsOf())).toBe('none')
  expect(await code({ url, ...whole }, null)).toBe('a log')
  expect(await code({ url }, anchorsOf(whole))).toBe('a log')
  expect(await code({}, anchorsOf(whole))).toBe('config_invalid')
  // Without it, its host could leave out what tells an older store from the newest.
  expect(await code({ url }, anchorsOf(whole), null)).toBe('config_invalid')
  expect(await code({ url, ...whole }, null, 'a-credential')).toBe('a log')
  expect(await code({}, null, 'a-credential')).toBe('config_invalid')
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

it('files of the log are read below its URL, bounded, and an error is an error; entries are added with the credential', async () => {
  const log = await SmallLog.make()
  await log.publish(new Date())
  const added: string[] = []
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      const allowed = request.headers.authorization === 'Bearer a-credential'
      request.on('data', (part) => added.push(`${request.url} ${part}`)).on('end', () => response.writeHead(allowed ? 200 : 401).end('{}'))
      return
    }
    const file = request.url?.startsWith('/keys/') === true ? log.file(request.url.slice('/keys/'.length)) : null
    response.writeHead(file === null ? 404 : 200).end(file ?? 'none')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    for (const base of ['keys', 'keys/']) {
      const found = await brokerLog(
        configured({ url: `http://127.0.0.1:${port}/${base}`, origin: log.trust.origin, ...log.keys, quorum: 2 }),
        null,
        'a-credential',
      )
      expect(Buffer.from((await found?.read('checkpoint', 4096)) ?? []).toString()).toBe(log.note)
      await expect(found?.read('checkpoint', 16)).rejects.toMatchObject({ code: 'response_too_large' })
      await expect(found?.read('tile/0/000', 4096)).rejects.toMatchObject({ code: 'service_refused' })
      await found?.submit?.(Buffer.from('an entry'))
    }
    expect(added).toEqual(['/keys/add-entry an entry', '/keys/add-entry an entry'])
    const wrong = await brokerLog(configured({ url: `http://127.0.0.1:${port}`, origin: log.trust.origin, ...log.keys, quorum: 2 }), null, 'another')
    await expect(wrong?.submit?.(Buffer.from('an entry'))).rejects.toMatchObject({ code: 'service_refused' })
  } finally {
    server.close()
  }
})

it('S11: over a log and witnesses that are served: a broker releases once the log shows its head, and an older store is refused', async () => {
  const served = await system()
  clock.time = Date.now()
  served.publisher.start()
  const directory = await scratch()
  const { origin } = served.trust
  const config = {
    url: served.url,
    origin,
    key: verifierKeyText(served.trust.key),
    witnesses: served.trust.witnesses.map(verifierKeyText),
    quorum: 2,
  }
  const path = join(directory, 'store')
  const sealing = await openFileSealingKey(join(directory, 'key'))
  const begin = async (): Promise<RunningBroker> =>
    startBroker({ clock: clockFrom(new Date()), store: await openStore(path, sealing), log: await brokerLog(configured(config), null, token) })
  const name = 'models/demo/1'
  try {
    const first = await begin()
    await first.put(name)
    expect(await outcomeOf(askOf(first, name))).toBe('released')
    const before = await readFile(path)
    expect(await first.tell('POST', 'revoke', { resource: name })).toMatchObject({ status: 200 })
    await first.broker.close()
    await first.close()
    await writeFile(path, before)
    const second = await begin()
    expect(await outcomeOf(askOf(second, name))).toBe('broker_store_rolled_back')
    await second.broker.close()
    await second.close()
  } finally {
    await served.publisher.stop()
  }
}, 120_000)
