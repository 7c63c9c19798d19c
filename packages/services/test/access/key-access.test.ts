import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { KeyAccess } from '../../src/controller/access/key-access.ts'
import { KeyRing } from '../../src/controller/access/key-ring.ts'
import { Meters } from '../../src/controller/access/meters.ts'
import { Spending } from '../../src/controller/access/spending.ts'
import type { Grant } from '../../src/controller/stages/access.ts'
import { HttpError } from '../../src/http/errors.ts'
import { noLimits, sharedStore, wanted } from './store.ts'

const request = (authorization?: string): IncomingMessage => ({ headers: authorization === undefined ? {} : { authorization } }) as IncomingMessage

async function play(
  run: (with_: { access: KeyAccess; ring: KeyRing; spending: Spending; later: (seconds: number) => void }) => Promise<void>,
): Promise<void> {
  const archive = await sharedStore().archive()
  let at = Date.parse('2026-01-01T00:00:00Z')
  const now = (): Date => new Date(at)
  const rows = archive.authority
  const ring = await KeyRing.open({ rows, tagOf: (credential) => archive.credentialTag(credential), now, minimumVersion: 0, everyMs: 1_000_000 })
  const spending = await Spending.open({ rows, now, everyMs: 1_000_000 })
  const access = new KeyAccess({ ring, spending, meters: new Meters(() => 0), now })
  await run({ access, ring, spending, later: (seconds) => (at += seconds * 1000) })
  ring.close()
  spending.stop()
}

describe('who asks', () => {
  test.each([
    ['nothing', undefined],
    ['another scheme', 'Basic dnVrOg=='],
    ['no token', 'Bearer '],
    ['two tokens', `Bearer vk-${'A'.repeat(43)} x`],
    ['too short a key', `Bearer vk-${'A'.repeat(42)}`],
    ['too long a key', `Bearer vk-${'A'.repeat(44)}`],
    ['another alphabet', `Bearer vk-${'A'.repeat(42)}+`],
    ['a key of another service', `Bearer sk-${'A'.repeat(43)}`],
    ['a key that was never made', `Bearer vk-${'A'.repeat(43)}`],
    ['a very long one', `Bearer ${'vk-'.repeat(5000)}`],
  ])('with %s is refused with 401', (_, authorization) =>
    play(async ({ access }) => {
      expect(access.authenticate(request(authorization))).toMatchObject({ status: 401, code: 'invalid_api_key' })
      expect(access.admit(request(authorization), 'm', 1)).toMatchObject({ status: 401, code: 'invalid_api_key' })
    }),
  )

  test('with a key is served until it expires', () =>
    play(async ({ access, ring, later }) => {
      const { key } = await ring.create({ ...wanted, expires: Date.parse('2026-01-01T00:01:00Z') / 1000 })
      expect(access.authenticate(request(`Bearer ${key}`))).toBeNull()
      later(60)
      expect(access.authenticate(request(`Bearer ${key}`))).toMatchObject({ status: 401, code: 'invalid_api_key' })
    }))

  test('with a key that is revoked while the body comes is refused', () =>
    play(async ({ access, ring }) => {
      const { key, record } = await ring.create(wanted)
      const incoming = request(`Bearer ${key}`)
      expect(access.authenticate(incoming)).toBeNull()
      await ring.revoke(record.id)
      expect(access.admit(incoming, 'm', 1)).toMatchObject({ status: 401 })
    }))

  test('pays for what a worker signed, and for nothing else', () =>
    play(async ({ access, ring, spending }) => {
      const { key, record } = await ring.create({ ...wanted, limits: { ...noLimits, tokens_per_minute: 1000 } })
      const grant = (): Grant => {
        const incoming = request(`Bearer ${key}`)
        const granted = access.authenticate(incoming) ?? access.admit(incoming, 'm', 400)
        if (granted instanceof HttpError) throw granted
        return granted
      }
      const facts = { receiptId: 'r', model: 'm' }
      const first = grant()
      expect(first.headers?.['x-ratelimit-remaining-tokens']).toBe('900')
      first.settle({ ...facts, outcome: 'complete', usage: { promptTokens: 10, completionTokens: 20 } })
      expect(spending.of(record.id)).toEqual({ requests: 1, tokens: 30 })
      const second = grant()
      expect(second.headers?.['x-ratelimit-remaining-tokens']).toBe('870')
      second.settle({ ...facts, outcome: 'error', usage: null })
      expect(spending.of(record.id)).toEqual({ requests: 2, tokens: 30 })
      expect([first.tenant, second.tenant]).toEqual([record.id, record.id])
    }))
})
