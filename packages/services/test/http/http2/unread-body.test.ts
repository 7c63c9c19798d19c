import { afterEach, describe, expect, test } from 'vitest'
import { readRequestBody, sendError } from '../../../src/http/body.ts'
import { ofRequesters } from '../../../src/http/http2/limits.ts'
import { Gate } from '../../../src/process/gate.ts'
import { flag, frame, number32, postFields, type RawConnection, rawConnection, settings, type } from './frames.ts'
import { code, headersOf } from './hostile.ts'
import { closeAll, startService } from './service.ts'

/** Bodies longer than what is read of them. Node keeps a stream that has closed without an error until what came of its body is read, which nobody does. */

afterEach(closeAll)

const partBytes = 8000
/** More than a request buffers: its stream holds the rest. */
const parts = 11

/** As far as the window of the stream goes. */
async function sendBody(raw: RawConnection, lastFlags: number): Promise<void> {
  const opened = (): number =>
    raw.of(type.window).reduce((sum, { stream, payload }) => sum + (stream === 1 ? payload.readUInt32BE(0) : 0), ofRequesters.initialWindowSize ?? 0)
  raw.send(headersOf(1, postFields, flag.none))
  for (let i = 1; i <= parts; i++) {
    await expect.poll(opened, { interval: 1 }).toBeGreaterThanOrEqual(i * partBytes)
    raw.send(frame(type.data, i === parts ? lastFlags : flag.none, 1, Buffer.alloc(partBytes)))
  }
}

describe.each([
  { where: 'of a requester, at a controller', options: { requesters: true } },
  { where: 'of a controller, at a worker', options: { trusts: () => true } },
])('$where', ({ options }) => {
  test.for([
    ['reset without an error, before the answer is taken', 0, flag.none],
    ['reset without an error, as a whole, before the answer is taken', 0, flag.endStream],
    ['reset without an error, after the answer', 65_535, flag.none],
    ['come as a whole, after the answer', 65_535, flag.endStream],
  ] as const)('S22: a body of which no more is read, %s, holds nothing', async ([, window, lastFlags]) => {
    const gate = new Gate()
    const tooLong = Promise.withResolvers<() => void>()
    const service = await startService(
      gate.wrap(
        (request, response) =>
          void readRequestBody(request, 1000).catch((error: unknown) => {
            tooLong.resolve(() => sendError(response, error))
          }),
        () => true,
      ),
      options,
    )
    const raw = await rawConnection(service, { first: settings([4, window]) })
    await sendBody(raw, lastFlags)
    const answer = await tooLong.promise
    answer()
    await expect.poll(() => raw.of(type.headers).length).toBe(1)
    if (window === 0 || lastFlags === flag.none) raw.send(frame(type.reset, flag.none, 1, number32(code.none)))
    await expect.poll(() => gate.working).toBe(0)
    expect(raw.closed).toBe(false)
  })
})
