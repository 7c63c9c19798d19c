import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { sha256Digest, toHex, utf8 } from 'veritee/bytes'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { requestBytes } from '../../../src/http/request-bytes.ts'
import { announcedBy, announcementHeader, announcementOf, type LaneLimits, Lanes } from '../../../src/validator/confirm/lanes.ts'
import { fixedKey } from '../keys.ts'

const [first, second] = [fixedKey(9), fixedKey(10)]
const names = [first, second].map(({ publicKey }) => toHex(publicKey))
let server: http.Server
let url: string
let reading: IncomingMessage[]
let limits: LaneLimits
beforeEach(async () => {
  reading = []
  limits = { validator: 2, strangers: 3, bodyMs: 600_000 }
  let lanes: Lanes | null = null
  server = http.createServer((request, response) => {
    lanes ??= new Lanes(limits)
    const of = lanes
    reading.push(request)
    announcedBy(request.headers[announcementHeader], names)
      .then((validator) => of.read(request, validator, 1000))
      .then(
        (body) => response.end(String(body.length)),
        () => response.destroy(),
      )
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

const body = utf8('a request')
const announcement = async (key = first): Promise<string> => announcementOf(await sha256Digest(body), key)

/** A body of which the first byte comes, and never the rest. Gives whether it was broken off. */
async function slow(headers: { readonly [name: string]: string } = {}): Promise<{ readonly brokenOff: () => boolean }> {
  const before = reading.length
  let broken = false
  const request = http.request(url, { method: 'POST', agent: false, headers: { ...headers, 'content-length': 100 } })
  request.on('error', () => {
    broken = true
  })
  request.on('close', () => {
    broken = true
  })
  request.write('x')
  await expect.poll(() => reading.length, { timeout: 60_000 }).toBeGreaterThan(before)
  return { brokenOff: () => broken }
}

async function send(headers: { readonly [name: string]: string } = {}): Promise<string> {
  const { bytes } = await requestBytes(url, { method: 'POST', body, headers, timeoutMs: 60_000, maxBytes: 100 })
  return Buffer.from(bytes).toString()
}

describe('S18, S22: bodies that come slowly', () => {
  it('of strangers take no room of a validator, nor those of one validator that of another', async () => {
    const strangers = [await slow(), await slow(), await slow()]
    const own = { [announcementHeader]: await announcement() }
    const ones = [await slow(own), await slow(own)]
    expect(await send({ [announcementHeader]: await announcement(second) })).toBe('9')
    expect([...strangers, ...ones].map(({ brokenOff }) => brokenOff())).toEqual(Array(5).fill(false))
  })

  it('give way where a lane is full, the first of it, so that who sends at once gets through', async () => {
    const strangers = [await slow(), await slow(), await slow()]
    expect(await send()).toBe('9')
    await expect.poll(() => strangers.map(({ brokenOff }) => brokenOff()), { timeout: 60_000 }).toEqual([true, false, false])
    const own = { [announcementHeader]: await announcement() }
    const ones = [await slow(own), await slow(own)]
    expect(await send(own)).toBe('9')
    await expect.poll(() => ones.map(({ brokenOff }) => brokenOff()), { timeout: 60_000 }).toEqual([true, false])
  })

  it('are broken off when their time is over', async () => {
    limits = { ...limits, bodyMs: 1 }
    const one = await slow()
    await expect.poll(one.brokenOff, { timeout: 60_000 }).toBe(true)
  })
})

describe('S18: an announcement', () => {
  it('is of who signed it, and of a validator of the policy only', async () => {
    const good = await announcement()
    expect(await announcedBy(good, names)).toBe(names[0])
    expect(await announcedBy(good, [names[1] ?? ''])).toBeNull()
    const [name = '', digest = '', signature = ''] = good.split('.')
    const others = [
      '',
      name,
      `${name}.${digest}`,
      `${names[1]}.${digest}.${signature}`,
      `${name}.sha256:${'0'.repeat(64)}.${signature}`,
      `${good}0`,
      `${name}.${digest}.zz`,
    ]
    for (const other of [...others, undefined, [good]]) expect(await announcedBy(other, names)).toBeNull()
  })
})
