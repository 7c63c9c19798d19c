import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { logSchema, witnessSchema } from '../../src/config/log.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { makePublisherKey } from '../../src/models/sealing/keys.ts'
import { nodeFiles } from '../../src/process/files.ts'
import { startLogProcess } from '../../src/process/log.ts'
import { startWitnessProcess } from '../../src/process/witness.ts'
import { allValues, helm, leastValues, objects, type Resource, verifierKey } from '../kubernetes/chart.ts'
import { startController, startWorker } from '../process/start.ts'

const deploy = fileURLToPath(new URL('../../../../deploy/', import.meta.url))
const left = helm === null ? ' (left out: Helm is not built: tools/install-helm.sh)' : ''
const program = {
  codeDigest: async () => '00'.repeat(32),
  findModel: async () => Promise.reject(new Error()),
  openEngine: async () => Promise.reject(new Error()),
  anchors: null,
}

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-listeners-'))
  await writeFile(join(directory, 'token'), 'x'.repeat(40), { mode: 0o600 })
})
afterAll(() => rm(directory, { recursive: true, force: true }))

type Config = { readonly [section: string]: { readonly [member: string]: unknown } }

/** What a configuration says of listeners and of who may use them; what it says of files and others has no place on this machine. */
const listenersOf = (config: Config): Config =>
  Object.fromEntries(
    Object.entries(config).filter(([section]) => ['api', 'control', 'listen', 'access', 'metrics', 'admin', 'logs', 'operations'].includes(section)),
  )

const file = (name: string, config: Config): string => {
  const path = join(directory, `${name}.json`)
  writeFileSync(path, JSON.stringify(config))
  return path
}

/** Starts it simulated, on ports that are free, with the risks of simulation said, and nothing else changed. */
async function startsAsController(name: string, config: Config, trusting: readonly string[]): Promise<void> {
  const free = ['--port', '0', '--control-port', '0', '--i-know-this-is-simulated']
  const admin = config.admin === undefined ? [] : ['--admin-port', '0', '--admin-token-file', join(directory, 'token')]
  const metrics = config.metrics === undefined ? [] : ['--metrics-port', '0', '--metrics-token-file', join(directory, 'token')]
  const place = ['--tee', 'simulate', '--state', join(directory, name), '--config', file(name, listenersOf(config))]
  const started = await startController([...place, ...free, ...admin, ...metrics, ...trusting])
  await started.close()
}

async function startsAsWorker(name: string, config: Config, trusting: readonly string[]): Promise<void> {
  const free = ['--port', '0', '--model', 'demo', '--i-know-this-is-simulated', ...trusting]
  const metrics = config.metrics === undefined ? [] : ['--metrics-port', '0', '--metrics-token-file', join(directory, 'token')]
  const place = ['--tee', 'simulate', '--state', join(directory, name), '--config', file(name, listenersOf(config))]
  const started = await startWorker([...place, ...free, ...metrics])
  await started.close()
}

