import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, expect, test } from 'vitest'
import { awaitRound, httpBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import { imitationBeacon } from './imitation.ts'

const closing: (() => void)[] = []
afterAll(() => {
  for (const close of closing) close()
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const { chain, round } = await imitationBeacon()
const number = 4711
const honest = await round(number)
const answer =
  (document: unknown): RequestListener =>
  (_, response) =>
    void response.end(JSON.stringify(document))

/** What a server may do instead of giving the round, with the word that the failure has for it. */
const others: readonly (readonly [string, RequestListener, RegExp])[] = [
  ['says nothing', () => undefined, /did not answer: nothing whole within 200 ms/],
  ['sends its answer for ever', (_, response) => void response.writeHead(200).write('{'), /did not answer: nothing whole within 200 ms/],
  ['hangs up', (request) => void request.socket.destroy(), /did not answer/],
  ['fails', (_, response) => void response.writeHead(500).end('no'), /answered with status 500/],
  ['sends others elsewhere', (_, response) => void response.writeHead(302, { location: '/x' }).end(), /answered with status 302/],
  ['sends too much', (_, response) => void response.end('x'.repeat(5000)), /at most 4096 bytes/],
  ['sends no JSON', (_, response) => void response.end('<html>'), /./],
  ['sends another document', answer({ round: number }), /./],
  ['gives another genuine round', answer(await round(number + 1)), /expected round 4711, found 4712/],
  ['gives another round under this number', answer({ ...(await round(number + 1)), round: number }), /./],
  ['changes the signature', answer({ ...honest, signature: honest.signature.replace(/..$/, (end) => (end === '00' ? '01' : '00')) }), /./],
]

test.each(others)('S16: a beacon server that %s is passed over for the next, and alone it gives nothing', async (_, listener, why) => {
  const url = await serve(listener)
  const paths: string[] = []
  const good = await serve((request, response) => {
    paths.push(request.url ?? '')
    answer(honest)(request, response)
  })
  expect(await httpBeacon([url, `${good}/`], chain, 200).round(number)).toEqual(honest)
  expect(paths).toEqual([`/${chain.hash}/public/${number}`])
  const alone = httpBeacon([url], chain, 200).round(number)
  await expect(alone).rejects.toMatchObject({ code: 'beacon_unavailable' })
  await expect(alone).rejects.toThrow(why)
})

test('S16: a round is waited for while servers fail, and what they say then is verified once more', async () => {
  let asked = 0
  const url = await serve((request, response) => {
    asked++
    if (asked === 1) response.writeHead(404).end()
    else answer(honest)(request, response)
  })
  const late = { now: (): Date => new Date('2100-01-01T00:00:00Z'), signal: AbortSignal.timeout(20_000) }
  expect((await awaitRound(httpBeacon([url], chain), number, late)).round).toEqual(honest)
  expect(asked).toBe(2)
})

test('nobody is asked for a round that is not due, and the signal ends the waiting', async () => {
  let asked = 0
  const url = await serve((_, response) => {
    asked++
    response.end()
  })
  const early = { now: (): Date => new Date(1_700_000_000_000), signal: AbortSignal.timeout(100) }
  await expect(awaitRound(httpBeacon([url], chain), number, early)).rejects.toMatchObject({ name: 'AbortError' })
  expect(asked).toBe(0)
})
