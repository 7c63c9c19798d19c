import { request as httpRequest, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { readRequestBody, sendError } from '../../src/http/body.ts'
import { boundHeldBytes } from '../../src/http/held-bytes.ts'
import { type Listening, listen } from '../../src/http/listen.ts'

const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
const kib = (n: number): number => n * 1024
const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** Reads bodies of up to 64 KiB, and answers when it is let. */
async function service(limits: { readonly all: number; readonly network: number }) {
  const answers: (() => void)[] = []
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    readRequestBody(request, kib(64)).then(
      () => answers.push(() => response.end('answered')),
      (error: unknown) => sendError(response, error),
    )
  }
  const server = await listen(bind, boundHeldBytes(handle as RequestListener, limits))
  closing.push(() => server.close())
  return { server, answers }
}

function post(server: Listening, length: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  const asked = httpRequest({ host: '127.0.0.1', port: server.port, method: 'POST', agent: false }, (response) => {
    response.resume().once('end', () => resolve(response.statusCode ?? 0))
  })
  asked.once('error', () => resolve(0)).end(Buffer.alloc(length))
  return promise
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('S22: bodies that a listener holds', () => {
  test.each([
    ['over all', { all: kib(100), network: kib(1000) }],
    ['of one network', { all: kib(1000), network: kib(100) }],
  ])('are bounded together: %s', async (_, limits) => {
    const { server, answers } = await service(limits)
    const first = post(server, kib(60))
    await until(() => answers.length === 1)
    expect(await post(server, kib(60))).toBe(503)
    // What was refused holds nothing, and what is answered is given back.
    const small = post(server, kib(30))
    await until(() => answers.length === 2)
    for (const answer of answers.splice(0)) answer()
    expect([await first, await small]).toEqual([200, 200])
    const again = post(server, kib(60))
    await until(() => answers.length === 1)
    for (const answer of answers.splice(0)) answer()
    expect(await again).toBe(200)
  })

  test('of a requester that went away are given back', async () => {
    const { server, answers } = await service({ all: kib(100), network: kib(100) })
    const gone = httpRequest({ host: '127.0.0.1', port: server.port, method: 'POST', agent: false }).on('error', () => undefined)
    gone.end(Buffer.alloc(kib(60)))
    await until(() => answers.length === 1)
    gone.destroy()
    let status = 503
    while (status === 503) {
      const asked = post(server, kib(60))
      status = await Promise.race([asked, until(() => answers.length === 2).then(() => 200)])
    }
    for (const answer of answers) answer()
    expect(status).toBe(200)
  })
})
