import { constants, type Http2SecureServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { sendJson, write } from '../../../src/http/body.ts'
import { controlFrames, ofStrangers, ofTrusted } from '../../../src/http/http2/limits.ts'
import { createBothServer } from '../../../src/http/http2/server.ts'
import { Gate } from '../../../src/process/gate.ts'
import {
  field,
  fields,
  flag,
  frame,
  getFields,
  newestField,
  number32,
  postFields,
  preface,
  type RawConnection,
  rawConnection,
  settings,
  type,
} from './frames.ts'
import {
  code,
  expectEnded,
  expectOthersServed,
  head,
  headersOf,
  holding,
  listeners,
  now,
  odd,
  openedAndReset,
  ping,
  resetOf,
  sent,
  settingsAck,
} from './hostile.ts'
import { atEnd, clientOf, closeAll, startService, tlsKey } from './service.ts'

afterEach(closeAll)

/** By how much the other side has opened the window of the connection. */
function opened(raw: RawConnection): number {
  return raw
    .of(type.window)
    .filter(({ stream }) => stream === 0)
    .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0)
}

describe.for(listeners)('$where', ({ options, settings: allowed, resets }) => {
  describe('S22: streams that are opened and reset', () => {
    test.for([
      ['POST', postFields],
      ['HEAD', head],
    ] as const)('S22: one behind the other hold nothing, and end the connection when they are many (CVE-2023-44487; %s)', async ([, block]) => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(openedAndReset(resets.burst / 2, 0, block))
      raw.send(headersOf(odd(resets.burst), now))
      await expect.poll(() => raw.of(type.headers).length).toBe(1)
      await expect.poll(() => held.gate.working).toBe(0)
      raw.send(openedAndReset(10 * resets.burst, resets.burst + 1, block))
      await expectEnded(raw, [code.calm])
      expect(held.begun).toBeLessThan(10 * resets.burst)
      await expect.poll(() => held.gate.working).toBe(0)
      await expectOthersServed(held.service)
    })

    test('S22: one at a time, each once it was begun, hold nothing, and end the connection when they are many', async () => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      let opened = 0
      for (; !raw.closed && opened < 10 * resets.burst; opened++) {
        const before = held.begun
        raw.send(headersOf(odd(opened), postFields, flag.none))
        await expect.poll(() => raw.closed || held.begun > before, { interval: 1 }).toBe(true)
        raw.send(resetOf(opened))
        if (opened < 3) await expect.poll(() => held.gate.working).toBe(0)
      }
      await expectEnded(raw, [code.calm])
      expect(held.begun).toBeGreaterThanOrEqual(resets.burst)
      await expect.poll(() => held.gate.working).toBe(0)
      await expectOthersServed(held.service)
    })

    test('S22: more at a time than a connection may have are refused', async () => {
      const held = await holding(options)
      const most = allowed.maxConcurrentStreams ?? 0
      const raw = await rawConnection(held.service)
      // Before it has confirmed what it may.
      for (let i = 0; i <= most; i++) raw.send(headersOf(odd(i), getFields))
      await expect.poll(() => raw.resets()).toEqual([{ stream: odd(most), code: code.refused }])
      expect(held.begun).toBe(most)
      raw.send(settingsAck, headersOf(odd(most + 1), getFields))
      await expectEnded(raw, [code.protocol])
      expect(held.begun).toBe(most)
      await expect.poll(() => held.gate.working).toBe(0)
      await expectOthersServed(held.service)
    })
  })

  test('S22: streams that are over before anybody hears of them, which wait to be told to go on, end nothing', async () => {
    const held = await holding(options)
    const waiting = (stream: number): Buffer => headersOf(stream, Buffer.concat([postFields, field('expect', '100-continue')]), flag.none)
    // With the last of the handshake, so that all of it is read before the service hears of the connection.
    for (const wrong of [resetOf(0), frame(type.window, flag.none, 0, number32(0)), headersOf(2, getFields)]) {
      const raw = await rawConnection(held.service, { withHandshake: Buffer.concat([preface, settings(), waiting(1), wrong]), begun: false })
      await expect.poll(() => raw.frames.length).toBeGreaterThan(0)
      raw.send(waiting(3), resetOf(1))
    }
    await expectOthersServed(held.service)
    await expect.poll(() => held.gate.working).toBe(0)
    const raw = await rawConnection(held.service)
    raw.send(waiting(1))
    // 100, as a frame of headers.
    await expect.poll(() => raw.of(type.headers).length).toBe(1)
    raw.send(frame(type.data, flag.endStream, 1))
    await expect.poll(() => held.answers.length).toBeGreaterThan(0)
    for (const answer of held.answers) answer()
    await expect.poll(() => raw.of(type.headers).length).toBe(2)
  })

  test('S22: a stream that has ended before it is told of, and waits to be told to go on, is told of all the same', async () => {
    const times = { headersMs: 60_000, keepAliveMs: 60_000, takenMs: 60_000 }
    const server = createBothServer({ ...(await tlsKey()) }, options.requesters ? 'requesters' : { trusts: () => false }, times)
    atEnd(() => server.close())
    let told = 0
    server.on('request', () => told++)
    // As its reset does that was read with it.
    ;(server as unknown as Http2SecureServer).prependListener('stream', (stream) => stream.close(code.cancel))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const raw = await rawConnection(server.address() as AddressInfo)
    raw.send(headersOf(1, Buffer.concat([postFields, field('expect', '100-continue')]), flag.none))
    await expect.poll(() => told).toBe(1)
    expect(raw.of(type.headers)).toEqual([])
  })

  describe('S22: headers', () => {
    const long = fields(...Array.from({ length: 20 }, (_, i) => [`x-${i}`, 'a'.repeat(1000)] as const))

    test.for([
      ['confirmed', [settingsAck]],
      ['not confirmed', []],
    ] as const)('S22: that are longer than they may be are not served, where the bound was %s', async ([, first]) => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(...first)
      const block = Buffer.concat([getFields, long])
      raw.send(
        frame(type.headers, flag.endStream, 1, block.subarray(0, 16_000)),
        frame(type.continuation, flag.endHeaders, 1, block.subarray(16_000)),
      )
      // Reset, or 431.
      await expect.poll(() => raw.resets().length + raw.of(type.headers).length).toBeGreaterThan(0)
      raw.send(headersOf(3, now))
      await expect.poll(() => raw.of(type.headers).filter(({ stream }) => stream === 3).length).toBe(1)
      expect(held.begun).toBe(0)
    })

    test.for([
      ['confirmed', [settingsAck]],
      ['not confirmed', []],
    ] as const)('S22: that are a few bytes and long lists when read are not served (HPACK), where the bound was %s', async ([, first]) => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(...first)
      const bomb = Buffer.concat([getFields, field('x-bomb', 'a'.repeat(3900), true), ...Array.from({ length: 12_000 }, () => newestField)])
      for (let i = 0; i < 4; i++) raw.send(headersOf(odd(i), bomb))
      await expect.poll(() => raw.closed || raw.resets().length === 4).toBe(true)
      expect(held.begun).toBe(0)
      await expectOthersServed(held.service)
    })

    test('S22: that never end, frame after frame, end the connection (CVE-2024-27983)', async () => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(frame(type.headers, flag.endStream, 1, getFields))
      const sent = await raw.sendUntilEnd(frame(type.continuation, flag.none, 1, field('x-more', 'a'.repeat(100))))
      expect(sent).toBeGreaterThan(0)
      await expectEnded(raw, [code.protocol, code.calm, constants.NGHTTP2_INTERNAL_ERROR, constants.NGHTTP2_COMPRESSION_ERROR])
      expect(held.begun).toBe(0)
      await expectOthersServed(held.service)
    })

    const valid = [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/'],
      [':authority', 'localhost'],
    ] as const
    test.for([
      ['without a path', valid.filter(([name]) => name !== ':path')],
      ['without a method', valid.filter(([name]) => name !== ':method')],
      ['without a scheme', valid.filter(([name]) => name !== ':scheme')],
      ['without a host', valid.filter(([name]) => name !== ':authority')],
      ['with an empty path', [...valid.filter(([name]) => name !== ':path'), [':path', '']]],
      ['with two methods', [...valid, [':method', 'POST']]],
      ['with a pseudo header behind others', [valid[0], ['x-a', 'b'], ...valid.slice(1)]],
      ['with an unknown pseudo header', [...valid, [':admin', '1']]],
      ['with one of answers', [...valid, [':status', '200']]],
      ['with another protocol', [[':method', 'CONNECT'], ...valid.slice(1), [':protocol', 'websocket']]],
      ['with capitals', [...valid, ['X-Name', '1']]],
      ['with a header of connections', [...valid, ['connection', 'close']]],
      ['with chunks', [...valid, ['transfer-encoding', 'chunked']]],
      ['with te of something else', [...valid, ['te', 'gzip']]],
      ['with two lengths', [...valid, ['content-length', '1'], ['content-length', '2']]],
      ['with a length that is none', [...valid, ['content-length', '-1']]],
      ['with a length and no body', [...valid, ['content-length', '5']]],
    ] as const)('a request %s is reset and not served, and the next is', async ([, pairs]) => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(headersOf(1, fields(...pairs)))
      await expect.poll(() => raw.resets()).toEqual([{ stream: 1, code: code.protocol }])
      raw.send(headersOf(3, getFields))
      await expect.poll(() => held.begun).toBe(1)
    })

    test('a header with a line break is none', async () => {
      const headers: unknown[] = []
      const service = await startService((request, response) => {
        headers.push(request.headers, request.rawHeaders)
        response.end()
      }, options)
      const raw = await rawConnection(service)
      raw.send(headersOf(1, Buffer.concat([getFields, field('x-a', 'b\r\nx-c: d'), field('x-e', 'f')])))
      await expect.poll(() => headers.length).toBe(2)
      expect(JSON.stringify(headers)).toContain('x-e')
      expect(JSON.stringify(headers)).not.toMatch(/x-a|x-c/)
    })

    test.for([
      ['a known name before a foreign one', 'localhost', 'attacker.example'],
      ['a foreign name before a known one', 'attacker.example', 'localhost'],
    ] as const)('S22: %s is nobody', async ([, authority, host]) => {
      const held = await holding(options)
      const stream = clientOf('HTTP/2', held.service).session?.request({ ':method': 'GET', ':path': '/', ':authority': authority, host })
      const { promise, resolve } = Promise.withResolvers<unknown>()
      stream?.once('response', (answer) => resolve(answer[':status'])).resume()
      expect(await promise).toBe(400)
      expect(held.begun).toBe(0)
    })

    test('CONNECT is refused as all else is', async () => {
      const held = await holding(options)
      const stream = clientOf('HTTP/2', held.service).session?.request({ ':method': 'CONNECT', ':authority': 'localhost:80' })
      const { promise, resolve } = Promise.withResolvers<unknown>()
      stream?.once('response', resolve).resume()
      expect(await promise).toMatchObject({ ':status': 405, 'x-aci-version': 'aci/1' })
      expect(held.begun).toBe(0)
      await expect(clientOf('HTTP/1.1', held.service).ask({ method: 'CONNECT', path: 'localhost:80' }).answer).rejects.toThrow()
      await expectOthersServed(held.service)
    })
  })

  describe('S22: frames without end', () => {
    test.for([
      ['PING (CVE-2019-9512)', ping, [code.calm]],
      ['SETTINGS (CVE-2019-9515)', settings([4, 65_535]), [code.calm]],
    ] as const)('S22: %s end the connection after some', async ([, flood, reasons]) => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      for (let i = 0; i < controlFrames.burst / 2; i++) raw.send(flood)
      await expect.poll(() => raw.frames.filter(({ flags }) => flags === flag.ack).length).toBeGreaterThanOrEqual(controlFrames.burst / 2)
      expect(raw.closed).toBe(false)
      await raw.sendUntilEnd(Buffer.concat(Array.from({ length: 100 }, () => flood)))
      await expectEnded(raw, reasons)
      await expectOthersServed(held.service)
    })

    test('S22: PING whose answers nobody reads ends the connection too', async () => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.socket.pause()
      const flood = Buffer.concat(Array.from({ length: 1000 }, () => ping))
      const ended = new Promise((resolve) => raw.socket.once('close', resolve))
      const sent = raw.sendUntilEnd(flood)
      await Promise.race([ended, sent])
      raw.socket.resume()
      await expect.poll(() => raw.closed).toBe(true)
      await expectOthersServed(held.service)
    })

    test('S22: empty DATA ends the connection (CVE-2019-9518)', async () => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(headersOf(1, postFields, flag.none))
      await expect.poll(() => held.begun).toBe(1)
      await raw.sendUntilEnd(Buffer.concat(Array.from({ length: 100 }, () => frame(type.data, flag.none, 1))))
      await expectEnded(raw, [code.protocol, code.calm, constants.NGHTTP2_INTERNAL_ERROR, code.none])
      await expect.poll(() => held.gate.working).toBe(0)
      await expectOthersServed(held.service)
    })

    test('S22: resets and priorities of streams that never were, and kinds that nobody knows, disturb nobody', async () => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      const priority = frame(type.priority, flag.none, 1, Buffer.from([0, 0, 0, 0, 0]))
      const unknown = frame(0xfa, flag.none, 0, Buffer.alloc(100))
      const wider = frame(type.window, flag.none, 0, number32(1))
      for (let i = 0; i < 50; i++) raw.send(...Array.from({ length: 100 }, () => [priority, unknown, wider]).flat())
      await expectOthersServed(held.service)
      raw.send(headersOf(1, getFields))
      // It may have been ended for them, or be answered.
      await expect.poll(() => raw.closed || held.begun === 1).toBe(true)
    })

    test.for([
      ['a frame that is too long', [frame(type.data, flag.none, 1, Buffer.alloc(16_385))], code.frameSize],
      [
        'a window of a stream that opens by nothing',
        [headersOf(1, postFields, flag.none), frame(type.window, flag.none, 1, number32(0))],
        code.protocol,
      ],
      ['a window that opens by nothing', [frame(type.window, flag.none, 0, number32(0))], code.protocol],
      ['a window wider than there is', [frame(type.window, flag.none, 0, number32(0x7fffffff))], code.flowControl],
      ['a push', [frame(type.push, flag.endHeaders, 1, Buffer.concat([number32(2), getFields]))], code.protocol],
      ['DATA of no stream', [frame(type.data, flag.none, 5, Buffer.from('x'))], code.protocol],
      ['a stream of even number', [headersOf(2, getFields)], code.protocol],
      ['headers that are cut short', [headersOf(1, getFields.subarray(0, -3))], constants.NGHTTP2_COMPRESSION_ERROR],
      ['another frame between headers', [frame(type.headers, flag.none, 1, getFields), ping], code.protocol],
    ] as const)('%s ends the connection', async ([, parts, reason]) => {
      const held = await holding(options)
      const raw = await rawConnection(held.service)
      raw.send(...parts)
      await expectEnded(raw, [reason])
      await expectOthersServed(held.service)
    })

    test('S22: a body that leaves its window behind ends the connection, one that nobody reads stops no other', async () => {
      const begun: string[] = []
      const service = await startService((request, response) => {
        begun.push(request.url ?? '')
        if (request.url === '/now') sendJson(response, '{}')
      }, options)
      const raw = await rawConnection(service)
      raw.send(settingsAck, headersOf(1, postFields, flag.none))
      await expect.poll(() => begun).toEqual(['/'])
      const window = allowed.initialWindowSize ?? 0
      for (const [before, stream] of [1, 3, 5, 7].entries()) {
        // The window of the connection is opened again, for what nobody has read too.
        await expect.poll(() => 65_535 + opened(raw) - before * window).toBeGreaterThanOrEqual(window)
        if (stream > 1) raw.send(headersOf(stream, postFields, flag.none))
        for (let sent = 0; sent < window; sent += 16_384) raw.send(frame(type.data, flag.none, stream, Buffer.alloc(Math.min(16_384, window - sent))))
      }
      await expect.poll(() => begun.length).toBe(4)
      await expectOthersServed(service)
      raw.send(frame(type.data, flag.none, 1, Buffer.from('x')))
      await expect.poll(() => raw.closed || raw.resets().some(({ stream }) => stream === 1)).toBe(true)
    })
  })

  test('S22: an answer that has ended is not held for ever, over a window that does not open', async () => {
    const told = Promise.withResolvers<readonly [boolean, boolean]>()
    const service = await startService(
      (request, response) => {
        if (request.url === '/now') return sendJson(response, '{}')
        response.once('close', () => told.resolve([response.writableEnded, response.writableFinished]))
        response.end(Buffer.alloc(100_000))
      },
      { ...options, limits: { takenMs: 200 } },
    )
    const raw = await rawConnection(service, { first: settings([4, 1000]) })
    raw.send(headersOf(1, getFields))
    expect(await told.promise).toEqual([true, false])
    await expect.poll(() => raw.resets()).toEqual([{ stream: 1, code: constants.NGHTTP2_INTERNAL_ERROR }])
    expect(Buffer.concat(raw.of(type.data).map(({ payload }) => payload)).length).toBe(1000)
    await expectOthersServed(service)
  }, 30_000)
})

