import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { formatCollateral, parseQuote } from '../../src/attestation/index.ts'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { createSimPlatform, type SimPlatform } from '../../src/attestation/sim/index.ts'
import { toHex } from '../../src/bytes/index.ts'
import { enclave } from '../collateral/evidence.ts'
import { type Behaviour, type FakePccs, startPccs } from '../collateral/pccs.ts'
import { fresh, type Ran, veritee } from './cli.ts'

let directory: string
let platform: SimPlatform
let quotePath: string
let output: string
const running: FakePccs[] = []

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-collateral-'))
  // Issued now: the program looks at the clock of the machine.
  platform = await createSimPlatform({ at: new Date() })
  quotePath = join(directory, 'quote.bin')
  output = join(directory, 'collateral.json')
  await writeFile(quotePath, await platform.quote(enclave, new Uint8Array(64)))
  await writeFile(join(directory, 'root.pem'), certificatePem(platform.root))
})
afterEach(async () => {
  for (const pccs of running.splice(0)) await pccs.close()
  await rm(output, { force: true })
})
afterAll(() => rm(directory, { recursive: true, force: true }))

async function serve(behaviour: Behaviour = {}): Promise<FakePccs> {
  const pccs = await startPccs(platform.collateral, behaviour)
  running.push(pccs)
  return pccs
}

/** Without the cache of whoever runs the tests: an earlier server on the same port would be found in it, with the collateral of another root. */
function fetchWith(args: readonly string[]): Promise<Ran> {
  return veritee(['collateral', 'fetch', '--no-cache', ...args])
}

describe('collateral fetch', () => {
  test('writes what verify reads', async () => {
    const { url, requests } = await serve()
    const { code, stdout, stderr } = await fetchWith([quotePath, '-o', output, '--pcs', url])
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain('nothing was verified')
    expect(stderr).toContain('evaluationDataNumber 20')
    expect(requests.some((path) => path.includes('update=standard'))).toBe(true)
    expect(await readFile(output, 'utf8')).toBe(`${formatCollateral(platform.collateral)}\n`)
    const verified = await veritee(['verify', quotePath, '--collateral', output, '--root', join(directory, 'root.pem'), '--json'])
    expect((JSON.parse(verified.stdout) as { error: { code: string } }).error.code).toBe('policy_simulated')
  })

  test('--json: a summary on standard output, nothing beside it', async () => {
    const { url } = await serve()
    const { code, stdout, stderr } = await fetchWith([quotePath, '-o', output, '--pcs', url, '--update', 'early', '--json'])
    expect([code, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toEqual({
      source: url,
      cached: false,
      tee: 'sgx',
      fmspc: '53494d000000',
      evaluationDataNumber: 20,
      expires: expect.stringMatching(/Z$/),
      collateral: output,
      quote: null,
    })
  })

  test('--pcs more than once: the first that serves; the others are named', async () => {
    const [bad, good] = [await serve({ answer: (_, answer) => ({ ...answer, status: 500 }) }), await serve()]
    const { code, stderr } = await fetchWith([quotePath, '-o', output, '--pcs', bad.url, '--pcs', good.url])
    expect(code).toBe(0)
    expect(stderr).toContain(`${bad.url}: `)
    expect(stderr).toContain('answered 500')
  })

  test('P23: --evaluation-number asks for that number and takes no other', async () => {
    const { url, requests } = await serve()
    expect((await fetchWith([quotePath, '-o', output, '--pcs', url, '--evaluation-number', '20'])).code).toBe(0)
    expect(requests.filter((path) => path.includes('tcbEvaluationDataNumber=20'))).toHaveLength(2)
    const { code, stderr } = await fetchWith([quotePath, '-o', output, '--pcs', url, '--evaluation-number', '19'])
    expect(code).toBe(3)
    expect(stderr).toContain('collateral_unavailable')
  })

  test('the second time from the cache, under XDG_CACHE_HOME', async () => {
    const { url, requests } = await serve()
    const cache = join(directory, 'cache')
    for (const cached of [false, true]) {
      const { stdout } = await fresh(['collateral', 'fetch', quotePath, '-o', output, '--pcs', url, '--json'], { XDG_CACHE_HOME: cache })
      expect(JSON.parse(stdout)).toMatchObject({ cached })
    }
    expect(requests).toHaveLength(4)
    expect(await readdir(join(cache, 'veritee', 'collateral'))).toHaveLength(1)
  })

  test('--complete: a quote without its PCK chain gets it', async () => {
    const { certification } = parseQuote(await readFile(quotePath).then((bytes) => new Uint8Array(bytes)))
    if (certification.kind === 'platform') throw new Error('expected a chain')
    const chain = new TextDecoder().decode(certification.pem).replaceAll('\0', '')
    const end = chain.indexOf('-----END CERTIFICATE-----') + 26
    const { url } = await serve({ pckChain: [chain.slice(0, end), chain.slice(end)] })
    const bare = join(directory, 'bare.hex')
    await writeFile(bare, toHex(await platform.quote(enclave, new Uint8Array(64), { certification: 3 })))
    const complete = join(directory, 'complete.bin')
    const without = await fetchWith([bare, '-o', output, '--pcs', url])
    expect([without.code, without.stderr.includes('--complete FILE is required')]).toEqual([2, true])
    expect((await fetchWith([bare, '-o', output, '--pcs', url, '--complete', complete])).code).toBe(0)
    const verified = await veritee(['verify', complete, '--collateral', output, '--root', join(directory, 'root.pem'), '--json'])
    expect((JSON.parse(verified.stdout) as { error: { code: string } }).error.code).toBe('policy_simulated')
  })

  test('nothing is written where nothing was fetched: exit 3', async () => {
    const { url } = await serve({ answer: () => null })
    expect((await fetchWith([quotePath, '-o', output, '--pcs', url])).code).toBe(3)
    await expect(readFile(output)).rejects.toThrow()
  })

  test('a file that is no quote: exit 1; one that is not there: exit 3', async () => {
    const { url } = await serve()
    expect((await fetchWith([join(directory, 'root.pem'), '-o', output, '--pcs', url])).code).toBe(1)
    expect((await fetchWith([join(directory, 'absent'), '-o', output, '--pcs', url])).code).toBe(3)
    expect((await fetchWith([quotePath, '-o', join(directory, 'absent', 'file'), '--pcs', url])).code).toBe(3)
  })

  test.for([
    ['no -o', []],
    ['both ways of naming an evaluation', ['-o', 'x', '--update', 'early', '--evaluation-number', '20']],
    ['an unknown channel', ['-o', 'x', '--update', 'late']],
    ['a number that is none', ['-o', 'x', '--evaluation-number', '-1']],
    ['plain HTTP to elsewhere', ['-o', 'x', '--pcs', 'http://pccs.example']],
    ['an unknown option', ['-o', 'x', '--force']],
  ] as const)('%s: exit 2', async ([, args]) => {
    expect((await fetchWith([quotePath, ...args])).code).toBe(2)
  })

  test('--help', async () => {
    expect(await veritee(['collateral', 'fetch', '--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('--evaluation-number') })
    expect((await veritee(['collateral'])).code).toBe(2)
  })
})
