import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from 'vitest'
import { runBans } from '../../src/bin/commands/bans.ts'
import { createAdmin } from '../../src/controller/access/admin.ts'
import { KeyRing } from '../../src/controller/access/key-ring.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'

const token = 'a-credential-that-nobody-would-guess-0123456789'
const ban = { subject: `platform:${'1'.repeat(64)}`, until: 2_000_000_000, count: 1, lifts: 0 }
const entry = { at: 1, action: 'lifted', subject: ban.subject, until: 2, count: 1, reason: 'our own fault', by: 'sha256:00' } as const
let lifted: (readonly [string, string])[] = []
let ring: KeyRing
let server: Server
beforeAll(async () => {
  const now = (): Date => new Date()
  const archive = ReceiptArchive.inMemory()
  const report = (): void => undefined
  ring = await KeyRing.open({ rows: archive.authority, tagOf: (credential) => archive.credentialTag(credential), now, minimumVersion: 0, report })
  const bans = {
    list: () => [ban],
    trail: async () => ({ entries: [entry], missing: 2 }),
    lift: async (subject: string, reason: string) => {
      if (subject !== ban.subject) return false
      lifted.push([subject, reason])
      return true
    },
  }
  const rateLimit = new RateLimit({ perSecond: 1, burst: 10, now })
  server = createServer(createAdmin({ ring, archive, bans, credential: { token, rateLimit }, proof: (_, response) => void response.end() }))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => {
  ring.close()
  server.close()
})
beforeEach(() => {
  lifted = []
})

async function ask(path: string, body: unknown, credential = token): Promise<{ readonly status: number; readonly value: unknown }> {
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/admin/v1/${path}`, {
    method: body === null ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${credential}` },
    ...(body !== null && { body: JSON.stringify(body) }),
  })
  return { status: answer.status, value: await answer.json() }
}

describe('the admin interface: bans', () => {
  test('are listed, and lifted with a reason', async () => {
    expect(await ask('bans', null)).toEqual({ status: 200, value: { bans: [ban] } })
    expect(await ask('bans/lift', { subject: ban.subject, reason: 'our own fault' })).toEqual({
      status: 200,
      value: { subject: ban.subject, lifted: true },
    })
    expect(lifted).toEqual([[ban.subject, 'our own fault']])
    expect(await ask('bans/trail', null)).toEqual({ status: 200, value: { entries: [entry], missing: 2 } })
    expect((await ask('bans/trail', null, `${token}x`)).status).toBe(401)
  })

  it.each<[number, string, unknown, string]>([
    [401, 'without the credential', { subject: ban.subject, reason: 'x' }, `${token}x`],
    [404, 'of somebody who is not barred', { subject: `platform:${'2'.repeat(64)}`, reason: 'x' }, token],
    [400, 'without a reason', { subject: ban.subject }, token],
    [400, 'with an empty one', { subject: ban.subject, reason: '' }, token],
    [400, 'with one of two lines, for a log', { subject: ban.subject, reason: 'x\nworker admitted' }, token],
    [400, 'with one without end', { subject: ban.subject, reason: 'x'.repeat(201) }, token],
    [400, 'with more than that', { subject: ban.subject, reason: 'x', until: 1 }, token],
  ])('answer %i %s, and nothing is lifted', async (status, _, body, credential) => {
    expect((await ask('bans/lift', body, credential)).status).toBe(status)
    expect(lifted).toEqual([])
  })
})

describe('veriteed bans', () => {
  it.each<['list' | 'lift' | 'trail', readonly string[]]>([
    ['trail', ['a-subject']],
    ['trail', ['--reason', 'x']],
    ['list', ['a-subject']],
    ['list', ['--reason', 'x']],
    ['lift', ['--reason', 'x']],
    ['lift', ['a-subject']],
    ['lift', ['a-subject', 'another', '--reason', 'x']],
    ['list', []],
  ])('%s %j is wrong usage', async (action, args) => {
    await expect(runBans(action, args)).rejects.toMatchObject({ code: 'usage' })
  })
})
