import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { formatCollateral, intelSgxRootCa } from 'veritee/attestation'
import { createSimPlatform, type SimEnclave, type SimPlatform } from 'veritee/attestation/sim'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import type { Policy, Role } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { brokerPolicy, demoPolicy } from '../../src/demo/policy.ts'
import { paths, productIds } from '../../src/deploy/layout.ts'
import type { Image } from '../../src/deploy/manifest/inputs.ts'
import { makeManifest } from '../../src/deploy/manifest/make.ts'
import { sizeEnclave } from '../../src/deploy/sizing.ts'
import { readTrace } from '../bundle/trace.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { configurations, imageOfThisMachine, put, rootOf, type StartOfManifest, startOf, startTraced, type Traced } from './as-manifest.ts'
import { serveQuotes } from './quote-files.ts'

/** strace, and the right to mount and to change the root directory. */
function possible(): boolean {
  try {
    execFileSync('/usr/bin/unshare', ['--mount', '/usr/bin/strace', '-f', '-o', '/dev/null', '/usr/sbin/chroot', '/', '/bin/true'], {
      stdio: 'ignore',
    })
    return true
  } catch {
    return false
  }
}
const left = possible() ? '' : ' (left out: strace is not there, or nobody here may mount or change the root directory)'
const model = `${paths.models}/veritee-demo.gguf`
const code = (role: Role): SimEnclave => ({
  mrenclave: createHash('sha256').update(role).digest('hex'),
  mrsigner: '11'.repeat(32),
  isvProdId: productIds[role],
  isvSvn: 1,
})
const policy: Policy = demoPolicy({ controller: code('controller'), worker: code('worker') }, { 'veritee-demo': [`sha256:${demoSha256}`] })

let directory: string
let image: Image
let platform: SimPlatform
beforeAll(async () => {
  if (left !== '') return
  directory = await mkdtemp(join(tmpdir(), 'veritee-start-'))
  const anchors = join(directory, 'anchors.json')
  const accepted = { version: policy.version, roles: { worker: policy.roles.worker } }
  await writeFile(
    anchors,
    JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: accepted, models: [[demoSha256]] }),
  )
  const builder = fileURLToPath(new URL('../../../../tools/bundle.ts', import.meta.url))
  // x64: the one variant that runs on every machine.
  await promisify(execFile)(process.execPath, [builder, '--out', join(directory, 'bundle'), '--cpu-variant', 'x64', '--anchors', anchors])
  image = await imageOfThisMachine(join(directory, 'image'), join(directory, 'bundle'))
  platform = await createSimPlatform({ at: new Date() })
}, 120_000)
afterAll(async () => {
  if (left === '') await rm(directory, { recursive: true, force: true })
})