describe('S22: streams of a connection that is trusted', () => {
  test.for([
    ['a window that opens by nothing', frame(type.window, flag.none, 1, number32(0))],
    ['a window wider than there is', frame(type.window, flag.none, 1, number32(0x7fffffff))],
    ['more of a body than was said', frame(type.data, flag.none, 1, Buffer.alloc(2))],
  ] as const)('S22: by a service, for %s, end the connection at once (CVE-2025-8671)', async ([, wrong]) => {
    const held = await holding({ trusts: () => true })
    const raw = await rawConnection(held.service)
    raw.send(headersOf(1, Buffer.concat([postFields, field('content-length', '1')]), flag.none))
    await expect.poll(() => held.begun).toBe(1)
    raw.send(wrong)
    await expectEnded(raw, [code.protocol, code.flowControl, constants.NGHTTP2_INTERNAL_ERROR])
    await expect.poll(() => held.gate.working).toBe(0)
    await expectOthersServed(held.service)
  })

  test('S22: a connection that is trusted may reset many, and is not without bound', async () => {
    const held = await holding({ trusts: () => true })
    const raw = await rawConnection(held.service)
    for (let i = 0; i < 5; i++) raw.send(openedAndReset(1000, 1000 * i))
    raw.send(headersOf(odd(5000), now))
    await expect.poll(() => raw.of(type.headers).length).toBe(1)
    for (let i = 6; !raw.closed && i < 200; i++) await sent(raw, openedAndReset(1000, 1000 * i))
    await expectEnded(raw, [code.none, code.protocol, code.calm, constants.NGHTTP2_INTERNAL_ERROR])
    expect(held.begun).toBeLessThan(100_000)
    await expect.poll(() => held.gate.working).toBe(0)
    await expectOthersServed(held.service)
  }, 90_000)

  test('S22: a connection that is trusted has more, from the first request on that finds it so', async () => {
    let trusted = false
    const held = await holding({ trusts: () => trusted })
    const most = (connection: RawConnection): unknown[] =>
      connection
        .of(type.settings)
        .filter(({ flags }) => flags !== flag.ack)
        .map(({ payload }) => {
          for (let at = 0; at < payload.length; at += 6) if (payload.readUInt16BE(at) === 3) return payload.readUInt32BE(at + 2)
          return null
        })
    const raw = await rawConnection(held.service)
    raw.send(headersOf(1, getFields))
    await expect.poll(() => most(raw)).toEqual([ofStrangers.maxConcurrentStreams])
    trusted = true
    raw.send(settingsAck, headersOf(3, getFields))
    await expect.poll(() => most(raw)).toEqual([ofStrangers.maxConcurrentStreams, ofTrusted.maxConcurrentStreams])
    raw.send(settingsAck)
    const all = ofTrusted.maxConcurrentStreams ?? 0
    for (let i = 2; i < all; i++) raw.send(headersOf(odd(i), getFields))
    await expect.poll(() => held.answers.length).toBe(all)
    const later = await rawConnection(held.service)
    await expect.poll(() => most(later)).toEqual([ofTrusted.maxConcurrentStreams])
    for (const answer of held.answers) answer()
    await expect.poll(() => raw.of(type.headers).length).toBe(all)
  })
})

