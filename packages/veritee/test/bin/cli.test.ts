import { beforeAll, describe, expect, it } from 'vitest'
import { formatCollateral } from '../../src/attestation/index.ts'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { fakeService } from '../client/service.ts'
import { at, enclave, lenient, sgxClaims, soon } from '../policy/documents.ts'
import { machine } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { folder, fresh, veritee } from './cli.ts'

const files = folder()
let verify: string[]
let policy: string
beforeAll(async () => {
  const platform = await createSimPlatform({ at })
  const quote = files.write('quote.bin', await platform.quote(enclave, new Uint8Array(64)))
  const collateral = files.write('collateral.json', formatCollateral(platform.collateral))
  const root = files.write('root.pem', certificatePem(platform.root))
  policy = files.write('policy.json', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: lenient(await sgxClaims()) } }))
  verify = ['verify', quote, '--collateral', collateral, '--root', root, '--at', soon.toISOString()]
})

/** In a process of its own, and the same through the process that the other files keep. */
async function both(args: readonly string[]): Promise<Awaited<ReturnType<typeof fresh>>> {
  const ran = await fresh(args)
  expect(await veritee(args)).toEqual(ran)
  return ran
}

describe('a process of its own', () => {
  it('ends with 0 for what is accepted', async () => {
    const ran = await both([...verify, '--policy', policy])
    expect([ran.code, ran.stderr]).toEqual([0, ''])
  })
  it('ends with 1 for what is rejected, and stdout is one JSON document', async () => {
    const ran = await both([...verify, '--json'])
    expect([ran.code, ran.stderr, JSON.parse(ran.stdout)]).toMatchObject([1, '', { verdict: 'rejected', error: { code: 'policy_simulated' } }])
  })
  it('ends with 2 for wrong usage, with one line and no stack', async () => {
    const ran = await both(['verify', '--no-such-option'])
    expect([ran.code, ran.stdout]).toEqual([2, ''])
    expect(ran.stderr).toMatch(/^veritee: usage: [^\n]+\n(next: [^\n]+\n)?$/)
  })
  it('ends with 3 for what is not there', async () => {
    const ran = await both(['inspect', files.path('none'), '--json'])
    expect([ran.code, JSON.parse(ran.stdout)]).toMatchObject([3, { error: { code: 'file_unavailable' } }])
    expect(ran.stderr).toMatch(/^veritee: file_unavailable: [^\n]+\n(next: [^\n]+\n)?$/)
  })
  it('chats and ends by itself, with nothing left open', async () => {
    const fake = await fakeService({ stream: ['data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', 'data: [DONE]\n\n'] })
    const root = files.write('other-root.pem', certificatePem((await machine()).root))
    const own = files.write('chat-policy.json', JSON.stringify(policyOf()))
    const ran = await fresh(['chat', '--url', fake.url, '--policy', own, '--root', root, 'hello'])
    expect([ran.code, ran.stdout]).toEqual([0, 'hi\n'])
    expect(ran.stderr).toContain('SIMULATED verified')
  })
  it('takes the prompt from standard input where there is none in the arguments', async () => {
    const fake = await fakeService({ stream: ['data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', 'data: [DONE]\n\n'] })
    const root = files.write('other-root.pem', certificatePem((await machine()).root))
    const own = files.write('chat-policy.json', JSON.stringify(policyOf()))
    const args = ['chat', '--url', fake.url, '--policy', own, '--root', root, '--json']
    const ran = await fresh(args, {}, 'what is\n2 + 2?\n')
    const { request } = JSON.parse(ran.stdout) as { request: string }
    expect([ran.code, JSON.parse(request)]).toMatchObject([0, { messages: [{ role: 'user', content: 'what is\n2 + 2?\n' }] }])
    expect((await fresh(args)).code).toBe(2)
  })
})
