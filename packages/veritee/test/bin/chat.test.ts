import { beforeAll, describe, expect, it } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { type FakeService, fakeService } from '../client/service.ts'
import { machine, measured, sha } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { expectRefusal, folder, json, type Ran, veritee } from './cli.ts'

const files = folder()
let policy: string
let root: string
beforeAll(async () => {
  policy = files.write('policy.json', JSON.stringify(policyOf()))
  root = files.write('root.pem', certificatePem((await machine()).root))
})
const delta = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
const stream = [delta('Hel'), delta('lo\n'), delta('you'), 'data: [DONE]\n\n']
const chat = (fake: Pick<FakeService, 'url'>, ...more: string[]): Promise<Ran> =>
  veritee(['chat', '--url', fake.url, '--policy', policy, '--root', root, 'What is 2 + 2?', ...more])
const posts = ({ requests }: FakeService): number => requests.filter((line) => line.startsWith('POST')).length

describe('chat', () => {
  it('prints the answer on stdout and the proof on stderr, with SIMULATED in it', async () => {
    const ran = await chat(await fakeService({ stream }))
    expect([ran.code, ran.stdout]).toEqual([0, 'Hello\nyou\n'])
    expect(ran.stderr).toMatch(/SIMULATED verified: demo-model, weights sha256:/)
    expect(ran.stderr).toContain('no hardware protects this exchange')
  })
  it('with --json prints one document: answer, proof and receipts', async () => {
    const fake = await fakeService({ stream })
    const ran = await chat(fake, '--json', '--model', 'demo-model', '--max-tokens', '5', '--temperature', '0', '--seed', '7')
    const answer = json(ran)
    expect([ran.code, ran.stderr, answer.outcome, answer.simulated]).toEqual([0, '', 'verified', true])
    expect(JSON.parse(String(answer.request))).toMatchObject({ model: 'demo-model', max_tokens: 5, temperature: 0, seed: 7, stream: true })
    expect(answer.response).toBe(stream.join(''))
    expect(fake.requests).not.toContain('GET /v1/models')
  })
  it('waits for the whole with --no-stream', async () => {
    const ran = await chat(await fakeService({ plain: JSON.stringify({ choices: [{ message: { content: 'four' } }] }) }), '--no-stream')
    expect([ran.code, ran.stdout]).toEqual([0, 'four\n'])
  })
  it('an answer of another shape is verified bytes and no text', async () => {
    for (const plain of ['no JSON', 'null', '[]', '{"choices":[null]}']) {
      const ran = await chat(await fakeService({ plain }), '--no-stream', '--model', 'demo-model')
      expect([ran.code, ran.stdout]).toEqual([0, '\n'])
    }
    const ran = await chat(
      await fakeService({ stream: ['data: {broken\n\n', 'data: {"choices":[{"delta":null}]}\n\n', delta('ok')] }),
      '--model',
      'demo-model',
    )
    expect([ran.code, ran.stdout]).toEqual([0, 'ok\n'])
  })
  it('control characters of a model never reach the terminal', async () => {
    const ran = await chat(await fakeService({ stream: [delta('a\u001b]0;owned\u0007b\u009b2Jc\r\td')] }))
    expect([ran.code, ran.stdout]).toEqual([0, 'a]0;ownedb2Jc\td\n'])
  })
  it('the API key goes to a verified service only, and is never printed', async () => {
    const fake = await fakeService({ stream })
    const ran = await veritee(['chat', '--url', fake.url, '--policy', policy, '--root', root, '--model', 'demo-model', 'hi'], {
      VERITEE_API_KEY: 'sk-secret',
    })
    expect([ran.code, fake.credentials[0], fake.credentials[1]]).toEqual([0, undefined, 'Bearer sk-secret'])
    fake.behaviour.answers['/v1/chat/completions'] = { status: 401, body: '{"error":{"message":"denied"}}' }
    const denied = await veritee(['chat', '--url', fake.url, '--policy', policy, '--root', root, '--model', 'demo-model', 'hi'], {
      VERITEE_API_KEY: 'sk-secret',
    })
    expectRefusal(denied, 3, 'service_refused')
    expect(denied.stderr).not.toContain('sk-secret')
  })
})

