import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { collateralToJson, formatCollateral, parseCollateral } from '../../src/attestation/index.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { toHex } from '../../src/bytes/index.ts'
import {
  type CollateralStore,
  defaultCacheDirectory,
  diskCache,
  type FetchCollateralOptions,
  fetchCollateral,
  type Get,
  nodeGet,
} from '../../src/client/index.ts'
import { at, judged, type Machine, makeMachine, options, refusal, soon } from './evidence.ts'
import { type Behaviour, type FakePccs, startPccs } from './pccs.ts'

const hour = 3_600_000
const day = 24 * hour
let machine: Machine
let directory: string
let now: Date
let random: number
/** Requests begun. What a server has seen lags behind: a failed attempt gives up the requests beside the one that failed. */
let begun = 0
const running: FakePccs[] = []

beforeAll(async () => {
  machine = await makeMachine()
})
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-cache-'))
  now = soon
  random = 0
})
afterEach(async () => {
  for (const pccs of running.splice(0)) await pccs.close()
  await rm(directory, { recursive: true, force: true })
})

async function serve(behaviour: Behaviour = {}): Promise<FakePccs> {
  const pccs = await startPccs(machine.platform.collateral, behaviour)
  running.push(pccs)
  return pccs
}

function cache(maxAgeMs?: number): CollateralStore {
  return diskCache({ directory, now: () => now, random: () => random, ...(maxAgeMs === undefined ? {} : { maxAgeMs }) })
}

function cached(
  url: string | readonly [string, ...string[]],
  store: CollateralStore,
  changes: Partial<FetchCollateralOptions> = {},
): FetchCollateralOptions {
  const get: Get = (target, settings) => {
    begun++
    return nodeGet()(target, settings)
  }
  return options(url, { store, now: () => now, get, ...changes })
}

async function onlyFile(): Promise<string> {
  const files = await readdir(directory)
  expect(files).toHaveLength(1)
  return join(directory, files[0] ?? '')
}

describe('a kept set', () => {
  test('serves the next call, in this process and in another cache object', async () => {
    const { url, requests } = await serve()
    const first = await fetchCollateral(machine.sgx, cached(url, cache()))
    const asked = requests.length
    const results: string[] = []
    const second = await fetchCollateral(machine.sgx, cached(url, cache(), { onOutcome: ({ result }) => results.push(result) }))
    expect(requests).toHaveLength(asked)
    expect(results).toEqual(['cached'])
    expect(collateralToJson(second)).toEqual(collateralToJson(first))
    expect(await judged(machine.sgx, second, machine.trust)).toBe('accepted')
  })

  test('is only for its own source, TEE, FMSPC, authority and evaluation', async () => {
    const store = cache()
    const { url } = await serve()
    await fetchCollateral(machine.sgx, cached(url, store))
    const processor = await makeMachine({ vendor: machine.vendor, ca: 'processor' })
    const other = await makeMachine({ vendor: machine.vendor, fmspc: '00906ed50000' })
    const servers = {
      elsewhere: await serve(),
      tdx: await startPccs(machine.platform.tdxCollateral),
      processor: await startPccs(processor.platform.collateral),
      other: await startPccs(other.platform.collateral),
    }
    running.push(servers.tdx, servers.processor, servers.other)
    await fetchCollateral(machine.sgx, cached(servers.elsewhere.url, store))
    expect(servers.elsewhere.requests).not.toHaveLength(0)
    await expect(fetchCollateral(machine.tdx, cached(url, store))).rejects.toMatchObject({ code: 'collateral_unavailable' })
    await expect(fetchCollateral(other.sgx, cached(url, store))).rejects.toMatchObject({ code: 'collateral_unavailable' })
    await fetchCollateral(machine.sgx, cached(url, store, { evaluation: 'early' }))
    await fetchCollateral(machine.sgx, cached(url, store, { evaluation: 20 }))
    await fetchCollateral(processor.sgx, cached(url, store))
    expect(await readdir(directory)).toHaveLength(5)
  })

  test('is kept for its owner only, and leaves no temporary files', async () => {
    const { url } = await serve()
    directory = join(directory, 'deep', 'er')
    await fetchCollateral(machine.sgx, cached(url, cache()))
    expect((await stat(directory)).mode & 0o777).toBe(0o700)
    expect((await stat(await onlyFile())).mode & 0o777).toBe(0o600)
  })

  test('S15: is verified like what the network gives: a set of another root is no more genuine for being kept', async () => {
    const impostor = await createSimPlatform({ at })
    const { url } = await serve({ collateralFor: () => impostor.collateral })
    const store = cache()
    for (const _ of [1, 2])
      expect(await judged(machine.sgx, await fetchCollateral(machine.sgx, cached(url, store)), machine.trust)).toBe('crl_signature_invalid')
  })
})

