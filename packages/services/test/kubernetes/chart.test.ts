import { spawnSync } from 'node:child_process'
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { brokerSchema } from '../../src/config/broker.ts'
import { controllerSchema } from '../../src/config/controller.ts'
import { logSchema, witnessSchema } from '../../src/config/log.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { validatorFile } from '../../src/config/validator-file.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { allValues, chartYaml, faults, helm, leastValues, lint, objects, type Resource, template, type Values } from './chart.ts'

const left = helm === null ? 'Helm is not built: tools/install-helm.sh' : null
const named = (all: readonly Resource[], kind: string, name: string): Resource => all.find((one) => one.kind === kind && one.metadata.name === name)
const pods = (all: readonly Resource[]) =>
  all.filter(({ kind }) => kind === 'StatefulSet').map((set) => ({ name: set.metadata.name as string, pod: set.spec.template }))
const enclaves = (all: readonly Resource[]) => pods(all).filter(({ name }) => !/-(?:pccs|validator|log|witness)$/.test(name))

/** Values with one member changed, by its path. */
function changed(values: Values, path: readonly string[], value: unknown): Values {
  const [name, ...rest] = path
  if (name === undefined) return values
  return { ...values, [name]: rest.length === 0 ? value : changed((values[name] ?? {}) as Values, rest, value) }
}