/** Starts a role as its manifest says; `use` gets its ready line. Gives what strace saw. */
async function asManifest(
  role: 'worker' | 'controller' | 'broker',
  use: (ready: Awaited<Traced['ready']>) => Promise<void>,
): Promise<{ readonly start: StartOfManifest; readonly seen: ReturnType<typeof readTrace>; readonly threads: number }> {
  const root = join(directory, role)
  const sizing = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false)
  const start = startOf((await makeManifest(image, { role, gramine: '1.9', sizing, isvsvn: 1 })).text)
  await rootOf(start, image, root)
  await put(join(root, paths.configuration, 'config.json'), JSON.stringify(configurations[role]))
  await put(join(root, paths.configuration, 'collateral.json'), formatCollateral(platform.collateral))
  if (role === 'worker') {
    await mkdir(join(root, paths.models), { recursive: true })
    await copyFile(demoPath, join(root, model))
  }
  const quotes = await serveQuotes(join(root, 'dev/attestation'), platform, code(role))
  const trace = join(directory, `${role}.trace`)
  const started = startTraced(start, root, trace)
  try {
    await use(await started.ready)
    expect(await started.stop()).toBe(0)
  } finally {
    await started.stop()
    await quotes.stop()
  }
  // What chroot itself opens, on this machine, is before the change of root.
  const [, afterwards = ''] = (await readFile(trace, 'utf8')).split(/^\d+ +chroot\(.*\n/m)
  return { start, seen: readTrace(afterwards, '/'), threads: afterwards.match(/ clone3?\(.*CLONE_THREAD/g)?.length ?? 0 }
}

/** What Gramine makes itself, whatever the manifest says; and figures that it lacks and that Node does without. */
const ofGramine = [
  /^\/dev\/(?:null|urandom|attestation(?:\/.*)?)$/,
  /^\/proc\/(?:cpuinfo|meminfo|stat|(?:self|\d+)\/(?:maps|fd\/\d+|stat|status))$/,
  /^\/sys\/devices\/system\/(?:cpu|node)(?:\/.*)?$/,
  /^\/lib64\/ld-linux-x86-64\.so\.2$/,
  /^\/proc\/(?:vmstat|version_signature|self\/(?:cgroup|mountinfo))$/,
]
const madeByGramine = (path: string): boolean => ofGramine.some((one) => one.test(path))

function expectWithin({ start, seen, threads }: Awaited<ReturnType<typeof asManifest>>, role: 'worker' | 'controller' | 'broker'): void {
  expect(seen.programs).toEqual([paths.node])
  expect(seen.processes).toEqual([])
  // Its first thread and Gramine's own three come to these.
  expect(threads + 4).toBeLessThanOrEqual(start.maxThreads)
  const mounted = start.mounts.flatMap(({ type = 'chroot', path, uri = '' }) =>
    type === 'chroot' ? start.trusted.filter((file) => file.startsWith(uri.slice(5))).map((file) => path + file.slice(uri.length - 5)) : [],
  )
  const data = [paths.configuration, paths.state, paths.temporary, ...(role === 'worker' ? [paths.models, paths.weights] : [])]
  const within = (path: string, directories: readonly string[]): boolean => directories.some((one) => path === one || path.startsWith(`${one}/`))
  // The engine looks into the directories of its libraries.
  const holdsTrusted = (path: string): boolean => mounted.some((file) => file.startsWith(`${path}/`))
  expect([...seen.read].filter((path) => !mounted.includes(path) && !holdsTrusted(path) && !within(path, data) && !madeByGramine(path))).toEqual([])
  expect([...seen.written].filter((path) => !within(path, [paths.state, paths.temporary, paths.weights]) && !madeByGramine(path))).toEqual([])
  expect(seen.read).toContain(`${paths.bundle}/${role}.mjs`)
  expect(seen.read).toContain(`${paths.configuration}/config.json`)
}

async function verified(url: string, accepted: Policy, role: Role): Promise<Awaited<ReturnType<typeof connect>>> {
  const trust = { roots: [intelSgxRootCa, platform.root] as const }
  return connect(nodeTransport(url), { policy: accepted, trust, role, now: () => new Date() })
}

describe.skipIf(left !== '')(
  `S12, S13: with the arguments, the environment and the files of its manifest and no others, each role starts as an enclave would; the quote device is a stand-in${left}`,
  () => {
    it('a worker: its report verifies, it answers, and nothing was opened or written beside what the manifest names', async () => {
      const done = await asManifest('worker', async ({ url }) => {
        const service = await verified(url, policy, 'worker')
        const answer = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0 }))
        expect(answer.proof).toMatchObject({ outcome: 'verified', simulated: true, model: { files: [{ sha256: `sha256:${demoSha256}` }] } })
      })
      expectWithin(done, 'worker')
      expect([...done.seen.written].some((path) => path.startsWith(`${paths.weights}/`))).toBe(true)
    }, 90_000)

    it('a controller: its report verifies', async () => {
      expectWithin(await asManifest('controller', async ({ url }) => void (await verified(url, policy, 'controller'))), 'controller')
    }, 60_000)

    it('a key broker: its report verifies', async () => {
      expectWithin(await asManifest('broker', async ({ url }) => void (await verified(url, brokerPolicy(code('broker')), 'broker'))), 'broker')
    }, 60_000)
  },
)
