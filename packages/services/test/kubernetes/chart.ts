import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv, type ValidateFunction } from 'ajv'
import { parse, parseAllDocuments } from 'yaml'

export const chart: string = fileURLToPath(new URL('../../../../deploy/kubernetes/veritee', import.meta.url))
const schemas = new URL('../../../../deploy/kubernetes/schemas/', import.meta.url)

const helmFile = join(process.env.HELM_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee/helm'), 'helm')
/** Null where it was not built (tools/install-helm.sh). */
export const helm: string | null = existsSync(helmFile) ? helmFile : null

export type Values = { readonly [name: string]: unknown }
// biome-ignore lint/suspicious/noExplicitAny: objects of a cluster, which the schemas judge
export type Resource = any

const digest = `sha256:${'a'.repeat(64)}`

/** A verifier key of nobody: https://c2sp.org/signed-note, type 1 for a log and 4 for a witness. */
export function verifierKey(name: string, type: 1 | 4): string {
  const key = Buffer.alloc(33, type)
  const id = createHash('sha256').update(`${name}\n`).update(key).digest('hex').slice(0, 8)
  return `${name}+${id}+${key.toString('base64')}`
}

/** The least that is accepted. */
export function leastValues(): Values {
  return {
    admission: { configMap: 'manifest' },
    controller: { image: { repository: 'example/controller', digest }, metricsTokenSecret: 'figures' },
    workerDefaults: { image: { digest }, metricsTokenSecret: 'figures' },
    workers: [{ name: 'demo', models: ['sealed:/var/lib/veritee/models/demo'], modelNames: ['veritee-demo'] }],
    broker: { image: { digest }, metricsTokenSecret: 'figures' },
  }
}

/** Everything that can be turned on. */
export function allValues(): Values {
  return {
    nameOverride: 'inference',
    imagePullSecrets: ['registry'],
    admission: { configMap: 'manifest' },
    collateral: { configMap: 'collateral' },
    releases: { configMap: 'releases', keys: ['release.json', 'release-next.json'] },
    transparency: { url: 'http://inference-log:8090', origin: 'log.example/receipts' },
    sgx: {
      quoteProvider: '',
      aesmHostPath: '/var/run/aesmd',
      supplementalGroups: [1001],
      tolerations: [{ key: 'sgx', operator: 'Exists', effect: 'NoSchedule' }],
    },
    controller: {
      image: { repository: 'example/controller', digest },
      metricsTokenSecret: 'figures',
      adminTokenSecret: 'admin',
      store: { url: 'postgres://veritee@database:5432/veritee', passwordSecret: 'database' },
      config: { routing: { queue_seconds: 20 } },
      service: { type: 'LoadBalancer', annotations: { 'example.com/scheme': 'internal' } },
      autoscaling: { kind: 'hpa' },
      annotations: { 'example.com/team': 'inference' },
      affinity: { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } },
      topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway' }],
    },
    workerDefaults: { image: { digest }, metricsTokenSecret: 'figures', operatorKeySecret: 'operator', storage: { className: 'fast' } },
    workers: [
      { name: 'small', models: ['sealed:/var/lib/veritee/models/small'], modelNames: ['small'], modelClaim: 'models', autoscaling: { kind: 'keda' } },
      { name: 'large', replicas: 3, models: ['sealed:/var/lib/veritee/models/large'], modelNames: ['large', 'large-2'], threads: 15, epc: '96Gi' },
    ],
    broker: { image: { digest }, metricsTokenSecret: 'figures', adminTokenSecret: 'admin' },
    validator: {
      enabled: true,
      image: { digest },
      network: 'example',
      signers: ['ab'.repeat(32), 'cd'.repeat(32)],
      keySecret: 'validator',
      scoringPolicyConfigMap: 'scoring',
      apiKeysSecret: 'accounts',
      controllers: [`https://controller.example:8000=${'ef'.repeat(32)}`],
      models: ['small=/var/lib/veritee/models/small.gguf'],
      modelClaim: 'models',
      beacons: ['https://beacon.example'],
      log: { url: 'https://log.example:8443/receipts', writeTokenSecret: 'log-commitments', viewsTokenSecret: 'log-views' },
      config: { accounts: 8, peer: ['https://other.example/epochs'] },
    },
    log: {
      enabled: true,
      image: { digest },
      origin: 'log.example/receipts',
      keySecret: 'log',
      witnesses: [`${verifierKey('witness.example/w1', 4)} https://witness.example`],
      operators: ['ef'.repeat(32)],
      writeTokenSecret: 'log-write',
      viewsTokenSecret: 'log-views',
      from: [{ podSelector: {} }],
    },
    witness: {
      enabled: true,
      image: { digest },
      name: 'witness.example/w2',
      keySecret: 'witness',
      logs: [verifierKey('other.example/log', 1)],
    },
    networkPolicy: { apiFrom: [{ ipBlock: { cidr: '10.0.0.0/8' } }], databaseTo: [{ podSelector: { matchLabels: { app: 'postgres' } } }] },
    serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
    prometheusRule: { enabled: true },
    dashboards: { enabled: true },
    pccs: { enabled: true, image: { repository: 'example/pccs', digest }, configSecret: 'pccs', tlsSecret: 'pccs-tls' },
  }
}