describe.skipIf(left !== null)(`the chart${left === null ? '' : ` (left out: ${left})`}`, () => {
  for (const [name, values] of [
    ['the least values', leastValues()],
    ['all values', allValues()],
    ['controllers scaled by KEDA', changed(allValues(), ['controller', 'autoscaling'], { kind: 'keda', waiting: 8 })],
    ['no broker and no network policy', changed(changed(leastValues(), ['broker'], { enabled: false }), ['networkPolicy'], { enabled: false })],
  ] as const) {
    it(`passes helm lint with ${name}`, () => {
      expect(lint(values)).toMatchObject({ code: 0 })
    })

    it(`makes objects that the pinned schemas know, member for member, of ${name}`, () => {
      const all = objects(values)
      expect(all.length).toBeGreaterThan(8)
      expect(all.flatMap(faults)).toEqual([])
    })
  }

  it('is judged by schemas that refuse a member that the API would drop', () => {
    const set = structuredClone(named(objects(leastValues()), 'StatefulSet', 'release-controller'))
    set.spec.template.spec.containers[0].readinesProbe = {}
    expect(faults(set).join()).toContain('readinesProbe')
    expect(faults({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x' } })).toEqual(['no schema of Pod'])
  })

  it('has every kind that it promises', () => {
    const kinds = new Set(objects(allValues()).map(({ kind }) => kind))
    expect([...kinds].sort()).toEqual([
      'ConfigMap',
      'HorizontalPodAutoscaler',
      'NetworkPolicy',
      'PodDisruptionBudget',
      'PrometheusRule',
      'ScaledObject',
      'Service',
      'ServiceMonitor',
      'StatefulSet',
    ])
  })

  it('asks for the enclave devices, for memory of enclaves, and for nothing that it does not need', () => {
    for (const { name, pod } of enclaves(objects(allValues()))) {
      const [container] = pod.spec.containers
      for (const side of [container.resources.limits, container.resources.requests])
        expect(side, name).toMatchObject({
          'sgx.intel.com/enclave': '1',
          'sgx.intel.com/provision': '1',
          'sgx.intel.com/epc': expect.stringMatching(/^\d+Gi$/),
        })
      expect(pod.spec).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      })
      for (const one of [...pod.spec.initContainers, ...pod.spec.containers]) {
        expect(one.securityContext, name).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } })
        expect(one.image, name).toMatch(/@sha256:[0-9a-f]{64}$/)
      }
      expect(container.command, `${name}: the arguments are measured with the image`).toBeUndefined()
      expect(container.args, name).toBeUndefined()
    }
  })

  it("takes the quote provider of Intel's webhook, or a directory of the node", () => {
    const [webhook] = enclaves(objects(leastValues()))
    expect(webhook?.pod.metadata.annotations).toMatchObject({ 'sgx.intel.com/quote-provider': 'aesmd' })
    const [node] = enclaves(objects(allValues()))
    expect(node?.pod.metadata.annotations).not.toHaveProperty('sgx.intel.com/quote-provider')
    expect(node?.pod.spec.volumes).toContainEqual({ name: 'aesm', hostPath: { path: '/var/run/aesmd', type: 'Directory' } })
  })

  it('writes configurations that the services accept', async () => {
    for (const values of [leastValues(), allValues()]) {
      for (const map of objects(values).filter((one) => one.kind === 'ConfigMap' && one.data['config.json'] !== undefined)) {
        const component: string = map.metadata.labels['app.kubernetes.io/component']
        if (component === 'validator') {
          expect(validatorFile(map.data['config.json'])).toMatchObject({
            threshold: '2',
            probes: '200',
            'api-key-file': '/accounts/accounts.txt',
            'log-url': 'https://log.example:8443/receipts',
            // What the chart has no value of its own for.
            accounts: '8',
            peer: ['https://other.example/epochs'],
          })
          continue
        }
        if (component === 'log' || component === 'witness') continue
        const schema = component === 'controller' ? controllerSchema : component === 'broker' ? brokerSchema : workerSchema
        const { configuration } = await readConfiguration(schema as typeof workerSchema, {
          args: ['--tee', 'gramine', '--state', '/var/lib/veritee/state', '--config', 'config.json'],
          environment: {},
          readText: async () => map.data['config.json'].replaceAll('@ADDRESS@', '10.1.2.3'),
        })
        expect(configuration, map.metadata.name).not.toBeNull()
      }
    }
  })

  it('merges what the operator says over what it writes itself', () => {
    const config = JSON.parse(named(objects(allValues()), 'ConfigMap', 'inference-controller').data['config.json'])
    expect(config).toMatchObject({
      routing: { queue_seconds: 20 },
      api: { tls: true, port: 8000 },
      store: { url: 'postgres://veritee@database:5432/veritee' },
    })
  })

  it('S8: gives each controller a name of its own, up to the most that there may be, and workers register with all of them', () => {
    const all = objects(allValues())
    for (let index = 0; index < 8; index++)
      expect(named(all, 'Service', `inference-${index}`).spec.selector).toMatchObject({
        'statefulset.kubernetes.io/pod-name': `inference-controller-${index}`,
      })
    const config = JSON.parse(named(all, 'ConfigMap', 'inference-worker-small').data['config.json'])
    expect(config.controllers.urls).toHaveLength(8)
    expect(config.controllers.urls[7]).toBe('https://inference-controller-7.inference-controller-pods.inference.svc:21005')
  })

  it('rolls pods when their configuration changes', () => {
    const hash = (values: Values) =>
      named(objects(values), 'StatefulSet', 'release-controller').spec.template.metadata.annotations['veritee.dev/configuration']
    expect(hash(leastValues())).not.toBe(hash(changed(leastValues(), ['controller', 'config'], { routing: { queue_seconds: 3 } })))
  })

  it('selects no pod of another component', () => {
    const all = objects(allValues())
    for (const { name, pod } of enclaves(all)) {
      const matching = all.filter(
        ({ kind, spec }) =>
          kind === 'NetworkPolicy' && Object.entries(spec.podSelector.matchLabels).every(([label, value]) => pod.metadata.labels[label] === value),
      )
      expect(
        matching.map(({ metadata }) => metadata.name),
        name,
      ).toEqual([name])
    }
  })

  it('S22: workers are reached by controllers only, the broker by this release only', () => {
    const all = objects(leastValues())
    expect(named(all, 'NetworkPolicy', 'release-worker-demo').spec.ingress[0].from).toEqual([
      {
        podSelector: {
          matchLabels: { 'app.kubernetes.io/name': 'veritee', 'app.kubernetes.io/instance': 'release', 'app.kubernetes.io/component': 'controller' },
        },
      },
    ])
    expect(named(all, 'NetworkPolicy', 'release-broker').spec.ingress[0]).toMatchObject({ ports: [{ port: 'kbs' }], from: [{ podSelector: {} }] })
  })

  it('asks each pod whether it starts, lives and is ready, and lets one of a set be gone at a time', () => {
    const all = objects(allValues())
    for (const { name, pod } of enclaves(all)) {
      const [container] = pod.spec.containers
      expect(container.startupProbe, name).toMatchObject({ httpGet: { path: '/healthz', port: 'metrics' }, failureThreshold: expect.any(Number) })
      expect(container.livenessProbe, name).toMatchObject({ httpGet: { path: '/healthz', port: 'metrics' } })
      expect(container.readinessProbe, name).toMatchObject({ httpGet: { path: '/readyz', port: 'metrics' } })
      expect(
        container.ports.map((port: Resource) => port.name),
        name,
      ).toContain('metrics')
    }
    const budgets = all.filter(({ kind }) => kind === 'PodDisruptionBudget')
    expect(budgets.map(({ metadata }) => metadata.name).sort()).toEqual(['inference-controller', 'inference-worker-large', 'inference-worker-small'])
    for (const { metadata, spec } of budgets) {
      expect(spec).toMatchObject({ maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' })
      expect(spec.selector.matchLabels).toEqual(named(all, 'StatefulSet', metadata.name).spec.selector.matchLabels)
    }
  })

  it('scales controllers by their cores where that is said, within the bounds that are said', () => {
    expect(named(objects(allValues()), 'HorizontalPodAutoscaler', 'inference-controller').spec).toMatchObject({
      scaleTargetRef: { kind: 'StatefulSet', name: 'inference-controller' },
      minReplicas: 2,
      maxReplicas: 8,
      metrics: [{ resource: { name: 'cpu', target: { averageUtilization: 70 } } }],
    })
    expect(objects(leastValues()).filter(({ kind }) => kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject')).toEqual([])
  })

  it('scales workers by the requests for their models that wait', () => {
    const [trigger] = named(objects(allValues()), 'ScaledObject', 'inference-worker-small').spec.triggers
    expect(trigger.metadata.query).toBe('sum(vllm:num_requests_waiting{namespace="inference",job=~"inference-controller.*",model_name=~"small"})')
    const set = named(objects(allValues()), 'StatefulSet', 'inference-worker-small')
    expect(set.spec).not.toHaveProperty('replicas')
  })

  it('runs a validator without devices, which nobody reaches, and not unless it is asked for', () => {
    expect(named(objects(leastValues()), 'StatefulSet', 'release-validator')).toBeUndefined()
    const all = objects(allValues())
    const { replicas, template: pod } = named(all, 'StatefulSet', 'inference-validator').spec
    const [container] = pod.spec.containers
    expect(replicas).toBe(1)
    expect(JSON.stringify(container.resources)).not.toContain('sgx')
    expect(container.securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } })
    expect(pod.spec).toMatchObject({ automountServiceAccountToken: false, securityContext: { runAsNonRoot: true } })
    expect(named(all, 'NetworkPolicy', 'inference-validator').spec).toMatchObject({ policyTypes: ['Ingress', 'Egress'] })
    expect(named(all, 'NetworkPolicy', 'inference-validator').spec.ingress).toBeUndefined()
    // Every file that its configuration names lies in something that is mounted.
    const mounts: string[] = container.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)
    const config = validatorFile(named(all, 'ConfigMap', 'inference-validator').data['config.json'])
    for (const option of ['key', 'manifest', 'scoring-policy', 'api-key-file', 'log-write-token-file', 'log-views-token-file', 'state', 'out'])
      expect(
        mounts.some((mount) => String(config[option]).startsWith(`${mount}/`)),
        option,
      ).toBe(true)
  })

  it('S16: a validator gets the credentials of its log as files, and may reach it; without a log it gets neither', () => {
    const all = objects(allValues())
    expect(named(all, 'StatefulSet', 'inference-validator').spec.template.spec.volumes).toContainEqual({
      name: 'log',
      projected: {
        defaultMode: 0o440,
        sources: [
          { secret: { name: 'log-commitments', items: [{ key: 'token', path: 'write.token' }] } },
          { secret: { name: 'log-views', items: [{ key: 'token', path: 'views.token' }] } },
        ],
      },
    })
    const ports = (values: Values): number[] =>
      named(objects(values), 'NetworkPolicy', 'inference-validator').spec.egress.flatMap((rule: Resource) =>
        rule.ports.map(({ port }: Resource) => port),
      )
    expect(ports(allValues())).toContain(8443)
    expect(ports(changed(allValues(), ['validator', 'log', 'url'], 'https://log.example/receipts'))).toEqual([53, 53, 8000, 443, 443])
    const without = changed(allValues(), ['validator', 'log'], {})
    expect(ports(without)).toEqual([53, 53, 8000, 443])
    expect(Object.keys(validatorFile(named(objects(without), 'ConfigMap', 'inference-validator').data['config.json'])).join()).not.toContain('log-')
  })

  it('receipts of controllers and workers promise the log that the values name, and both may reach it', () => {
    const all = objects(allValues())
    for (const name of ['controller', 'worker-small', 'worker-large']) {
      const config = JSON.parse(named(all, 'ConfigMap', `inference-${name}`).data['config.json'])
      expect(config.transparency, name).toEqual({ url: 'http://inference-log:8090', origin: 'log.example/receipts' })
      expect(named(all, 'NetworkPolicy', `inference-${name}`).spec.egress, name).toContainEqual({ ports: [{ port: 8090 }] })
    }
    const least = objects(leastValues())
    expect(JSON.parse(named(least, 'ConfigMap', 'release-controller').data['config.json'])).not.toHaveProperty('transparency')
  })

  it.each(['log', 'witness'] as const)(
    'runs a %s without devices, by a configuration that it takes, and not unless it is asked for',
    async (component) => {
      expect(named(objects(leastValues()), 'StatefulSet', `release-${component}`)).toBeUndefined()
      const all = objects(allValues())
      const name = `inference-${component}`
      const { replicas, template: pod } = named(all, 'StatefulSet', name).spec
      const [container] = pod.spec.containers
      expect(replicas).toBe(1)
      expect(JSON.stringify(container.resources)).not.toContain('sgx')
      expect(container.securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } })
      const [command, ...args] = container.args as string[]
      expect(command).toBe(component)
      const environment = Object.fromEntries((container.env ?? []).map(({ name: variable }: { name: string }) => [variable, 'x'.repeat(40)]))
      const { configuration } = await readConfiguration((component === 'log' ? logSchema : witnessSchema) as typeof logSchema, {
        args,
        environment,
        readText: async () => named(all, 'ConfigMap', name).data['config.json'],
      })
      const values = configuration?.values as { readonly [section: string]: { readonly [member: string]: unknown } } | undefined
      expect(values?.listen).toMatchObject({ host: '0.0.0.0', behind_tls: true, port: container.ports[0].containerPort })
      // Key and state lie in something that is mounted.
      const mounts: string[] = container.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)
      for (const path of [values?.[component]?.data, values?.[component]?.key])
        expect(
          mounts.some((mount) => String(path).startsWith(`${mount}/`)),
          String(path),
        ).toBe(true)
      expect(named(all, 'NetworkPolicy', name).spec.policyTypes).toEqual(['Ingress', 'Egress'])
      expect(named(all, 'Service', name).spec.ports[0].port).toBe(container.ports[0].containerPort)
    },
  )

  const refused: readonly (readonly [name: string, values: Values, message: RegExp])[] = [
    ['an unknown value', changed(leastValues(), ['controler'], {}), /controler/],
    ['an unknown value deep inside', changed(leastValues(), ['controller', 'service', 'tipe'], 'ClusterIP'), /tipe/],
    ['a tag where a digest must be', changed(leastValues(), ['controller', 'image', 'digest'], 'v1.2.3'), /digest/],
    ['no digest', changed(leastValues(), ['controller', 'image', 'digest'], ''), /image\.digest: expected sha256/],
    ['neither API keys nor open', changed(leastValues(), ['controller', 'apiKeys'], false), /controller\.apiKeys/],
    ['figures without a token', changed(leastValues(), ['controller', 'metricsTokenSecret'], ''), /controller\.metricsTokenSecret/],
    ['workers that nobody may verify', changed(leastValues(), ['admission', 'configMap'], ''), /admission\.configMap/],
    [
      'two workers of one name',
      changed(leastValues(), ['workers'], [...(leastValues().workers as unknown[]), ...(leastValues().workers as unknown[])]),
      /expected each name once/,
    ],
    ['a worker without a model', changed(leastValues(), ['workers'], [{ name: 'demo', models: [], modelNames: ['a'] }]), /models/],
    ['a validator without a key', changed(allValues(), ['validator', 'keySecret'], ''), /validator\.keySecret/],
    ['a controller whose operator nobody says', changed(allValues(), ['validator', 'controllers'], ['https://controller.example']), /controllers/],
    [
      'a log without the credential for commitments',
      changed(allValues(), ['validator', 'log', 'writeTokenSecret'], ''),
      /validator\.log\.writeTokenSecret/,
    ],
    ['credentials of a log that is nowhere', changed(allValues(), ['validator', 'log', 'url'], ''), /validator\.log\.url/],
    ['a log to promise that has no name', changed(allValues(), ['transparency', 'origin'], ''), /transparency/],
    ['a log at a place that is none', changed(allValues(), ['transparency', 'url'], 'log.example'), /transparency/],
    ['a log without a name', changed(allValues(), ['log', 'origin'], ''), /log\.origin/],
    ['a log without a key', changed(allValues(), ['log', 'keySecret'], ''), /log\.keySecret/],
    ['a quorum above the witnesses', changed(allValues(), ['log', 'quorum'], 2), /log\.quorum/],
    ['a witness whose key nobody can read', changed(allValues(), ['log', 'witnesses'], ['w https://witness.example']), /witnesses/],
    ['a witness without a name', changed(allValues(), ['witness', 'name'], ''), /witness\.name/],
    ['a release statement outside /etc/veritee', changed(allValues(), ['releases', 'keys'], ['../release.json']), /releases/],
    ['17 controllers', changed(leastValues(), ['controller', 'replicas'], 17), /replicas/],
    ['a PCCS without an image', changed(leastValues(), ['pccs'], { enabled: true, configSecret: 'a', tlsSecret: 'b' }), /pccs\.image/],
  ]
  for (const [name, values, message] of refused)
    it(`refuses ${name}`, () => {
      const { code, err } = template(values)
      expect(code).not.toBe(0)
      expect(err).toMatch(message)
    })

  it('S25: controllers, workers and brokers show the release statements that the values name', () => {
    const all = objects(allValues())
    for (const name of ['inference-controller', 'inference-worker-small', 'inference-broker']) {
      const config = JSON.parse(named(all, 'ConfigMap', name).data['config.json'])
      expect(config.release, name).toEqual({ statements: ['/etc/veritee/release.json', '/etc/veritee/release-next.json'] })
      const pod = named(all, 'StatefulSet', name).spec.template.spec
      expect(pod.volumes, name).toContainEqual({ name: 'releases', configMap: { name: 'releases' } })
      expect(pod.initContainers[0].volumeMounts, name).toContainEqual({ name: 'releases', mountPath: '/releases', readOnly: true })
    }
    const least = objects(leastValues())
    for (const { kind, data } of least) if (kind === 'ConfigMap') expect(data['config.json'] ?? '{}').not.toContain('"release"')
  })

  it('prepares the configuration of a pod, with its own address, by a script that a shell runs', () => {
    const [init] = named(objects(allValues()), 'StatefulSet', 'inference-worker-small').spec.template.spec.initContainers
    for (const [ip, address] of [
      ['10.1.2.3', '10.1.2.3'],
      ['fd00::17', '[fd00::17]'],
    ] as const) {
      const root = mkdtempSync(join(tmpdir(), 'veritee-init-'))
      try {
        for (const folder of ['configuration', 'collateral', 'admission', 'releases', 'operator', 'etc/veritee'])
          mkdirSync(join(root, folder), { recursive: true })
        writeFileSync(join(root, 'configuration/config.json'), '{"advertise": "https://@ADDRESS@:21841"}')
        writeFileSync(join(root, 'admission/manifest.json'), '{"version": 1}')
        writeFileSync(join(root, 'operator/operator.key'), 'key')
        writeFileSync(join(root, 'releases/release.json'), '{"sequence": 1}')
        writeFileSync(join(root, 'releases/release.json.tlog-proof'), 'proof')
        const script = init.args[0].replaceAll(/(?<=[\s>])\/(?=configuration|collateral|admission|releases|operator|etc)/g, `${root}/`)
        const { status, stderr } = spawnSync('/bin/sh', ['-ec', script], {
          env: { PATH: process.env.PATH, POD_IP: ip, POD_NAME: 'pod-0' },
          encoding: 'utf8',
        })
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
        expect(readFileSync(join(root, 'etc/veritee/config.json'), 'utf8')).toBe(`{"advertise": "https://${address}:21841"}`)
        expect(readFileSync(join(root, 'etc/veritee/manifest.json'), 'utf8')).toBe('{"version": 1}')
        expect(lstatSync(join(root, 'etc/veritee/manifest.json')).isSymbolicLink()).toBe(true)
        expect(readFileSync(join(root, 'etc/veritee/operator.key'), 'utf8')).toBe('key')
        expect(readFileSync(join(root, 'etc/veritee/release.json'), 'utf8')).toBe('{"sequence": 1}')
        expect(readFileSync(join(root, 'etc/veritee/release.json.tlog-proof'), 'utf8')).toBe('proof')
      } finally {
        chmodSync(root, 0o700)
        rmSync(root, { recursive: true })
      }
    }
  })

  it('names a version of Kubernetes, of itself and of its dependency that agree', () => {
    expect(chartYaml('Chart.yaml').dependencies).toEqual([
      { name: 'pccs', version: chartYaml('charts/pccs/Chart.yaml').version, condition: 'pccs.enabled' },
    ])
  })
})
