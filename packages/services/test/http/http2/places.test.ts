import { constants } from 'node:http2'
import { afterEach, describe, expect, test } from 'vitest'
import { ofRequesters, requestersResets } from '../../../src/http/http2/limits.ts'
import { flag, frame, getFields, number32, postFields, type RawConnection, type RawOptions, rawConnection, settings, type } from './frames.ts'
import { code, expectOthersServed, type Held, head, headersOf, holding, now, odd, resetOf } from './hostile.ts'
import { clientOf, closeAll } from './service.ts'

/** Streams of all connections to a controller's API, of which there are as many at a time as connections. */

afterEach(closeAll)

const places = 8
const controller = { requesters: true, limits: { connections: places } }
const noWindow: RawOptions = { first: settings([4, 0]) }

/** Streams from `first` on, each once the last one was begun. */
async function asked(held: Held, raw: RawConnection, count: number, first = 0): Promise<void> {
  const before = held.begun
  for (let i = 0; i < count; i++) raw.send(headersOf(odd(first + i), getFields))
  await expect.poll(() => held.begun).toBe(before + count)
}

/** Streams whose body does not come. */
async function sending(held: Held, raw: RawConnection, count: number, first = 0): Promise<void> {
  const before = held.begun
  for (let i = 0; i < count; i++) raw.send(headersOf(odd(first + i), postFields, flag.none))
  await expect.poll(() => held.begun).toBe(before + count)
}

/** Streams that are answered, over windows that let nothing through. */
async function untaken(raw: RawConnection, count: number, first = 0): Promise<void> {
  for (let i = 0; i < count; i++) raw.send(headersOf(odd(first + i), now))
  await expect.poll(() => raw.of(type.headers).length).toBe(count)
}

const statuses = (raw: RawConnection): number[] => raw.of(type.headers).map(({ stream }) => stream)

describe('S22: streams of requesters', () => {
  test('S22: are a hundred at a time over one connection, and answered in any order', async () => {
    const held = await holding({ requesters: true })
    const raw = await rawConnection(held.service)
    const most = ofRequesters.maxConcurrentStreams ?? 0
    await asked(held, raw, most)
    for (const answer of held.answers.toReversed()) answer()
    await expect.poll(() => statuses(raw).toSorted((a, b) => a - b)).toEqual(Array.from({ length: most }, (_, i) => odd(i)))
  })

  test('S22: that leave all together, as where a proxy loses its own requesters, end no connection', async () => {
    const held = await holding({ requesters: true })
    const raw = await rawConnection(held.service)
    const most = ofRequesters.maxConcurrentStreams ?? 0
    for (const first of [0, most]) {
      await asked(held, raw, most, first)
      raw.send(...Array.from({ length: most }, (_, i) => resetOf(first + i)))
      await expect.poll(() => held.gate.working).toBe(0)
    }
    raw.send(headersOf(odd(2 * most), now))
    await expect.poll(() => statuses(raw)).toEqual([odd(2 * most)])
  })
})