describe('the end of a kept set', () => {
  test('it is not given out from its earliest nextUpdate on, exactly', async () => {
    const fresh = await createSimPlatform({ at, vendor: machine.vendor })
    const expires = new Date(JSON.parse(machine.platform.collateral.tcbInfo).nextUpdate as string)
    await fresh.refreshCollateral(new Date(expires.getTime() - hour))
    let current = machine.platform.collateral
    const { url, requests } = await serve({ collateralFor: () => current })
    const store = cache(Number.POSITIVE_INFINITY)
    await fetchCollateral(machine.sgx, cached(url, store))
    current = fresh.collateral
    const asked = requests.length
    now = new Date(expires.getTime() - 1)
    await fetchCollateral(machine.sgx, cached(url, store))
    expect(requests).toHaveLength(asked)
    now = expires
    const renewed = await fetchCollateral(machine.sgx, cached(url, store))
    expect(requests).toHaveLength(asked + 4)
    expect(renewed.tcbInfo).toBe(fresh.collateral.tcbInfo)
  })

  test('past it, it is not given out even where nothing better can be had', async () => {
    const { url } = await serve()
    const store = cache(Number.POSITIVE_INFINITY)
    await fetchCollateral(machine.sgx, cached(url, store))
    await running.pop()?.close()
    now = new Date(at.getTime() + 30 * day)
    expect((await refusal(fetchCollateral(machine.sgx, cached(url, store)))).code).toBe('collateral_unavailable')
  })

  test('S25: after a day it is fetched again; if that fails, the old one serves while it is valid', async () => {
    let down = false
    const { url, requests } = await serve({ answer: (_, answer) => (down ? null : answer) })
    const store = cache()
    await fetchCollateral(machine.sgx, cached(url, store))
    now = new Date(soon.getTime() + day - 1)
    await fetchCollateral(machine.sgx, cached(url, store))
    expect(requests).toHaveLength(4)
    now = new Date(soon.getTime() + day)
    await fetchCollateral(machine.sgx, cached(url, store))
    expect(requests).toHaveLength(8)
    down = true
    now = new Date(soon.getTime() + 2 * day)
    const kept = await fetchCollateral(machine.sgx, cached(url, store))
    expect(requests.length).toBeGreaterThan(8)
    expect(await judged(machine.sgx, kept, machine.trust, now)).toBe('accepted')
  })

  test('a set from the future (the clock went back) is fetched again', async () => {
    const { url, requests } = await serve()
    await fetchCollateral(machine.sgx, cached(url, cache()))
    now = new Date(soon.getTime() - 60_000)
    await fetchCollateral(machine.sgx, cached(url, cache()))
    expect(requests).toHaveLength(8)
  })
})

