import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { createEnclave, machine, measured } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { expectRefusal, folder, type Ran, veritee } from './cli.ts'
import { type Fleet, fleet } from './fleet.ts'

const files = folder()
let trust: string[]
beforeAll(async () => {
  const policy = files.write('policy.json', JSON.stringify(policyOf()))
  trust = ['--policy', policy, '--root', files.write('root.pem', certificatePem((await machine()).root))]
})
const watch = (target: Pick<Fleet, 'url'>, ...more: string[]): Promise<Ran> => veritee(['watch', target.url, ...trust, ...more])
const once = (target: Pick<Fleet, 'url'>, state: string, ...more: string[]): Promise<Ran> =>
  watch(target, '--count', '1', '--state', files.path(state), ...more)

describe('watch', () => {
  it('verifies again and again, and ends with 0 where nothing changed', async () => {
    const ran = await watch(await fleet(), '--count', '2', '--interval', '1')
    expect(ran.code).toBe(0)
    const lines = ran.stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatch(/^\d{4}-\S+Z ACCEPTED, SIMULATED, first: 1 workers, 1 models, keys sha256:[0-9a-f]{64}$/)
    expect(lines[1]).toContain('as before')
  })

  it('for a monitor: what changed since the run before, and 4', async () => {
    const target = await fleet()
    expect((await once(target, 'state')).code).toBe(0)
    expect((await once(target, 'state')).code).toBe(0)
    const [gone] = target.workers
    target.workers = [await createEnclave('worker')]
    target.models.push('new:unverified')
    const ran = await once(target, 'state')
    expect(ran.code).toBe(4)
    expect(ran.stdout).toContain(`worker ${gone?.digest} is gone`)
    expect(ran.stdout).toMatch(/worker sha256:[0-9a-f]{64} is new, code [0-9a-f]{64}/)
    expect(ran.stdout).toContain('model new:unverified is offered now')
    expect((await once(target, 'state')).code).toBe(0)
  })

  it('new keys are told of, one JSON document a line', async () => {
    const target = await fleet()
    await once(target, 'keys')
    target.controller = await createEnclave('controller')
    const ran = await once(target, 'keys', '--json')
    const document = JSON.parse(ran.stdout) as { changes: string[] }
    expect([ran.code, ran.stdout.trimEnd().includes('\n')]).toEqual([4, false])
    expect(document).toMatchObject({ verdict: 'accepted', simulated: true, now: { url: target.url } })
    expect(document.changes).toEqual([expect.stringContaining(`, is ${target.controller.digest}`)])
  })

  it('a rejection ends it at once with 1, and what was known stays', async () => {
    const target = await fleet()
    await once(target, 'rejected')
    const before = readFileSync(files.path('rejected'), 'utf8')
    target.controller = await createEnclave('controller', { measured: measured('other') })
    const ran = await watch(target, '--state', files.path('rejected'), '--interval', '86400')
    expect([ran.code, ran.stdout]).toEqual([1, expect.stringContaining('REJECTED: policy_identity')])
    expect(readFileSync(files.path('rejected'), 'utf8')).toBe(before)
  })

  it('a service that cannot be asked is asked again, and 3 at the end', async () => {
    const target = await fleet()
    await target.close()
    const ran = await watch(target, '--count', '2', '--interval', '1')
    expect([ran.code, ran.stdout.match(/UNAVAILABLE: service_unavailable/g)?.length]).toEqual([3, 2])
    const empty = await fleet([])
    expect(await watch(empty, '--count', '1')).toMatchObject({ code: 3, stdout: expect.stringContaining('UNAVAILABLE') as string })
  })

  it('S14: without a policy it is 2, and nothing is asked', async () => {
    const target = await fleet()
    expectRefusal(await veritee(['watch', target.url]), 2, 'usage')
    expect(target.requests).toEqual([])
  })

  it.each([
    ['no URL', ['--count', '1']],
    ['another scheme', ['ftp://x', '--count', '1']],
    ['no interval', ['http://127.0.0.1:1', '--interval', '0']],
    ['no count', ['http://127.0.0.1:1', '--count', 'x']],
  ])('%s is 2', async (_, args) => {
    expectRefusal(await veritee(['watch', ...args, ...trust]), 2, 'usage')
  })

  it.each([
    ['something else', () => '{}'],
    ['no JSON', () => 'x'],
    ['the state of another service', (state: string) => state.replace(/http:[^"]+/, 'http://127.0.0.1:1')],
  ])('a state that is %s is 2, and is left as it is', async (_, edit) => {
    const target = await fleet()
    await once(target, 'edited')
    const text = edit(readFileSync(files.path('edited'), 'utf8'))
    files.write('edited', text)
    expectRefusal(await once(target, 'edited'), 2, 'usage')
    expect(readFileSync(files.path('edited'), 'utf8')).toBe(text)
  })
})
