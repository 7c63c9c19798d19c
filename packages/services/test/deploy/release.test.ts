import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parsePolicy } from 'veritee/policy'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { workerPolicy } from '../../src/demo/policy.ts'
import { defaultGramineDirectory } from '../../src/deploy/layout.ts'
import { collectInputs } from '../../src/deploy/manifest/inputs.ts'
import { type GramineTools, gramineSigner, measureEnclave, measurementsText, parseInputs } from '../../src/deploy/release/measure.ts'
import { sizeEnclave } from '../../src/deploy/sizing.ts'
import { makeImage } from './image.ts'

let image: Awaited<ReturnType<typeof makeImage>>
let directory: string
beforeAll(async () => {
  image = await makeImage()
  directory = await mkdtemp(join(tmpdir(), 'veritee-release-'))
  for (const role of ['worker', 'controller'] as const) {
    const sizing = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false)
    await writeFile(file(`${role}.json`), JSON.stringify(await collectInputs(image, { role, gramine: '1.9', sizing, isvsvn: 3 })))
  }
})
afterAll(async () => {
  await image.remove()
  await rm(directory, { recursive: true, force: true })
})
const file = (name: string): string => join(directory, name)

interface Done {
  readonly code: number
  readonly result: { readonly [name: string]: unknown }
}

async function run(program: 'veriteed' | 'veritee', ...args: readonly string[]): Promise<Done> {
  const path = program === 'veriteed' ? '../../src/bin/veriteed.ts' : '../../../veritee/src/bin/veritee.ts'
  const script = fileURLToPath(new URL(path, import.meta.url))
  const argv = ['--conditions=@veritee/source', '--disable-warning=ExperimentalWarning', script, ...args]
  const done: { readonly stdout: string; readonly code?: number } = await promisify(execFile)(process.execPath, argv).catch(
    (error: { stdout: string; code: number }) => error,
  )
  const { stdout, code = 0 } = done
  return { code, result: stdout.startsWith('{') ? (JSON.parse(stdout) as Done['result']) : {} }
}
const release = (...args: readonly string[]): Promise<Done> => run('veriteed', 'release', ...args, '--json')

/** Stand-ins for Gramine's programs: the signer prints as the real one does and looks at what it is given; the preprocessor says where the LibOS lies. */
async function fakeGramine(mrenclave: string, libos: string): Promise<GramineTools> {
  const tools = { sign: file('gramine-sgx-sign'), manifest: file('gramine-manifest') }
  await writeFile(
    tools.sign,
    `#!/bin/sh\nset -e\nif [ "$1" = --help ]; then exit; fi\ngrep -q 'sgx.debug = false' "$2"\ngrep -q 'RSA PRIVATE KEY' "$4"\nprintf 'Attributes:\\n    size: 1\\nMeasurement:\\n    ${mrenclave}\\n'\n`,
  )
  await writeFile(tools.manifest, `#!/bin/sh\necho 'libos = "${libos}"'\n`)
  for (const path of Object.values(tools)) await chmod(path, 0o755)
  return tools
}

it('a measurement is that of the signer; where there is none it is said to be missing', { timeout: 300_000 }, async () => {
  const inputs = parseInputs(await readFile(file('worker.json'), 'utf8'))
  const tools = await fakeGramine('ab'.repeat(32), join(image.root, defaultGramineDirectory, 'libsysdb.so'))
  const measured = await measureEnclave(inputs, gramineSigner(tools))
  expect(measured).toMatchObject({ role: 'worker', cpu_variant: 'haswell', mrenclave: 'ab'.repeat(32), isv_prod_id: 2, isv_svn: 3 })
  expect(await measureEnclave(inputs, gramineSigner({ ...tools, sign: '/nowhere/gramine-sgx-sign' }))).toEqual({ ...measured, mrenclave: null })
  await expect(measureEnclave(inputs, gramineSigner({ ...tools, sign: '/bin/false' }))).rejects.toMatchObject({ code: 'enclave_input_malformed' })
  await expect(measureEnclave(inputs, gramineSigner({ ...tools, sign: '/bin/true' }))).rejects.toMatchObject({ code: 'enclave_input_malformed' })
  // Another Gramine than that of the image would measure another PAL.
  const other = join(image.root, defaultGramineDirectory, 'runtime/glibc/libc.so.6')
  expect(await measureEnclave(inputs, gramineSigner(await fakeGramine('cd'.repeat(32), other)))).toEqual({ ...measured, mrenclave: null })
  const controller = await measureEnclave(parseInputs(await readFile(file('controller.json'), 'utf8')), async () => null)
  expect(controller.cpu_variant).toBeNull()
  expect(measurementsText([measured, controller])).toBe(measurementsText([controller, measured]))
})

