import { describe, expect, test } from 'vitest'
import type { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import type { ReceiptRecord } from '../../src/enclave/runtime/receipts/record.ts'
import { sharedStore } from '../access/store.ts'

/** More than an archive remembers. */
const strangers = Array.from({ length: 5_000 }, (_, i) => `sk-${i}`)

function record(id: string, credential: string): ReceiptRecord<Buffer> {
  const rest = {
    chatId: null,
    at: 0,
    refused: false,
    keysetDigest: 'sha256:00',
    sessionId: null,
    text: Buffer.from(id),
    leaves: null,
    upstream: null,
  }
  return { id, credential, ...rest }
}

async function idsOf(archive: ReceiptArchive, credential: string): Promise<string[]> {
  return (await archive.ofCredential(archive.credentialTag(credential), 0, 100)).records.map(({ id }) => id)
}

describe('what an archive remembers of credentials', () => {
  test('changes no tag: it is the same before and after thousands of others, and at another enclave with the key', async () => {
    const shared = sharedStore()
    const [one, other] = [await shared.archive(), await shared.archive()]
    const tag = one.credentialTag('sk-mine')
    const tags = new Set(strangers.map((credential) => one.credentialTag(credential)))
    expect(tags.size).toBe(strangers.length)
    expect(tags.has(tag)).toBe(false)
    expect([one.credentialTag('sk-mine'), one.credentialTag('sk-mine'), other.credentialTag('sk-mine')]).toEqual([tag, tag, tag])
    expect((await sharedStore().archive()).credentialTag('sk-mine')).not.toBe(tag)
  })

  test('takes no receipt from an account, and gives it none of another', async () => {
    const shared = sharedStore()
    const [one, other] = [await shared.archive(), await shared.archive()]
    await one.put([record('first', one.credentialTag('sk-mine'))], new Map())
    await one.put(
      strangers.map((credential) => record(`of ${credential}`, one.credentialTag(credential))),
      new Map(),
    )
    await one.put([record('second', one.credentialTag('sk-mine')), record('third', other.credentialTag('sk-mine'))], new Map())
    for (const archive of [one, other]) {
      expect(await idsOf(archive, 'sk-mine')).toEqual(['first', 'second', 'third'])
      expect(await idsOf(archive, 'sk-7')).toEqual(['of sk-7'])
    }
  })
})
