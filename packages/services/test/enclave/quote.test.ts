import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createSimPlatform } from 'veritee/attestation/sim'
import { VeriteeError } from 'veritee/errors'
import { describe, expect, it } from 'vitest'
import type { AttestationDevice } from '../../src/enclave/runtime/attestation-device.ts'
import { createQuoter, QuoteBusyError, type QuotePurpose } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'

const enclave = { mrenclave: '01'.repeat(32), mrsigner: '02'.repeat(32), isvProdId: 1, isvSvn: 1 }
const platform = await createSimPlatform({ at: new Date() })
const digest = `sha256:${'ab'.repeat(32)}`
const nonce = (n: number): string => n.toString(16).padStart(64, '0')
const ask = (n: number | null): QuotePurpose => ({ purpose: 'aci.report_data.v1', keysetDigest: digest, nonce: n === null ? null : nonce(n) })
const reportDataOf = (quote: Uint8Array): string => Buffer.from(quote.subarray(368, 432)).toString('hex')
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/** A simulated device that stops before each quote until it is let go, and records what was asked of it. */
function gatedDevice() {
  const inner = createSimDevice(platform, enclave)
  const gates: (() => void)[] = []
  const log: string[] = []
  const device: AttestationDevice = {
    attestationType: inner.attestationType,
    writeUserReportData: async (bytes) => {
      log.push(`write ${Buffer.from(bytes).toString('hex')}`)
      await inner.writeUserReportData(bytes)
    },
    readQuote: async () => {
      await new Promise<void>((resolve) => gates.push(resolve))
      log.push('read')
      return inner.readQuote()
    },
  }
  const letGo = async (): Promise<void> => {
    await settle()
    // Digests are made in other threads, which have their own pace.
    await expect.poll(() => gates.length, { message: 'somebody is at the device' }).toBeGreaterThan(0)
    gates.shift()?.()
    await settle()
  }
  return { device, log, gates, letGo }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 15))
/** The code of the error, or `done`; never rejects, so that a test can let a call run. */
const outcome = (call: Promise<Uint8Array>): Promise<string> =>
  call.then(
    () => 'done',
    (error: unknown) => (error instanceof VeriteeError ? error.code : String(error)),
  )