it('S14, S25: measured, signed by two of three, verified, compared with another build, and a policy filled from it', async () => {
  const measured = await release('measure', '--inputs', file('worker.json'), '--inputs', file('controller.json'), '--out', file('measurements.json'))
  expect(measured).toMatchObject({ code: 0, result: { enclaves: 2 } })
  // As if Gramine had been there.
  const measurements = JSON.parse(await readFile(file('measurements.json'), 'utf8')) as { enclaves: { role: string; mrenclave: string | null }[] }
  for (const enclave of measurements.enclaves) enclave.mrenclave = (enclave.role === 'worker' ? 'e0' : 'c0').repeat(32)
  await writeFile(file('measurements.json'), JSON.stringify(measurements))
  const signers: string[] = []
  for (const name of ['a', 'b', 'c']) {
    const { result } = await run('veriteed', 'manifest', 'keygen', '--key', file(`${name}.pem`), '--json')
    signers.push('--signer', String(result.public_key))
  }
  const statement = file('statement.json')
  const stated = [
    '--product',
    'veritee',
    '--release',
    '0.1.0',
    '--commit',
    'ab'.repeat(20),
    '--sequence',
    '4',
    '--withdraw',
    '0.0.9',
    '--svn-floor',
    'worker=2',
  ]
  expect((await release('create', '--measurements', file('measurements.json'), ...stated, '--out', statement)).code).toBe(0)
  const trust = [...signers, '--threshold', '2', '--max-age', '604800', '--product', 'veritee']
  expect((await release('sign', statement, '--key', file('a.pem'))).code).toBe(0)
  expect(await release('verify', statement, ...trust)).toMatchObject({ code: 1, result: { error: { code: 'release_signatures_missing' } } })
  expect((await release('sign', statement, '--key', file('b.pem'))).result.signed_by).toHaveLength(2)
  const verified = await release('verify', statement, ...trust, '--measurements', file('measurements.json'))
  expect(verified).toMatchObject({ code: 0, result: { verified: true, release: '0.1.0', withdrawn: ['0.0.9'], rebuilt: 'equal to what you built' } })

  // Somebody built from other inputs.
  for (const enclave of measurements.enclaves) Object.assign(enclave, { inputs: `sha256:${'0'.repeat(64)}` })
  await writeFile(file('others.json'), JSON.stringify(measurements))
  expect(await release('verify', statement, ...trust, '--measurements', file('others.json'))).toMatchObject({
    code: 1,
    result: { error: { code: 'release_not_reproduced' } },
  })

  const draft = async (mrenclave: string): Promise<void> => {
    const worker = workerPolicy({ mrenclave, mrsigner: '00'.repeat(32), isvProdId: 2, isvSvn: 1 }, { m: [`sha256:${'0'.repeat(64)}`] })
    await writeFile(file('policy.json'), JSON.stringify({ version: 'veritee.policy.v1', roles: { worker } }))
  }
  const accept = (...args: readonly string[]): Promise<Done> =>
    run('veritee', 'policy', 'accept', file('policy.json'), '--release', statement, ...args, '--json')
  await draft(`UNREVIEWED:${'e0'.repeat(32)}`)
  expect(await accept(...trust)).toMatchObject({ code: 0, result: { released: ['worker'], remaining: [] } })
  expect(parsePolicy(await readFile(file('policy.json'), 'utf8')).roles.worker?.identity).toEqual([{ mrenclave: 'e0'.repeat(32) }])
  await draft(`UNREVIEWED:${'ee'.repeat(32)}`)
  expect((await accept(...trust)).code).toBe(1)
  expect((await accept()).code).toBe(2)
}, 300_000)

it.each([
  [],
  ['verify'],
  ['sign', 'x'],
  ['create', '--sequence', '0', '--out', 'x'],
  ['measure', '--out', 'x'],
  ['verify', 'x', '--key', 'y'],
  ['verify', 'x', '--inputs', 'y'],
  ['verify', 'x', '--product', 'p', '--node', 'y'],
  ['burn'],
])('wrong usage: %j', async (...args) => {
  expect((await release(...args)).code).toBe(2)
})