describe('S22: readers that take nothing', () => {
  test('S22: hold up their own streams only, with bounded bytes, and are reset when that lasts (CVE-2019-9511, CVE-2019-9517)', async () => {
    const written: number[] = []
    const chunk = Buffer.alloc(16_384)
    const gate = new Gate()
    const service = await startService(
      gate.wrap(
        (request, response) => {
          if (request.url === '/now') return sendJson(response, '{}')
          const index = written.push(0) - 1
          void (async () => {
            while (await write(response, chunk, 2000)) written[index] = (written[index] ?? 0) + chunk.length
          })()
        },
        () => true,
      ),
      { trusts: () => true },
    )
    const raw = await rawConnection(service, { first: settings([4, 0]) })
    const all = ofTrusted.maxConcurrentStreams ?? 0
    for (let i = 0; i < all - 1; i++) raw.send(headersOf(odd(i), getFields))
    await expect.poll(() => written.length).toBe(all - 1)
    // Another stream of the same connection, whose reader takes what comes.
    const last = odd(all - 1)
    raw.send(headersOf(last, now), frame(type.window, flag.none, last, number32(1000)))
    await expect.poll(() => raw.of(type.data).map(({ stream }) => stream)).toContain(last)
    await expectOthersServed(service)
    await expect.poll(() => gate.working, { timeout: 20_000 }).toBe(0)
    for (const bytes of written) expect(bytes).toBeLessThanOrEqual(5 * chunk.length)
    await expect.poll(() => raw.resets().length).toBe(all - 1)
    expect(raw.resets()[0]?.code).toBe(constants.NGHTTP2_INTERNAL_ERROR)
  }, 60_000)
})
