import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LogTrust } from 'veritee/log'
import { expect, onTestFinished, test } from 'vitest'
import { LogAccess } from '../../../src/validator/log/access.ts'

test('S21: a log that answers with bytes that are no text is as good as away, and ends no validator', async () => {
  const asked: string[] = []
  const server = http.createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end(Buffer.from([0x7b, 0xff, 0x0a]))
  })
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const access = new LogAccess({ origin: 'log.example/test' } as LogTrust, { url, writeToken: 'w', viewsToken: 'v' })
  for (const read of [() => access.views(3), () => access.checkpoint(), () => access.find(new Uint8Array(1))])
    await expect(read()).rejects.toMatchObject({ code: 'service_unavailable', kind: 'unavailable' })
  expect(asked.slice(0, 2)).toEqual(['/views/3', '/checkpoint'])
})