function run(command: string, args: readonly string[], values: Values): { readonly code: number | null; readonly out: string; readonly err: string } {
  if (helm === null) throw new Error('helm is not there')
  const folder = mkdtempSync(join(tmpdir(), 'veritee-chart-'))
  try {
    const file = join(folder, 'values.json')
    writeFileSync(file, JSON.stringify(values))
    const { status, stdout, stderr } = spawnSync(helm, [command, ...args, '--values', file, '--kube-version', '1.33.4'], {
      encoding: 'utf8',
      env: { ...process.env, HOME: folder },
    })
    return { code: status, out: stdout, err: stderr }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const lint = (values: Values) => run('lint', ['--strict', chart], values)
export const template = (values: Values) => run('template', ['release', chart, '--namespace', 'inference'], values)

/** The objects that the chart makes of these values. */
export function objects(values: Values): readonly Resource[] {
  const { code, out, err } = template(values)
  if (code !== 0) throw new Error(err)
  return parseAllDocuments(out)
    .map((document) => {
      if (document.errors[0] !== undefined) throw document.errors[0]
      return document.toJS() as Resource
    })
    .filter((value) => value !== null)
}

const read = (name: string): { [name: string]: unknown } => JSON.parse(readFileSync(new URL(name, schemas), 'utf8'))
const custom = ['ServiceMonitor', 'PrometheusRule', 'ScaledObject']
const compiled = new Map<string, ValidateFunction>()

/** What the strict schema of its kind says against an object; nothing where it is well. */
export function faults(object: Resource): readonly string[] {
  let validate = compiled.get(object.kind)
  if (validate === undefined) {
    const ajv = new Ajv({ allErrors: true, strict: false, formats: { 'date-time': true } })
    if (custom.includes(object.kind)) validate = ajv.compile(read(`${object.kind}.json`))
    else {
      const { definitions } = read('kubernetes.json') as { definitions: { [name: string]: unknown } }
      const name = Object.keys(definitions).find((one) => one.endsWith(`.${object.kind}`))
      if (name === undefined) return [`no schema of ${object.kind}`]
      validate = ajv.compile({ definitions, $ref: `#/definitions/${name}` })
    }
    compiled.set(object.kind, validate)
  }
  return validate(object)
    ? []
    : (validate.errors ?? []).map(
        ({ instancePath, message, params }) => `${object.kind} ${object.metadata?.name}${instancePath}: ${message} ${JSON.stringify(params)}`,
      )
}

export const chartFile = (path: string): string => readFileSync(join(chart, path), 'utf8')
export const chartYaml = (path: string): Resource => parse(chartFile(path))