describe('damage', () => {
  const edits: readonly (readonly [string, (text: string) => string])[] = [
    ['empty', () => ''],
    ['cut short', (text) => text.slice(0, text.length / 2)],
    ['no JSON', () => 'null'],
    ['of another version', (text) => text.replace('cache.v1', 'cache.v2')],
    ['of another key', (text) => text.replace('\\"standard\\"', '\\"early\\"')],
    ['with a member more', (text) => text.replace('{"version"', '{"more":1,"version"')],
    ['without its time', (text) => text.replace('"fetched_at"', '"fetched"')],
    ['with a time out of range', (text) => text.replace(/"fetched_at":[0-9]+/, '"fetched_at":9007199254740991')],
    ['without a list', (text) => text.replace(/"pck_crl":"[0-9a-f]+"/, '"pck_crl":""')],
    ['with a damaged list', (text) => text.replace(/"pck_crl":"30/, '"pck_crl":"31')],
    ['for another FMSPC', (text) => text.replace('53494D000000', '53494D000001')],
    ['too large', (text) => text + ' '.repeat(3 << 20)],
  ]
  test.for(edits)('a file that is %s is ignored, fetched again and replaced', async ([, edit]) => {
    const { url, requests } = await serve()
    await fetchCollateral(machine.sgx, cached(url, cache()))
    const path = await onlyFile()
    const good = await readFile(path, 'utf8')
    const damaged = edit(good)
    expect(damaged).not.toBe(good)
    await writeFile(path, damaged)
    const fetched = await fetchCollateral(machine.sgx, cached(url, cache()))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
    expect(requests).toHaveLength(8)
    expect(await readFile(path, 'utf8')).toBe(good)
  })

  test('a text changed inside a file is refused by verification', async () => {
    const { url } = await serve()
    await fetchCollateral(machine.sgx, cached(url, cache()))
    const path = await onlyFile()
    await writeFile(path, (await readFile(path, 'utf8')).replace('\\"tcbType\\":0', '\\"tcbType\\": 0'))
    const kept = await fetchCollateral(machine.sgx, cached(url, cache()))
    expect(await judged(machine.sgx, kept, machine.trust)).toBe('tcb_info_signature_invalid')
  })

  test('a link in the place of a file is not followed, and replaced', async () => {
    const { url, requests } = await serve()
    await fetchCollateral(machine.sgx, cached(url, cache()))
    const path = await onlyFile()
    const elsewhere = join(directory, '..', `${directory.split('/').at(-1)}-target`)
    await writeFile(elsewhere, await readFile(path))
    await rm(path)
    await symlink(elsewhere, path)
    await fetchCollateral(machine.sgx, cached(url, cache()))
    await rm(elsewhere)
    expect(requests).toHaveLength(8)
    expect((await stat(path)).isFile()).toBe(true)
  })

  test('a directory that cannot be made is done without', async () => {
    const { url, requests } = await serve()
    await writeFile(join(directory, 'file'), '')
    directory = join(directory, 'file')
    for (const _ of [1, 2])
      expect(await judged(machine.sgx, await fetchCollateral(machine.sgx, cached(url, cache())), machine.trust)).toBe('accepted')
    expect(requests).toHaveLength(8)
    directory = join(directory, '..')
  })

  test('a directory in the place of a file is done without', async () => {
    const { url } = await serve()
    await fetchCollateral(machine.sgx, cached(url, cache()))
    const path = await onlyFile()
    await rm(path)
    await mkdir(path)
    expect(await judged(machine.sgx, await fetchCollateral(machine.sgx, cached(url, cache())), machine.trust)).toBe('accepted')
    expect(await readdir(directory)).toHaveLength(1)
  })
})

describe('many callers', () => {
  test('at once share one fetch, and one failure', async () => {
    const { url, requests } = await serve()
    const store = cache()
    const sets = await Promise.all(Array.from({ length: 20 }, () => fetchCollateral(machine.sgx, cached(url, store))))
    expect(requests).toHaveLength(4)
    expect(new Set(sets.map(formatCollateral)).size).toBe(1)

    const broken = await serve({ answer: (_, answer) => ({ ...answer, status: 500 }) })
    const failures = await Promise.allSettled(Array.from({ length: 20 }, () => fetchCollateral(machine.sgx, cached(broken.url, store))))
    expect(failures.every(({ status }) => status === 'rejected')).toBe(true)
    expect(broken.requests.length).toBeLessThanOrEqual(4)
  })

  test('two processes share the directory, and neither sees half a file', async () => {
    const { url } = await serve()
    const script = fileURLToPath(new URL('fetch-process.ts', import.meta.url))
    const quote = toHex(machine.sgx.bytes)
    const run = (): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, ['--conditions=@veritee/source', script, directory, url, quote, soon.toISOString()], { timeout: 30_000 })
    const outputs = await Promise.all([run(), run()])
    for (const { stdout } of outputs) {
      const lines = stdout.trim().split('\n')
      expect(lines).toHaveLength(25)
      for (const line of lines) expect(collateralToJson(parseCollateral(line))).toEqual(collateralToJson(machine.platform.collateral))
    }
    expect(await readdir(directory)).toHaveLength(1)
  })
})

describe('after a failure', () => {
  test('a source is left alone, twice as long each time, and asked again in time', async () => {
    let down = true
    const { url } = await serve({ answer: (_, answer) => (down ? { ...answer, status: 500 } : answer) })
    const store = cache()
    const attempt = async (): Promise<boolean> => {
      const before = begun
      await fetchCollateral(machine.sgx, cached(url, store)).catch(() => undefined)
      return begun > before
    }
    const waits = [1000, 2000, 4000, 8000]
    expect(await attempt()).toBe(true)
    for (const wait of waits) {
      now = new Date(now.getTime() + wait - 1)
      expect(await attempt()).toBe(false)
      now = new Date(now.getTime() + 1)
      expect(await attempt()).toBe(true)
    }
    down = false
    now = new Date(now.getTime() + 16_000)
    await fetchCollateral(machine.sgx, cached(url, store))
  })

  test('chance adds up to half of the wait', async () => {
    random = 0.999
    const { url } = await serve({ answer: (_, answer) => ({ ...answer, status: 500 }) })
    const store = cache()
    await refusal(fetchCollateral(machine.sgx, cached(url, store)))
    const before = begun
    now = new Date(soon.getTime() + 1499)
    const { message } = await refusal(fetchCollateral(machine.sgx, cached(url, store)))
    expect(message).toContain('not asked again until')
    expect(begun).toBe(before)
    now = new Date(soon.getTime() + 1500)
    await refusal(fetchCollateral(machine.sgx, cached(url, store)))
    expect(begun).toBeGreaterThan(before)
  })

  test.for([
    ['seconds', '120', 120_000],
    ['a date', new Date(soon.getTime() + 300_000).toUTCString(), 300_000],
    ['a week, which is cut to an hour', '604800', hour],
    ['nonsense', 'soon', 1000],
  ] as const)('Retry-After as %s is kept', async ([, value, wait]) => {
    const { url } = await serve({ answer: () => ({ status: 429, headers: { 'Retry-After': value }, body: '' }) })
    const store = cache()
    await refusal(fetchCollateral(machine.sgx, cached(url, store)))
    const before = begun
    now = new Date(Math.floor(soon.getTime() / 1000) * 1000 + wait - 1000)
    if (wait > 1000) await refusal(fetchCollateral(machine.sgx, cached(url, store)))
    expect(begun).toBe(before)
    now = new Date(soon.getTime() + wait)
    await refusal(fetchCollateral(machine.sgx, cached(url, store)))
    expect(begun).toBeGreaterThan(before)
  })

  test('a source that asked for patience is left alone for other platforms too, and the next source serves', async () => {
    const other = await makeMachine({ vendor: machine.vendor, fmspc: '00906ed50000' })
    const busy = await serve({ answer: () => ({ status: 429, headers: { 'Retry-After': '60' }, body: '' }) })
    const good = await startPccs(other.platform.collateral)
    running.push(good)
    const store = cache()
    await refusal(fetchCollateral(machine.sgx, cached(busy.url, store)))
    const asked: string[] = []
    const get: Get = (target, settings) => {
      asked.push(new URL(target).origin)
      return nodeGet()(target, settings)
    }
    await fetchCollateral(other.sgx, cached([busy.url, good.url], store, { get }))
    expect(new Set(asked)).toEqual(new Set([good.url]))
  })

  test('a kept set serves while its source is left alone', async () => {
    let down = false
    const { url } = await serve({ answer: (_, answer) => (down ? null : answer) })
    const store = cache()
    await fetchCollateral(machine.sgx, cached(url, store))
    down = true
    now = new Date(soon.getTime() + day)
    for (const _ of [1, 2])
      expect(await judged(machine.sgx, await fetchCollateral(machine.sgx, cached(url, store)), machine.trust, now)).toBe('accepted')
  })
})

describe('the directory', () => {
  test.for([
    ['under an absolute XDG_CACHE_HOME', { XDG_CACHE_HOME: '/var/cache/me' }, '/var/cache/me/veritee/collateral'],
    ['not under a relative one', { XDG_CACHE_HOME: 'cache' }, join(homedir(), '.cache/veritee/collateral')],
    ['not under an empty one', { XDG_CACHE_HOME: '' }, join(homedir(), '.cache/veritee/collateral')],
    ['under ~/.cache else', {}, join(homedir(), '.cache/veritee/collateral')],
  ] as const)('is %s', ([, environment, expected]) => {
    expect(defaultCacheDirectory(environment)).toBe(expected)
  })
})
