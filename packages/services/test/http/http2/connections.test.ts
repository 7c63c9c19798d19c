import { constants } from 'node:http2'
import { afterEach, describe, expect, test } from 'vitest'
import { sendJson } from '../../../src/http/body.ts'
import { ofStrangers } from '../../../src/http/http2/limits.ts'
import { flag, frame, getFields, number32, postFields, preface, rawConnection, settings, type } from './frames.ts'
import { code, expectEnded, expectOthersServed, headersOf, holding, listeners, now, odd, ping, resetOf, settingsAck } from './hostile.ts'
import { clientOf, closeAll, protocols, startService } from './service.ts'

afterEach(closeAll)

test('S13: a connection whose key no longer counts ends with what is under way on it, and the next one is a stranger`s', async () => {
  let trusted = true
  const held = await holding({ trusts: () => trusted })
  const raw = await rawConnection(held.service)
  raw.send(settingsAck, headersOf(1, getFields), headersOf(3, now))
  await expect.poll(() => raw.of(type.headers).length).toBe(1)
  expect(raw.goaway()).toBe(null)
  trusted = false
  raw.send(headersOf(5, now))
  await expect.poll(() => [raw.of(type.headers).length, raw.goaway(), raw.closed]).toEqual([2, code.none, false])
  for (const answer of held.answers) answer()
  await expect.poll(() => [raw.of(type.headers).map(({ stream }) => stream), raw.closed]).toEqual([[3, 5, 1], true])
  const next = await rawConnection(held.service)
  const few = Buffer.concat([Buffer.from([0, constants.NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS]), number32(ofStrangers.maxConcurrentStreams ?? 0)])
  await expect.poll(() => next.of(type.settings)[0]?.payload.includes(few)).toBe(true)
})

describe('S19: a connection that many share', () => {
  test('S19: has no wider window than what kernels hold: with both of Node in the middle of a write, neither would ever read again', async () => {
    const held = await holding({ trusts: () => true })
    const raw = await rawConnection(held.service)
    raw.send(settingsAck, headersOf(1, now), ping)
    await expect.poll(() => [raw.of(type.headers).length, raw.of(type.ping).length]).toEqual([1, 1])
    expect(raw.of(type.window)).toEqual([])
  })

  test('S19: takes requests while large answers wait on it', async () => {
    const service = await startService(
      (request, response) => (request.url === '/now' ? sendJson(response, '{}') : response.end(Buffer.alloc(40_000_000))),
      { trusts: () => true },
    )
    const raw = await rawConnection(service)
    raw.send(settingsAck, headersOf(1, getFields), headersOf(3, getFields), headersOf(5, getFields))
    await expect.poll(() => raw.of(type.headers).length).toBe(3)
    raw.send(headersOf(7, now))
    await expect.poll(() => raw.of(type.headers).map(({ stream }) => stream)).toEqual([1, 3, 5, 7])
    expect(raw.resets()).toEqual([])
  })

  test('S19: takes requests after many answers of others were given up', async () => {
    const service = await startService(
      (request, response) => (request.url === '/now' ? sendJson(response, '{}') : response.end(Buffer.alloc(5_000_000))),
      { trusts: () => true },
    )
    const raw = await rawConnection(service, { first: settings([4, 0]) })
    for (let i = 0; i < 20; i++) {
      raw.send(headersOf(odd(i), getFields))
      await expect.poll(() => raw.of(type.headers).length, { interval: 1 }).toBe(i + 1)
      raw.send(resetOf(i))
    }
    raw.send(headersOf(odd(20), now), frame(type.window, flag.none, odd(20), number32(1000)))
    await expect.poll(() => raw.of(type.data).map(({ stream }) => stream)).toContain(odd(20))
    expect(raw.resets()).toEqual([])
  })
})

