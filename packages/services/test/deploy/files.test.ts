import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { controllerSchema } from '../../src/config/controller.ts'
import { logSchema, witnessSchema } from '../../src/config/log.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { validatorFile } from '../../src/config/validator-file.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { argumentsOf } from '../../src/deploy/layout.ts'
import { nodeFiles } from '../../src/process/files.ts'

const deploy = fileURLToPath(new URL('../../../../deploy/', import.meta.url))
const at = (path: string): string => join(deploy, path)
/** Where tools/install-deploy-tools.sh puts what Debian does not have. */
const installed = join(process.env.DEPLOY_TOOLS ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee/deploy-tools'), 'bin')
const systemTools = ['/usr/bin', '/bin']

function tool(name: string): string | null {
  return [installed, ...systemTools].map((directory) => join(directory, name)).find((path) => existsSync(path)) ?? null
}

/** A test by a real tool; where it is not installed the test names itself as left out. */
function by(name: string, title: string, run: (tool: string) => void | Promise<void>, timeout = 30_000): void {
  const path = tool(name)
  it.skipIf(path === null)(`${name}: ${title}${path === null ? ` (left out: ${name} is not installed)` : ''}`, () => run(path ?? ''), timeout)
}

function output(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', HOME: '/nonexistent' }, cwd: deploy })
  expect({ status, stderr: status === 0 ? '' : stdout + stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-deploy-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

describe('files of deploy/ are what their own tools take', () => {
  by('hadolint', 'Dockerfiles', (hadolint) => {
    for (const name of readdirSync(at('containers')).filter((one) => /ockerfile$/.test(one)))
      output(hadolint, '--failure-threshold', 'warning', at(`containers/${name}`))
  })
  by('shellcheck', 'every shell script of the repository', (shellcheck) => {
    const repository = fileURLToPath(new URL('../../../../', import.meta.url))
    const list = execFileSync('git', ['-C', repository, 'grep', '-lE', '--untracked', '^#!.*/(env )?(ba|da)?sh'], { encoding: 'utf8' })
    const scripts = list.split('\n').filter((path) => path !== '' && /^#!.*sh\n/.test(readFileSync(join(repository, path), 'utf8')))
    expect(scripts).toEqual(expect.arrayContaining(['deploy/containers/entrypoint.sh', 'tools/install-helm.sh']))
    output(shellcheck, ...scripts.map((path) => join(repository, path)))
  })
  by('promtool', 'the configuration of Prometheus', (promtool) => {
    output(promtool, 'check', 'config', '--syntax-only', at('observability/prometheus.yaml'))
  })
  by('compose-spec', 'the compose file; enclaves get two devices and the socket, and nothing with privileges', (compose) => {
    const { services } = JSON.parse(output(compose, '-format', 'json', at('compose.yaml'))) as {
      services: {
        [name: string]: {
          profiles?: string[]
          privileged?: boolean
          devices?: { source: string }[]
          cap_drop?: string[]
          command?: string[]
          volumes?: { target: string }[]
        }
      }
    }
    const profiles = new Set(Object.values(services).flatMap((service) => service.profiles ?? []))
    expect([...profiles].sort()).toEqual(['broker', 'log', 'observability', 'postgres', 'sgx', 'simulate', 'validator'])
    for (const name of ['controller', 'worker', 'broker']) {
      expect(services[name]?.devices?.map(({ source }) => source)).toEqual(['/dev/sgx_enclave', '/dev/sgx_provision'])
      expect(services[name]?.cap_drop).toEqual(['ALL'])
      expect(services[name]?.volumes?.map(({ target }) => target)).toContain('/var/run/aesmd/aesm.socket')
      expect(services[name], name).toMatchObject({
        restart: 'unless-stopped',
        healthcheck: { test: ['CMD', '/opt/entrypoint.sh', '--health'] },
        mem_limit: expect.stringMatching(/^\d+g$/),
      })
    }
    expect(services.worker).toMatchObject({ cpuset: '0-7', environment: { OMP_NUM_THREADS: '7', WORKER_PORT: '21841' } })
    expect(services.worker?.volumes?.map(({ target }) => target)).toContain('/var/lib/veritee/models')
    expect(services.controller).toMatchObject({ ports: [{ target: 8000 }, { target: 21_005 }] })
    for (const name of ['log', 'witness', 'validator']) {
      expect(services[name]?.devices ?? [], name).toEqual([])
      expect(services[name], name).toMatchObject({ read_only: true, cap_drop: ['ALL'] })
    }
    expect(Object.values(services).filter(({ privileged }) => privileged === true)).toEqual([])
  })
  by('systemd-analyze', 'units: verified, and exposed as little as 2.0 of 10', async (analyze) => {
    // The programs are not installed here; everything else is judged.
    for (const name of readdirSync(at('systemd'))) {
      const unit = readFileSync(at(`systemd/${name}`), 'utf8')
      // With the lines that are for those who need them.
      const text = unit.replace(/^ExecStart=\/usr\/bin\/[a-z-]+/m, 'ExecStart=/bin/true').replace(/^#(?=[A-Z]\w+=)/gm, '')
      await writeFile(join(directory, name.replace('@.', '@worker.')), text)
    }
    const names = readdirSync(at('systemd')).filter((name) => name.endsWith('.service'))
    expect(names).toEqual(['veritee-collateral', 'veritee-log', 'veritee-validator', 'veritee-witness', 'veritee@'].map((name) => `${name}.service`))
    const services = names.map((name) => join(directory, name.replace('@.', '@worker.')))
    output(analyze, 'verify', '--man=no', ...services, join(directory, 'veritee-collateral.timer'))
    for (const service of services) output(analyze, 'security', '--offline=true', '--no-pager', '--threshold=20', service)
  })
})

describe('services of the compose file that are no enclaves', () => {
  const { services } = parse(readFileSync(at('compose.yaml'), 'utf8'), { merge: true }) as { services: { [name: string]: { command: string[] } } }
  it.each([
    ['log', { log: { origin: 'log.example/receipts' }, witnesses: { quorum: 0 }, submitters: { any: true } }, logSchema],
    ['witness', { witness: { name: 'witness.example/w1' } }, witnessSchema],
  ] as const)('%s: its arguments are ones that the program takes', async (name, config, schema) => {
    const [command, ...args] = services[name]?.command ?? []
    expect(command).toBe(name)
    const sources = { args, environment: {}, readText: async () => JSON.stringify(config) }
    const { configuration } = await readConfiguration(schema as typeof logSchema, sources)
    expect(configuration?.values.listen).toMatchObject({ host: '0.0.0.0', port: name === 'log' ? 8090 : 8091, behind_tls: true })
  })

  it.each([
    ['log', { log: { origin: 'log.example/receipts' }, witnesses: { quorum: 0 }, submitters: { any: true } }, logSchema],
    ['witness', { witness: { name: 'witness.example/w1' } }, witnessSchema],
  ] as const)('%s: so are those of its unit, which listens on loopback; key and state are where it may reach them', async (name, config, schema) => {
    const unit = await readFile(at(`systemd/veritee-${name}.service`), 'utf8')
    const [, command, line = ''] = /^ExecStart=\/usr\/bin\/veriteed (\w+) (.*)$/m.exec(unit) ?? []
    expect(command).toBe(name)
    const sources = { args: line.replaceAll('%d', '/run/credentials').split(' '), environment: {}, readText: async () => JSON.stringify(config) }
    const { configuration } = await readConfiguration(schema as typeof logSchema, sources)
    const values = configuration?.values as { readonly [section: string]: { readonly [member: string]: unknown } } | undefined
    expect(values?.listen).toMatchObject({ host: '127.0.0.1' })
    expect(values?.[name]).toMatchObject({ data: `/var/lib/veritee-${name}/data`, key: `/run/credentials/${name}.pem` })
    expect(unit).toContain(`LoadCredential=${name}.pem:/etc/veritee-${name}/${name}.pem`)
    expect(unit).toContain(`StateDirectory=veritee-${name}\n`)
  })

  it('S16: the configuration of the guide is read, with the credentials of a log; compose file and unit give the service every file that it names', async () => {
    const guide = await readFile(at('../docs/validator-guide.md'), 'utf8')
    const [, text = ''] = /^```json\n([\s\S]*?)^```$/m.exec(guide) ?? []
    const files = ['manifest', 'scoring-policy', 'key', 'api-key-file', 'log-write-token-file', 'log-views-token-file'] as const
    const config = validatorFile(text)
    expect(config['log-url']).toMatch(/^https:/)
    const { volumes } = services.validator as unknown as { volumes: string[] }
    const mounted = volumes.map((one) => one.replace(/:ro$/, '').slice(one.replace(/:ro$/, '').lastIndexOf(':') + 1))
    for (const name of files) {
      const path = String(config[name]).replace('/etc/veritee-validator/', '/etc/veritee/')
      expect(
        mounted.some((one) => path.startsWith(`${one}/`)),
        name,
      ).toBe(true)
    }
    // Secrets stay with root, and their names are those of the guide.
    const unit = await readFile(at('systemd/veritee-validator.service'), 'utf8')
    for (const name of ['key', 'log-write-token-file', 'log-views-token-file']) {
      const path = String(config[name])
      expect(unit).toMatch(new RegExp(`^#?LoadCredential=${path.slice(path.lastIndexOf('/') + 1)}:${path}$`, 'm'))
    }
  })

  it('the image starts the program without installing or writing anything, and holds no state of who built it', async () => {
    const [, entry = '[]'] = /^ENTRYPOINT (\[.*\])$/m.exec(await readFile(at('containers/simulate.Dockerfile'), 'utf8')) ?? []
    const [program, ...args] = JSON.parse(entry) as string[]
    expect(program).toBe('node')
    const { status, stdout } = spawnSync(process.execPath, [...args, 'validator', '--help'], { encoding: 'utf8', cwd: join(deploy, '..') })
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringContaining('veriteed validator run') })
    const ignored = (await readFile(at('../.dockerignore'), 'utf8')).split('\n')
    for (const one of ['.git', '.veritee', '**/node_modules', 'deploy/configuration', 'deploy/.env']) expect(ignored).toContain(one)
  })

  it('validator: so are its own, and what its file says is read as arguments are', async () => {
    const folder = join(directory, 'validator')
    await mkdir(folder)
    const config = join(folder, 'config.json')
    await writeFile(config, JSON.stringify({ network: 'n', signer: ['ab'], threshold: 2, manifest: '/nowhere' }))
    const args = (services.validator?.command ?? []).map((one) => (one === '/etc/veritee/config.json' ? config : one))
    const veriteed = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
    const { status, stderr } = spawnSync(process.execPath, ['--conditions=@veritee/source', veriteed, ...args], { encoding: 'utf8' })
    expect({ status, stderr }).toMatchObject({ status: 2, stderr: expect.stringContaining('--threshold: expected no more than there are signers') })
  })
})

describe('the entrypoint keeps the contract of the upstream image', () => {
  let run: (
    args: readonly string[],
    env?: { readonly [name: string]: string },
    files?: readonly string[],
  ) => { status: number | null; stdout: string; stderr: string }
  let config: string
  beforeAll(async () => {
    const stub = join(directory, 'bin')
    await mkdir(stub)
    await writeFile(join(stub, 'gramine-sgx'), '#!/bin/sh\necho "started $*"\n')
    await chmod(join(stub, 'gramine-sgx'), 0o755)
    run = (args, env = {}, files = []) => {
      const configuration = join(directory, 'etc')
      execFileSync('rm', ['-rf', configuration])
      execFileSync('mkdir', [configuration])
      for (const name of files) writeFileSync(join(configuration, name), '{}')
      config = join(configuration, 'config.json')
      const own = {
        PATH: `${stub}:/usr/bin:/bin`,
        VERITEE_CONFIGURATION: configuration,
        VERITEE_HOME: directory,
        VERITEE_QCNL: join(directory, 'qcnl.conf'),
      }
      return spawnSync('/bin/sh', [at('containers/entrypoint.sh'), ...args], { encoding: 'utf8', env: { ...own, ...env } })
    }
  })

  const upstream = { CONTROLLER_HOST: '0.0.0.0', CONTROLLER_PORT: '21005', API_HOST: '0.0.0.0', API_PORT: '8000' }

  it('as a controller: its variables become a configuration that the program takes, closed unless somebody says otherwise', async () => {
    expect(run(['-m', 'controller'], upstream)).toMatchObject({ status: 0, stdout: 'started enclave\n' })
    const args = argumentsOf('controller', 4096)
    const read = async () =>
      readConfiguration(controllerSchema, {
        args: [...args.slice(args.indexOf('--tee'), -3), '--config', config],
        environment: {},
        readText: nodeFiles.readText,
      })
    expect((await read()).configuration?.values).toMatchObject({
      api: { host: '0.0.0.0', port: 8000, tls: true, open: false },
      control: { port: 21_005 },
      access: { keys: true },
    })
    run(['--mode', 'controller'], { ...upstream, VERITEE_OPEN: 'true', ENABLE_ATTESTATION_API: 'true', VERITEE_METRICS_PORT: '9090' })
    expect((await read()).configuration?.values).toMatchObject({
      api: { open: true, legacy_attest: true },
      access: { keys: false },
      metrics: { port: 9090 },
    })
    run(['-m', 'controller'])
    expect((await read()).configuration?.values).toMatchObject({ api: { host: '127.0.0.1' }, control: { port: 21_001 } })
  })

  it('as a worker: model, threads and addresses', async () => {
    const env = {
      ...upstream,
      CONTROLLER_HOST: 'controller',
      WORKER_HOST: '10.0.0.7',
      WORKER_PORT: '21841',
      MODEL_PATH: '/var/lib/veritee/models/m.gguf',
      OMP_NUM_THREADS: '16',
    }
    expect(run(['-m', 'worker'], { ...env, PCCS_URL: 'https://pccs:8081' }).status).toBe(0)
    const { configuration } = await readConfiguration(workerSchema, {
      args: ['--tee', 'gramine', '--state', '/s', '--config', config],
      environment: {},
      readText: nodeFiles.readText,
    })
    expect(configuration?.values).toMatchObject({
      listen: { host: '10.0.0.7', port: 21_841, advertise: 'https://10.0.0.7:21841' },
      models: { sources: ['/var/lib/veritee/models/m.gguf'] },
      engine: { threads: 16 },
      controllers: { urls: ['https://controller:21005'] },
    })
    expect(JSON.parse(await readFile(join(directory, 'qcnl.conf'), 'utf8'))).toMatchObject({ pccs_url: 'https://pccs:8081/sgx/certification/v4/' })
  })

  it.each([
    ['no model', ['-m', 'worker'], {}, 'MODEL_PATH'],
    ['a value that would end a string', ['-m', 'worker'], { MODEL_PATH: 'x","admission":{"direct":true},"y":"' }, 'MODEL_PATH'],
    ['a port that is none', ['-m', 'controller'], { API_PORT: '8000,"tls":false' }, 'API_PORT'],
    ['a switch that is none', ['-m', 'controller'], { VERITEE_OPEN: 'yes' }, 'VERITEE_OPEN'],
    ['another role than that of the image', ['-m', 'controller'], { VERITEE_ROLE: 'worker' }, 'worker'],
    ['another mode', ['-m', 'shell'], {}, 'controller, worker or broker'],
    ['something else', ['--mod', 'worker'], {}, '-h'],
  ])('refuses %s', (_, args, env, named) => {
    const { status, stdout, stderr } = run(args, env)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
    expect(stderr).toContain(named)
  })

  it('S25: with a manifest and a release statement beside it, each role takes those that it can', async () => {
    const read = async (role: string, files: readonly string[]): Promise<unknown> => {
      expect(run(['-m', role], { ...upstream, MODEL_PATH: 'sealed:/var/lib/veritee/models/m' }, files)).toMatchObject({ status: 0 })
      const { admission, release } = JSON.parse(await readFile(config, 'utf8')) as { admission?: unknown; release?: unknown }
      return { admission, release }
    }
    const [admission, release] = [{ manifest: '/etc/veritee/manifest.json' }, { statements: ['/etc/veritee/release.json'] }]
    for (const role of ['controller', 'worker']) {
      expect(await read(role, ['manifest.json', 'release.json']), role).toEqual({ admission, release })
      expect(await read(role, ['release.json']), role).toEqual({ release })
    }
    expect(await read('broker', ['manifest.json', 'release.json'])).toEqual({ release })
  })

  it('as a broker: its own defaults, or the file that is there; health is asked where that says, however it is laid out', async () => {
    expect(run(['-m', 'broker'])).toMatchObject({ status: 0, stdout: 'started enclave\n' })
    expect(JSON.parse(await readFile(config, 'utf8'))).toEqual({})
    const server = createServer((socket) => socket.destroy())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const health = async (text: string): Promise<number | null> => {
      const folder = join(directory, 'health')
      mkdirSync(folder, { recursive: true })
      writeFileSync(join(folder, 'config.json'), text)
      const env = { PATH: '/usr/bin:/bin', VERITEE_CONFIGURATION: folder }
      const [code] = (await once(spawn('/bin/sh', [at('containers/entrypoint.sh'), '--health'], { env, stdio: 'ignore' }), 'exit')) as [number | null]
      return code
    }
    const listening = (of: string, number: number) => ({ [of]: { host: '0.0.0.0', port: number, tls: true }, control: { port: 1 } })
    for (const of of ['api', 'listen'])
      for (const indent of [0, 2]) {
        expect(await health(JSON.stringify(listening(of, port), null, indent))).toBe(0)
        expect(await health(JSON.stringify(listening(of, 1), null, indent))).not.toBe(0)
      }
    server.close()
  })

  it('says which variables of the upstream image it does not use, takes a configuration that is there as it is, and runs a command', async () => {
    expect(run(['-m', 'controller'], { ATTESTATION: 'true', DISPATCH_METHOD: 'lottery' }).stderr).toMatch(
      /ATTESTATION is not used[\s\S]*DISPATCH_METHOD is not used/,
    )
    expect(run(['--', 'echo', 'x y']).stdout).toBe('x y\n')
    expect(run([]).stdout).toContain('-m|--mode')
    expect(run([], { VERITEE_ROLE: 'broker' }).stdout).toBe('started enclave\n')
  })
})