describe('S22: where there are as many streams as there may be', () => {
  test('S22: and all are being answered, over however many connections, the next is refused before it is begun, and has a place once one has ended', async () => {
    const held = await holding(controller)
    const [first, second] = [await rawConnection(held.service), await rawConnection(held.service)]
    await asked(held, first, places / 2)
    await asked(held, second, places / 2)
    second.send(headersOf(odd(places), getFields))
    await expect.poll(() => second.resets()).toEqual([{ stream: odd(places), code: code.refused }])
    expect([held.begun, held.gate.working]).toEqual([places, places])
    // Connections of HTTP/1.1 have places of their own.
    expect(await clientOf('HTTP/1.1', held.service).ask({ path: '/now' }).answer).toMatchObject({ status: 200 })
    for (const answer of held.answers.splice(0)) answer()
    await expect.poll(() => held.gate.working).toBe(0)
    await asked(held, second, 1, places + 1)
    await expectOthersServed(held.service)
  })

  test('S22: those that are refused, with their bodies, end no connection and use up none of its window', async () => {
    const held = await holding(controller)
    await asked(held, await rawConnection(held.service), places)
    const raw = await rawConnection(held.service)
    const refused = 3 * requestersResets.burst
    for (let i = 0; i < refused; i++) {
      raw.send(headersOf(odd(i), postFields, flag.none), frame(type.data, flag.endStream, odd(i), Buffer.alloc(10_000)))
      await expect.poll(() => raw.resets().length, { interval: 1 }).toBe(i + 1)
    }
    expect(new Set(raw.resets().map((one) => one.code))).toEqual(new Set([code.refused]))
    expect(held.begun).toBe(places)
    for (const answer of held.answers.splice(0)) answer()
    await expect.poll(() => held.gate.working).toBe(0)
    raw.send(headersOf(odd(refused), postFields, flag.none), frame(type.data, flag.endStream, odd(refused), Buffer.alloc(10_000)))
    await expect.poll(() => held.answers.length).toBe(1)
  })

  test('S22: those that left give their places back, also those that asked for a head, and those that are answered afterwards take none', async () => {
    const held = await holding(controller)
    const raw = await rawConnection(held.service)
    await asked(held, raw, 1)
    for (let i = 1; i < places; i++) raw.send(headersOf(odd(i), i % 2 === 0 ? getFields : head))
    await expect.poll(() => held.answers.length).toBe(places)
    for (let i = 1; i < places; i++) raw.send(resetOf(i))
    await expect.poll(() => held.gate.working).toBe(1)
    for (const answer of held.answers.splice(1)) answer()
    await asked(held, raw, places - 1, places)
    raw.send(headersOf(odd(2 * places), getFields))
    await expect.poll(() => raw.resets()).toEqual([{ stream: odd(2 * places), code: code.refused }])
    expect([held.begun, held.gate.working]).toEqual([2 * places - 1, places])
  })

  test('S22: the one whose body has been coming for longest is cut for the next', async () => {
    const held = await holding(controller)
    const raw = await rawConnection(held.service)
    await sending(held, raw, places - 1)
    await asked(held, raw, 1, places - 1)
    // Its body has come: it waits for its answer, and for nobody else.
    raw.send(frame(type.data, flag.endStream, 1, Buffer.from('x')))
    await expect.poll(() => held.answers.length).toBe(2)
    await expectOthersServed(held.service)
    await expect.poll(() => raw.resets()).toEqual([{ stream: 3, code: constants.NGHTTP2_INTERNAL_ERROR }])
    for (const answer of held.answers) answer()
    await expect.poll(() => statuses(raw)).toEqual([odd(places - 1), 1])
  })

  test('S22: the one whose answer nobody takes is', async () => {
    const held = await holding(controller)
    const raw = await rawConnection(held.service, noWindow)
    await untaken(raw, places)
    await expectOthersServed(held.service)
    await expect.poll(() => raw.resets()).toEqual([{ stream: 1, code: constants.NGHTTP2_INTERNAL_ERROR }])
    raw.send(frame(type.window, flag.none, 3, number32(100)))
    await expect.poll(() => raw.of(type.data).map(({ stream }) => stream)).toContain(3)
    expect(new Set(raw.of(type.data).map(({ stream }) => stream))).toEqual(new Set([3]))
  })

  test('S22: one address closes its own', async () => {
    const held = await holding(controller)
    const patient = await rawConnection(held.service, { from: '127.0.0.2' })
    await sending(held, patient, 2)
    const greedy = await rawConnection(held.service, noWindow)
    await untaken(greedy, places - 2)
    for (let i = 0; i < places; i++) {
      greedy.send(headersOf(odd(places + i), now))
      await expect.poll(() => greedy.resets().length).toBe(i + 1)
    }
    await expectOthersServed(held.service)
    expect([patient.resets(), patient.closed]).toEqual([[], false])
    patient.send(frame(type.data, flag.endStream, 1, Buffer.from('x')))
    await expect.poll(() => held.answers.length).toBe(1)
  })
})

test('S22: a connection whose answers nobody takes makes room for others, one that is being answered does not', async () => {
  const held = await holding({ requesters: true, limits: { connections: 4 } })
  const busy = await rawConnection(held.service, noWindow)
  await asked(held, busy, 1)
  const stuck = [
    await rawConnection(held.service, noWindow),
    await rawConnection(held.service, noWindow),
    await rawConnection(held.service, noWindow),
  ]
  for (const raw of stuck) await untaken(raw, 1)
  for (const _ of stuck) await asked(held, await rawConnection(held.service), 1)
  await expect.poll(() => stuck.map(({ closed }) => closed)).toEqual([true, true, true])
  expect([busy.closed, busy.resets()]).toEqual([false, []])
})