describe('what the quoter signs', () => {
  const quoter = createQuoter(createSimDevice(platform, enclave))

  it('is the hash of the aci/1 statement, byte for byte', async () => {
    const withNonce = `{"keyset_digest":"${digest}","nonce":"${nonce(255)}","purpose":"aci.report_data.v1"}`
    const without = `{"keyset_digest":"${digest}","nonce":null,"purpose":"aci.report_data.v1"}`
    expect(reportDataOf(await quoter.quote(ask(255))).slice(0, 64)).toBe(sha256(withNonce))
    expect(reportDataOf(await quoter.quote(ask(null))).slice(0, 64)).toBe(sha256(without))
  })

  it('S1: bytes 32..63 of report data are zero', async () => {
    for (const purpose of [ask(1), ask(null)]) expect(reportDataOf(await quoter.quote(purpose)).slice(64)).toBe('00'.repeat(32))
  })

  it('S1: the quote that an enclave takes of itself is over a constant that stands for no statement', async () => {
    const data = reportDataOf(await quoter.quote({ purpose: 'veritee.self.v1' }))
    expect(data).toBe(createHash('sha512').update('veritee.self.v1').digest('hex'))
    expect(data.slice(64)).not.toBe('00'.repeat(32))
  })

  it('S1: the quoter refuses anything but its closed purposes', async () => {
    const { device, log } = gatedDevice()
    const closed = createQuoter(device)
    const shifting = { calls: 0, toString: () => (shifting.calls++ === 0 ? nonce(1) : 'attacker') }
    const wrong: unknown[] = [
      null,
      undefined,
      'aci.report_data.v1',
      new Uint8Array(64),
      new Uint8Array(32),
      [],
      {},
      { ...ask(1), purpose: 'veritee.legacy-attest.v1' },
      { purpose: 'veritee.legacy-attest.v1', userdata: new Uint8Array(64), keysetDigest: digest },
      { purpose: 'veritee.legacy-attest.v1', userdata: 'x', keysetDigest: 'ab' },
      { purpose: 'veritee.legacy-attest.v1', userdata: 'x' },
      { ...ask(1), purpose: 'raw', bytes: new Uint8Array(64) },
      { ...ask(1), reportData: new Uint8Array(64) },
      { purpose: 'veritee.self.v1', nonce: nonce(1) },
      { ...ask(1), purpose: 'veritee.self.v1' },
      { purpose: 'aci.report_data.v1', keysetDigest: digest },
      { ...ask(1), nonce: undefined },
      { ...ask(1), nonce: '' },
      { ...ask(1), nonce: 'AB'.repeat(32) },
      { ...ask(1), nonce: `${nonce(1)}\n` },
      { ...ask(1), nonce: nonce(1).slice(1) },
      { ...ask(1), nonce: new Uint8Array(32) },
      { ...ask(1), nonce: shifting },
      { ...ask(1), keysetDigest: '' },
      { ...ask(1), keysetDigest: digest.slice(7) },
      { ...ask(1), keysetDigest: digest.toUpperCase() },
      { ...ask(1), keysetDigest: `${digest}","nonce":null,"x":"` },
      { ...ask(1), keysetDigest: [digest] },
    ]
    for (const purpose of wrong) await expect(closed.quote(purpose as QuotePurpose), JSON.stringify(purpose)).rejects.toThrow(TypeError)
    await expect(closed.quote(ask(1), { priority: 'high' as 'admission' })).rejects.toThrow(TypeError)
    expect(log).toEqual([])
  })

  it('S1: a statement chosen by an attacker is never signed, whatever text he puts into the members', async () => {
    // The attacker wants report data sha256(his statement); all he can vary is a nonce of hex digits, and that stays inside our statement.
    const { device, log, letGo } = gatedDevice()
    const target = sha256(`{"keyset_digest":"sha256:${'ee'.repeat(32)}","nonce":"${nonce(1)}","purpose":"aci.report_data.v1"}`)
    const closed = createQuoter(device)
    for (const n of [target, sha256('x')]) {
      const running = closed.quote({ ...ask(1), nonce: n } as QuotePurpose)
      await letGo()
      await running
    }
    expect(log.filter((line) => line.includes(target))).toEqual([])
    expect(log.filter((line) => line.startsWith('write')).every((line) => line.endsWith('00'.repeat(32)))).toBe(true)
  })

  it('S1: no other module calls the device', () => {
    const root = new URL('../../../', import.meta.url)
    const callers = ['services/src/', 'veritee/src/'].flatMap((folder) =>
      readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith('.ts'))
        .filter((path) =>
          /\.\s*(readQuote|writeUserReportData)\b|\{[^{}:]*\b(readQuote|writeUserReportData)\b[^{}:]*\}\s*=/.test(
            readFileSync(new URL(folder + path, root), 'utf8'),
          ),
        )
        .map((path) => folder + path),
    )
    expect(callers).toEqual(['services/src/enclave/runtime/quote.ts'])
  })

  it('is read back: a quote over something else is an error', async () => {
    const inner = createSimDevice(platform, enclave)
    // A second writer of the process-global slot.
    const contended: AttestationDevice = { ...inner, readQuote: async () => platform.quote(enclave, new Uint8Array(64).fill(1)) }
    await expect(createQuoter(contended).quote(ask(1))).rejects.toMatchObject({ code: 'attestation_device_failed' })
    const garbage: AttestationDevice = { ...inner, readQuote: async () => new Uint8Array(500) }
    await expect(createQuoter(garbage).quote(ask(1))).rejects.toMatchObject({ code: 'attestation_device_failed' })
  })
})