describe('S22: what deployments write opens the listeners that it names, beyond loopback and no further than it says', () => {
  let ofWorkers: readonly string[]
  let ofControllers: readonly string[]
  beforeAll(async () => {
    // Something to trust on either side.
    const worker = await startWorker(['--tee', 'simulate', '--state', join(directory, 'w'), '--port', '0', '--model', 'demo'])
    ofWorkers = ['--policy', join(directory, 'w/policy.json'), '--root', join(directory, 'w/root.pem')]
    const controller = await startController([
      '--tee',
      'simulate',
      '--state',
      join(directory, 'c'),
      '--port',
      '0',
      '--control-port',
      '0',
      ...ofWorkers,
    ])
    ofControllers = ['--controller-policy', join(directory, 'c/policy.json'), '--root', join(directory, 'c/root.pem')]
    await controller.close()
    await worker.close()
  }, 60_000)

  const compose = parse(readFileSync(join(deploy, 'compose.yaml'), 'utf8'), { merge: true }) as {
    services: { [name: string]: { command: string[]; environment?: { [name: string]: string } } }
  }

  /** What the entrypoint makes of the variables that the compose file gives a service. */
  function written(name: string): Config {
    const folder = join(directory, `entrypoint-${name}`)
    mkdirSync(folder, { recursive: true })
    // Where the environment of the host decides, the default that the file names.
    const said = Object.entries(compose.services[name]?.environment ?? {}).map(([variable, value]) => [
      variable,
      value.replace(/^\$\{\w+:-(.*)\}$/, '$1'),
    ])
    const env = { PATH: '/usr/bin:/bin', VERITEE_CONFIGURATION: folder, VERITEE_HOME: folder, ...Object.fromEntries(said) }
    spawnSync('/bin/sh', [join(deploy, 'containers/entrypoint.sh'), ...(compose.services[name]?.command ?? [])], { env, encoding: 'utf8' })
    return JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Config
  }

  it('compose, controller and worker: by what the entrypoint makes of the variables there', async () => {
    const controller = written('controller')
    expect(controller).toMatchObject({ api: { host: '0.0.0.0', open: false }, control: { host: '0.0.0.0' }, access: { keys: true } })
    await startsAsController('compose-controller', controller, ofWorkers)
    await startsAsWorker('compose-worker', written('worker'), ofControllers)
    await expect(startsAsWorker('compose-direct', written('worker'), ['--direct'])).rejects.toMatchObject({ code: 'usage' })
  }, 60_000)

  it.each(['log', 'witness'] as const)('compose, %s: by its arguments', async (name) => {
    const [command, ...args] = compose.services[name]?.command ?? []
    expect(command).toBe(name)
    await startsBare(
      name,
      args,
      name === 'log'
        ? { log: { origin: 'log.example/receipts' }, witnesses: { quorum: 0 }, submitters: { any: true } }
        : { witness: { name: 'witness.example/w1', logs: [verifierKey('log.example/receipts', 1)] } },
    )
  })

  it.skipIf(left !== '')(
    `the chart, each configuration that it writes${left}`,
    async () => {
      for (const [which, values] of [leastValues(), allValues()].entries())
        for (const map of objects(values).filter((one: Resource) => one.kind === 'ConfigMap' && one.data['config.json'] !== undefined)) {
          const component: string = map.metadata.labels['app.kubernetes.io/component']
          const config = JSON.parse(map.data['config.json'].replaceAll('@ADDRESS@', '10.1.2.3')) as Config
          const name = `chart-${which}-${component}`
          if (component === 'controller') await startsAsController(name, config, ofWorkers)
          else if (component.startsWith('worker-')) await startsAsWorker(name, config, ofControllers)
          else if (component === 'log' || component === 'witness') await startsBare(component, [], config)
        }
    },
    120_000,
  )

  /** A log or a witness, with a key of its own and its files here, on a port that is free. */
  async function startsBare(name: 'log' | 'witness', args: readonly string[], config: object): Promise<void> {
    const folder = await mkdtemp(join(directory, `${name}-`))
    const key = join(folder, 'key.pem')
    await makePublisherKey(key)
    const own: { readonly [option: string]: string } = { '--key': key, '--data': join(folder, 'data'), '--config': 'config.json', '--port': '0' }
    const kept = args.filter((one, i) => own[one] === undefined && own[args[i - 1] ?? ''] === undefined)
    const sources = { args: [...kept, ...Object.entries(own).flat()], environment: {}, readText: async () => JSON.stringify(config) }
    const options = { program, files: nodeFiles, report: () => undefined, now: () => new Date() }
    if (name === 'log') {
      const { configuration } = await readConfiguration(logSchema, sources)
      if (configuration === null) throw new TypeError('no configuration')
      await (await startLogProcess({ ...options, configuration })).close()
    } else {
      const { configuration } = await readConfiguration(witnessSchema, sources)
      if (configuration === null) throw new TypeError('no configuration')
      await (await startWitnessProcess({ ...options, configuration })).close()
    }
  }
})