describe.for(listeners)('S22: what never ends, $where', ({ options: kind }) => {
  const short = { headersMs: 300, requestMs: 300, keepAliveMs: 300 }

  test.for([
    ['sends nothing', { begun: false }, []],
    ['sends a part of the preface', { begun: false }, [preface.subarray(0, 10)]],
    ['sends SETTINGS and no request', {}, []],
    ['sends headers without their end', {}, [frame(type.headers, flag.endStream, 1, getFields)]],
    ['sends a part of a frame', {}, [headersOf(1, getFields).subarray(0, 12)]],
  ] as const)('S22: a connection that %s is ended', async ([, options, parts]) => {
    const held = await holding({ ...kind, limits: short })
    const raw = await rawConnection(held.service, options)
    raw.send(...parts)
    await expectEnded(raw, [code.none])
    expect(held.begun).toBe(0)
  })

  test('S22: PING keeps no connection', async () => {
    const held = await holding({ ...kind, limits: short })
    const raw = await rawConnection(held.service)
    const timer = setInterval(() => raw.send(ping), 20)
    await expectEnded(raw, [code.none])
    clearInterval(timer)
  })

  test('S22: nor does a request that was answered; one that is being answered does', async () => {
    const held = await holding({ ...kind, limits: short })
    const raw = await rawConnection(held.service)
    raw.send(headersOf(1, getFields))
    await expect.poll(() => held.answers.length).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 3 * short.keepAliveMs))
    expect([raw.closed, raw.goaway()]).toEqual([false, null])
    held.answers[0]?.()
    await expectEnded(raw, [code.none])
    expect(raw.of(type.headers).length).toBe(1)
  })

  test('S22: a body that comes byte by byte is answered 408, and its stream reset; others of its connection go on', async () => {
    const held = await holding({ ...kind, limits: short })
    const raw = await rawConnection(held.service)
    raw.send(headersOf(1, postFields, flag.none), headersOf(3, getFields))
    const timer = setInterval(() => raw.send(frame(type.data, flag.none, 1, Buffer.from('x'))), 20)
    await expect.poll(() => raw.resets()).toEqual([{ stream: 1, code: code.none }])
    clearInterval(timer)
    const body = raw.of(type.data).filter(({ stream }) => stream === 1)
    expect(Buffer.concat(body.map(({ payload }) => payload)).toString()).toContain('the request took too long to come')
    held.answers[0]?.()
    await expect.poll(() => raw.of(type.headers).some(({ stream }) => stream === 3)).toBe(true)
    await expect.poll(() => held.gate.working).toBe(0)
  })
})

test('S22: what the requests of one connection hold counts for its address as long as it stands, whichever of them have ended', async () => {
  const held = await holding({ limits: { held: { all: 1_000_000, network: 30_000 } } })
  const raw = await rawConnection(held.service)
  const post = (stream: number, length: number): void =>
    raw.send(headersOf(stream, postFields, flag.none), frame(type.data, flag.endStream, stream, Buffer.alloc(length)))
  post(1, 10)
  await expect.poll(() => held.answers.length).toBe(1)
  held.answers[0]?.()
  await expect.poll(() => raw.of(type.data).length).toBeGreaterThan(0)
  await expect.poll(() => held.gate.working).toBe(0)
  for (const stream of [3, 5]) post(stream, 14_000)
  await expect.poll(() => held.answers.length).toBe(3)
  for (const protocol of protocols)
    expect(await clientOf(protocol, held.service).ask({ method: 'POST', body: Buffer.alloc(10_000) }).answer).toMatchObject({ status: 503 })
  raw.socket.destroy()
  await expect.poll(() => held.gate.working).toBe(0)
  const [last] = protocols.map((protocol) => clientOf(protocol, held.service).ask({ method: 'POST', body: Buffer.alloc(10_000) }))
  await expect.poll(() => held.answers.length).toBe(5)
  for (const answer of held.answers) answer()
  expect(await last?.answer).toMatchObject({ status: 200 })
})

test('a connection is told that it ends before it does', async () => {
  const held = await holding()
  const raw = await rawConnection(held.service)
  raw.send(headersOf(1, getFields))
  await expect.poll(() => held.begun).toBe(1)
  await held.service.close()
  await expect.poll(() => raw.closed).toBe(true)
  expect(raw.goaway()).toBe(code.none)
})

describe('S22: connections of HTTP/2 that are left open', () => {
  test('S22: make room for others, those with an answer under way do not', async () => {
    const held = await holding({ limits: { connections: 4 } })
    const busy = await rawConnection(held.service)
    busy.send(headersOf(1, getFields))
    await expect.poll(() => held.answers.length).toBe(1)
    const sending = await rawConnection(held.service)
    sending.send(headersOf(1, postFields, flag.none))
    await expect.poll(() => held.begun).toBe(2)
    const idle = [await rawConnection(held.service), await rawConnection(held.service)]
    for (let i = 0; i < 6; i++) await expectOthersServed(held.service)
    await expect.poll(() => idle.map(({ closed }) => closed)).toEqual([true, true])
    held.answers[0]?.()
    await expect.poll(() => busy.of(type.headers).length).toBe(1)
    expect(busy.closed).toBe(false)
  })
})
