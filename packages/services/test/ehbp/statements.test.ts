import { parseStatement } from 'veritee/receipt'
import { expect, test } from 'vitest'
import type { OpenedExchange } from '../../src/enclave/runtime/ehbp/exchange.ts'
import { SealedStatements } from '../../src/enclave/runtime/ehbp/statements.ts'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import type { Ledger, ReceiptFacts } from '../../src/enclave/runtime/ledger.ts'

const digest = `sha256:${'11'.repeat(32)}`
const facts: ReceiptFacts = { chatId: null, model: null, endpoint: '/', stream: null, events: [] }
const ledger = { open: () => ({ id: 'rcpt-1', finish: async () => Buffer.from('{}'), abandon: () => undefined }) } as unknown as Ledger

function begun(sign: () => Uint8Array) {
  const { promise: responseHash, resolve: end } = Promise.withResolvers<string>()
  const exchange: OpenedExchange = {
    enc: '22'.repeat(32),
    responseNonce: '33'.repeat(32),
    receiptCredential: () => '44'.repeat(32),
    binding: null,
    wire: { requestHash: digest, responseHash },
  }
  const identity = { keysetDigest: digest, receiptKeyId: 'receipt-1', signReceipt: sign } as unknown as Identity
  const statements = new SealedStatements()
  return { statements, receipt: statements.open(ledger, identity, exchange, { clientNonce: null, sessionId: null }), end: () => end(digest) }
}

test('a statement is there once the answer is over, and not before', async () => {
  const { statements, receipt, end } = begun(() => new Uint8Array(64))
  expect(await receipt.finish(facts)).toEqual(Buffer.from('{}'))
  let found: string | null | undefined
  const asked = statements.find('rcpt-1').then((text) => {
    found = text
  })
  await new Promise((resolve) => setImmediate(resolve))
  expect(found).toBeUndefined()
  end()
  await asked
  expect(parseStatement(found ?? '').statement.response_hash).toBe(digest)
})

test('one that cannot be signed is none, and ends no process', async () => {
  const { statements, receipt, end } = begun(() => {
    throw new TypeError('no key')
  })
  await receipt.finish(facts)
  end()
  expect(await statements.find('rcpt-1')).toBeNull()
})