describe('the queue of the quoter', () => {
  it('keeps write and read together, in order of arrival', async () => {
    const { device, log, letGo } = gatedDevice()
    const quoter = createQuoter(device)
    const calls = [1, 2, 3].map((n) => quoter.quote(ask(n)))
    for (const _ of calls) await letGo()
    const quotes = await Promise.all(calls)
    expect(log.map((line) => line.split(' ')[0])).toEqual(['write', 'read', 'write', 'read', 'write', 'read'])
    expect(quotes.map(reportDataOf).map((hex) => `write ${hex}`)).toEqual(log.filter((line) => line !== 'read'))
  })

  it('S22: is bounded, and says when to come back', async () => {
    const { device, letGo } = gatedDevice()
    const quoter = createQuoter(device, { maxWaiting: 4, retryAfterSeconds: 7 })
    // One is served and three wait; the fourth place is not for them.
    const admitted = [1, 2, 3, 4].map((n) => outcome(quoter.quote(ask(n))))
    await settle()
    const error = await quoter.quote(ask(5)).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(QuoteBusyError)
    expect(error).toMatchObject({ code: 'quote_busy', kind: 'unavailable', retryAfterSeconds: 7 })
    for (const _ of admitted) await letGo()
    expect(await Promise.all(admitted)).toEqual(['done', 'done', 'done', 'done'])
    const later = outcome(quoter.quote(ask(6)))
    await letGo()
    expect(await later).toBe('done')
  })

  it('S22: by default 15 others wait besides the one served, and the 17th is turned away', async () => {
    const { device, letGo } = gatedDevice()
    const quoter = createQuoter(device)
    const admitted = Array.from({ length: 16 }, (_, n) => outcome(quoter.quote(ask(n))))
    await settle()
    expect(await outcome(quoter.quote(ask(99)))).toBe('quote_busy')
    for (const _ of admitted) await letGo()
    expect(new Set(await Promise.all(admitted))).toEqual(new Set(['done']))
  })

  it('S22: one place is reserved for admission, which goes first, and is bounded too', async () => {
    const { device, log, letGo } = gatedDevice()
    const quoter = createQuoter(device, { maxWaiting: 2 })
    const first = quoter.quote(ask(1))
    await settle()
    const second = quoter.quote(ask(2))
    await settle()
    expect(await outcome(quoter.quote(ask(3)))).toBe('quote_busy')
    const admission = quoter.quote(ask(4), { priority: 'admission' })
    await settle()
    expect(await outcome(quoter.quote(ask(5), { priority: 'admission' }))).toBe('quote_busy')
    for (let i = 0; i < 3; i++) await letGo()
    const order = [await first, await admission, await second].map((quote) => `write ${reportDataOf(quote)}`)
    expect(log.filter((line) => line !== 'read')).toEqual(order)
  })

  it('goes on after a failure of the device', async () => {
    const inner = createSimDevice(platform, enclave)
    let failures = 1
    const flaky: AttestationDevice = {
      ...inner,
      readQuote: () => (failures-- > 0 ? Promise.reject(new Error('no quoting service')) : inner.readQuote()),
    }
    const quoter = createQuoter(flaky)
    const [first, second] = await Promise.allSettled([quoter.quote(ask(1)), quoter.quote(ask(2))])
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled'])
  })

  it('refuses a bound that is not a positive integer', () => {
    for (const maxWaiting of [0, -1, 1.5, Number.NaN])
      expect(() => createQuoter(createSimDevice(platform, enclave), { maxWaiting })).toThrow(TypeError)
  })
})

describe('the quote without nonce', () => {
  it('S22: is made once for all callers, also for those who come while it is made', async () => {
    const { device, log, letGo } = gatedDevice()
    const quoter = createQuoter(device, { maxWaiting: 1 })
    const calls = Array.from({ length: 50 }, () => quoter.quote(ask(null)))
    await letGo()
    const quotes = await Promise.all(calls)
    const [first = new Uint8Array(0)] = quotes
    quotes[1]?.fill(0)
    expect(await quoter.quote(ask(null))).toEqual(first)
    expect(log.length).toBe(2)
  })

  it('is made again for another keyset', async () => {
    const quoter = createQuoter(createSimDevice(platform, enclave))
    const other = { ...ask(null), keysetDigest: `sha256:${'cd'.repeat(32)}` }
    expect(reportDataOf(await quoter.quote(ask(null)))).not.toBe(reportDataOf(await quoter.quote(other)))
  })

  it('S22: is kept for each keyset in force: asking under old and new keys by turns costs nothing', async () => {
    const inner = createSimDevice(platform, enclave)
    let quotes = 0
    const counting = {
      ...inner,
      readQuote: () => {
        quotes++
        return inner.readQuote()
      },
    }
    const quoter = createQuoter(counting)
    const other = { ...ask(null), keysetDigest: `sha256:${'cd'.repeat(32)}` }
    for (let i = 0; i < 5; i++) {
      await quoter.quote(ask(null))
      await quoter.quote(other)
    }
    expect(quotes).toBe(2)
    // Former keysets do not stay for ever.
    for (let i = 0; i < 4; i++) {
      const later = { ...ask(null), keysetDigest: `sha256:${i.toString(16).padStart(64, '0')}` }
      await quoter.quote(later)
    }
    await quoter.quote(ask(null))
    expect(quotes).toBe(7)
  })

  it('is not kept when it failed', async () => {
    const inner = createSimDevice(platform, enclave)
    let failures = 1
    const quoter = createQuoter({
      ...inner,
      writeUserReportData: (bytes) => (failures-- > 0 ? Promise.reject(new Error('no quoting service')) : inner.writeUserReportData(bytes)),
    })
    await expect(quoter.quote(ask(null))).rejects.toThrow('no quoting service')
    expect((await quoter.quote(ask(null))).length).toBeGreaterThan(1000)
  })
})