describe('chat refuses', () => {
  it('S14: without a policy, before a byte is sent', async () => {
    const fake = await fakeService({ stream })
    expectRefusal(await veritee(['chat', '--url', fake.url, 'hi']), 2, 'usage')
    expect(fake.requests).toEqual([])
  })
  it.each<[string, (url: string) => string[]]>([
    ['no URL', () => ['chat', '--policy', policy, 'hi']],
    ['no prompt', (url) => ['chat', '--url', url, '--policy', policy]],
    ['two prompts', (url) => ['chat', '--url', url, '--policy', policy, 'a', 'b']],
    ['another kind of URL', () => ['chat', '--url', 'ftp://x', '--policy', policy, 'hi']],
    ['an unknown role', (url) => ['chat', '--url', url, '--policy', policy, '--role', 'x', 'hi']],
  ])('%s', async (_, args) => {
    const fake = await fakeService()
    expectRefusal(await veritee(args(fake.url)), 2, 'usage')
    expect(posts(fake)).toBe(0)
  })
  it.each([
    ['--max-tokens', 'many'],
    ['--temperature', ''],
    ['--seed', '1e999'],
  ])('%s of %j', async (option, value) => {
    const fake = await fakeService()
    expectRefusal(await chat(fake, '--model', 'm', `${option}=${value}`), 2, 'usage')
    expect(posts(fake)).toBe(0)
  })
  it('an API key that is no header value, without naming it', async () => {
    const fake = await fakeService()
    const ran = await veritee(['chat', '--url', fake.url, '--policy', policy, 'hi'], { VERITEE_API_KEY: 'sk-\nsecret' })
    expectRefusal(ran, 2, 'usage')
    expect([ran.stderr.includes('secret'), fake.requests]).toEqual([false, []])
  })
  it('a service that the policy does not want: nothing is sent', async () => {
    const fake = await fakeService({ stream })
    const other = files.write('other.json', JSON.stringify(policyOf({}, { identity: [{ mrenclave: measured('other').mrenclave }] })))
    expectRefusal(await veritee(['chat', '--url', fake.url, '--policy', other, '--root', root, 'hi']), 1, 'policy_identity')
    expectRefusal(await veritee(['chat', '--url', fake.url, '--policy', policy, 'hi']), 1, 'chain_untrusted')
    expect(fake.requests).toEqual(['GET /v1/aci/attestation', 'GET /v1/aci/attestation'])
  })
  it('an answer that does not verify is 1, whatever was printed', async () => {
    const weights = files.write('weights.json', JSON.stringify(policyOf({ models: { 'demo-model': [sha('other')] } })))
    const fake = await fakeService({ stream })
    const ran = await veritee(['chat', '--url', fake.url, '--policy', weights, '--root', root, 'hi'])
    expect([ran.code, /veritee: policy_models: /.test(ran.stderr)]).toEqual([1, true])
    const changed = await chat(await fakeService({ stream, keysetDigest: sha('restarted') }))
    expectRefusal(changed, 1, 'keyset_changed')
  })
  it('a service that is not there, or withholds the receipt, is 3', async () => {
    const fake = await fakeService({ plain: '{}', answers: { '/v1/aci/receipts': { status: 404, body: '' } } })
    const ran = await chat(fake, '--no-stream', '--json')
    expect([ran.code, json(ran)]).toMatchObject([3, { verdict: 'rejected', error: { code: 'receipt_missing' } }])
    await fake.close()
    expectRefusal(await chat(fake), 3, 'service_unavailable')
  })
  it.each([
    ['no JSON', '<html>', 3, 'malformed_json'],
    ['null', 'null', 3, 'service_refused'],
    ['no list', '{"data":{"id":"x"}}', 3, 'service_refused'],
    ['no names', '{"data":[{"id":7}]}', 3, 'service_refused'],
    ['two models', '{"data":[{"id":"a\\u001b[2J"},{"id":"b"}]}', 2, 'usage'],
    ['no models', '{"data":[]}', 2, 'usage'],
  ])('a list of models that is %s', async (_, body, exit, code) => {
    const fake = await fakeService({ answers: { '/v1/models': { status: 200, body } } })
    const ran = await chat(fake)
    expectRefusal(ran, code === 'malformed_json' ? 1 : exit, code)
    expect([ran.stderr.includes('\u001b'), posts(fake)]).toEqual([false, 0])
  })
})
