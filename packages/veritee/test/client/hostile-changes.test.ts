import { describe, expect, it } from 'vitest'
import { createEnclave, sha } from '../receipt/enclaves.ts'
import { ask, editing, open, plain, posts, secure, streamed, thrown } from './asking.ts'

/** A service that changes while a client talks to it: each case with the code it must give. */

describe('mid-conversation', () => {
  it('downgrade from a verified to an unverified worker: the second answer is refused, the first stands', async () => {
    const fake = await secure()
    const c = await open(fake.url)
    expect((await ask(c, plain)).proof.status).toBe('verified')
    fake.behaviour.sealing = {
      controllerEvents: editing('upstream.verified', () => ({
        type: 'upstream.verified',
        result: 'failed',
        required: false,
        model_id: 'demo-model',
        reason: 'unattested',
      })),
    }
    expect(await ask(c, plain)).toMatchObject({ code: 'policy_receipt', text: '', proof: { status: 'rejected', worker: null } })
  })
  it('keys rotated in mid-stream: an answer begun under one keyset is not proven by a receipt of another', async () => {
    const fake = await secure()
    const next = await createEnclave('controller', { spki: fake.controller.spki })
    const c = await open(fake.url)
    fake.behaviour.sealing = { signer: next, controllerReceipt: {} }
    expect((await ask(c, streamed)).code).toBe('receipt_signature_invalid')
  })
  it('an answer that names another keyset, of which there is no report: keyset_changed', async () => {
    const fake = await secure()
    const c = await open(fake.url)
    fake.behaviour.keysetDigest = sha('another keyset')
    expect((await thrown(() => ask(c, plain))).code).toBe('keyset_changed')
  })
  it('an answer that names no keyset: keyset_changed', async () => {
    const fake = await secure()
    const c = await open(fake.url)
    fake.behaviour.keysetDigest = null
    expect((await thrown(() => ask(c, plain))).code).toBe('keyset_changed')
  })
  it('an honest service with new keys behind the same TLS key is verified again, and goes on', async () => {
    const fake = await secure()
    const c = await open(fake.url)
    const next = await createEnclave('controller', { spki: fake.controller.spki })
    Object.assign(fake.behaviour, { keysetDigest: next.digest, reporter: next, sealing: { signer: next } })
    const { proof } = await ask(c, plain)
    expect([proof.status, proof.service.keysetDigest]).toEqual(['verified', next.digest])
    expect(fake.requests.filter((line) => line.endsWith('/attestation'))).toHaveLength(2)
  })
  it('an attestation that grew too old is made anew once, however many callers wait for it', async () => {
    const fake = await secure()
    let now = new Date()
    const c = await open(fake.url, { now: () => now })
    now = new Date(now.getTime() + 3601_000)
    const answers = await Promise.all(Array.from({ length: 8 }, () => c.fetch(`${c.baseURL}/models`)))
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200))
    expect(fake.requests.filter((line) => line.endsWith('/attestation'))).toHaveLength(2)
  })
  it('a service that is no longer wanted when it is verified again: nothing more is sent', async () => {
    const fake = await secure()
    let now = new Date()
    const c = await open(fake.url, { now: () => now })
    now = new Date(now.getTime() + 3601_000)
    fake.behaviour.reporter = await createEnclave('worker', { spki: fake.controller.spki })
    const before = posts(fake)
    expect((await thrown(() => ask(c, plain))).code).toBe('policy_identity')
    expect(posts(fake)).toBe(before)
  })
  it.each([
    ['once', 1, null, 'verified'],
    ['each time', 9, 'service_unavailable', 'unproven'],
  ])('a connection that ends %s while the receipt is fetched: it is asked for anew, and not for ever', async (_, cuts, code, status) => {
    let asked = 0
    const document = (path: string, text: string): string => {
      if (path.includes('/aci/receipts/') && asked++ < cuts) throw new Error('cut')
      return text
    }
    const c = await open((await secure({ document })).url)
    expect(await ask(c, plain)).toMatchObject({ code, proof: { status } })
    expect(asked).toBeLessThan(9)
  })
})
