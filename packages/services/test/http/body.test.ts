import { connect } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readRequestBody, sendError } from '../../src/http/body.ts'
import { type Listening, listen } from '../../src/http/listen.ts'

let server: Listening
const read: string[] = []
beforeAll(async () => {
  server = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: false, apiKeys: false }, (request, response) => {
    readRequestBody(request, 100).then(
      (body) => {
        read.push(Buffer.from(body).toString())
        response.end('read')
      },
      (error: unknown) => {
        read.push(String((error as { status?: unknown }).status))
        sendError(response, error)
      },
    )
  })
})
afterAll(() => server.close())

/** Sends parts one after the other over a connection of its own; gives what came back, and what the reader made of it. */
async function exchange(
  head: string,
  parts: readonly string[],
  end: 'stay' | 'leave' = 'stay',
): Promise<readonly [answer: string, read: string | undefined]> {
  read.length = 0
  const socket = connect(server.port, '127.0.0.1')
  let answer = ''
  socket.on('data', (part) => (answer += String(part)))
  socket.on('error', () => undefined)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(`POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${head}\r\n\r\n`)
  for (const part of parts) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    socket.write(part)
  }
  if (end === 'leave') setTimeout(() => socket.destroy(), 20)
  await closed
  while (read.length === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  return [answer.slice(0, 12), read[0]]
}

it.each<[string, string, string[], string, string]>([
  ['in one part', 'Content-Length: 3', ['abc'], 'HTTP/1.1 200', 'abc'],
  ['in several', 'Content-Length: 6', ['ab', 'c', 'def'], 'HTTP/1.1 200', 'abcdef'],
  ['in chunks', 'Transfer-Encoding: chunked', ['3\r\nabc\r\n', '2\r\nde\r\n0\r\n\r\n'], 'HTTP/1.1 200', 'abcde'],
  ['of nothing', 'Content-Length: 0', [], 'HTTP/1.1 200', ''],
  ['at its bound', 'Content-Length: 100', ['x'.repeat(100)], 'HTTP/1.1 200', 'x'.repeat(100)],
  ['that says it is too large', 'Content-Length: 101', [], 'HTTP/1.1 413', '413'],
  ['that is too large and did not say so', 'Transfer-Encoding: chunked', [`65\r\n${'x'.repeat(101)}\r\n`], 'HTTP/1.1 413', '413'],
  ['that never ends', 'Transfer-Encoding: chunked', Array.from({ length: 20 }, () => `10\r\n${'x'.repeat(16)}\r\n`), 'HTTP/1.1 413', '413'],
])('a body %s', async (_, head, parts, answer, body) => {
  expect(await exchange(head, parts)).toEqual([answer, body])
})

it('a body that breaks off is an error, and no process ends', async () => {
  expect(await exchange('Content-Length: 9', ['abc'], 'leave')).toEqual(['', '400'])
  expect(await exchange('Transfer-Encoding: chunked', ['3\r\nabc\r\n'], 'leave')).toEqual(['', '400'])
  expect(await exchange('Content-Length: 3', ['abc'])).toEqual(['HTTP/1.1 200', 'abc'])
})
