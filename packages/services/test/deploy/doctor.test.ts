import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { formatCollateral } from 'veritee/attestation'
import { createSimPlatform } from 'veritee/attestation/sim'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { diagnose, diagnosisText } from '../../src/deploy/doctor/doctor.ts'
import type { Finding, Plan } from '../../src/deploy/doctor/finding.ts'
import { type Machine, thisMachine } from '../../src/deploy/doctor/machine.ts'
import { sizeModel } from '../../src/deploy/doctor/size-model.ts'
import { sizeEnclave } from '../../src/deploy/sizing.ts'
import { demoPath } from '../engine/demo.ts'

const at = new Date('2026-03-01T12:00:00Z')
const plan: Plan = {
  role: 'worker',
  sizing: sizeEnclave('worker', { weights: 1 << 30, context: 0, threads: 3 }, false),
  threads: 3,
  state: '/var/lib/veritee/state',
  collateral: '/etc/veritee/collateral.json',
  pccs: null,
  ports: [21_841],
}

/** A server that is ready: every file that is looked at, as such a machine has it. */
const good: { readonly [path: string]: string } = {
  '/proc/cpuinfo': 'processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 sgx sgx_lc avx512f\n',
  '/proc/sys/kernel/osrelease': '6.8.0-45-generic\n',
  '/proc/meminfo': 'MemTotal:       263000000 kB\nMemAvailable:   250000000 kB\nSwapTotal:              0 kB\n',
  '/proc/self/status': 'Name:\tnode\nCpus_allowed_list:\t0-3,8\n',
  '/proc/net/tcp': '  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n',
  '/sys/devices/system/node/node0/x86/sgx_total_bytes': `${64 * 2 ** 30}\n`,
  '/sys/devices/system/node/node1/x86/sgx_total_bytes': `${64 * 2 ** 30}\n`,
  '/dev/sgx_enclave': 'device',
  '/dev/sgx_provision': 'device',
  '/var/run/aesmd/aesm.socket': 'socket',
  '/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1': '',
  '/usr/lib/x86_64-linux-gnu/gramine/libsysdb.so': '',
  '/etc/sgx_default_qcnl.conf': '{\n  // comments are allowed\n  "pccs_url": "https://localhost:8081/sgx/certification/v4/"\n}\n',
  '/var/lib/veritee/state/.keep': '',
}

let root: string
let collateral: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-doctor-'))
  collateral = formatCollateral((await createSimPlatform({ at })).collateral)
})
afterAll(() => rm(root, { recursive: true, force: true }))

let images = 0

/** A machine with these files; null takes one away. `forbidden` may not be opened, and a PCCS answers as said. */
async function machineWith(
  changes: { readonly [path: string]: string | null } = {},
  {
    forbidden = [],
    status = 200,
    date = at.toUTCString(),
    now = at,
    free,
  }: {
    readonly forbidden?: readonly string[]
    readonly status?: number | null
    readonly date?: string | null
    readonly now?: Date
    readonly free?: number
  } = {},
): Promise<{ readonly machine: Machine; readonly asked: string[] }> {
  const image = join(root, String(images++))
  for (const [path, text] of Object.entries({ ...good, '/etc/veritee/collateral.json': collateral, ...changes })) {
    if (text === null) continue
    await mkdir(dirname(join(image, path)), { recursive: true })
    await writeFile(join(image, path), text)
  }
  const files = thisMachine(image)
  const asked: string[] = []
  return {
    asked,
    machine: {
      ...files,
      // No device or socket can be made without rights: a file that says so stands for one.
      kind: async (path) => {
        const kind = await files.kind(path)
        const text = kind === 'file' ? await files.text(path) : null
        return text === 'device' || text === 'socket' ? text : kind
      },
      allowed: async (path, how) => !forbidden.includes(path) && (await files.allowed(path, how)),
      freeBytes: async (path) => free ?? (await files.freeBytes(path)),
      get: async (url) => {
        asked.push(url)
        return status === null ? null : { status, date }
      },
      now: () => now,
    },
  }
}

type Options = Parameters<typeof machineWith>[1]

async function found(
  check: string,
  changes: { readonly [path: string]: string | null },
  options: Options = {},
  planned: Partial<Plan> = {},
): Promise<Finding | undefined> {
  const { machine } = await machineWith(changes, options)
  return (await diagnose(machine, { ...plan, ...planned })).findings.find((finding) => finding.check === check)
}

it('a machine that is ready has no finding but good ones, and asks the PCCS of its configuration for a list of Intel', async () => {
  const { machine, asked } = await machineWith()
  const { sgx, findings } = await diagnose(machine, plan)
  expect(findings.filter(({ status }) => status !== 'ok')).toEqual([])
  expect({ sgx, asked }).toEqual({ sgx: true, asked: ['https://localhost:8081/sgx/certification/v4/rootcacrl'] })
  expect(findings.map(({ check }) => check)).toEqual(
    'cpu,launch control,kernel,enclave device,provision device,aesm,quote provider,gramine,epc,memory,swap,cores,pccs,clock,collateral,port 21841,store'.split(
      ',',
    ),
  )
})

const qcnl = '/etc/sgx_default_qcnl.conf'
const intelWithout = 'vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2\n'
const cases: readonly (readonly [string, string, Finding['status'], string, { readonly [path: string]: string | null }, Options?, Partial<Plan>?])[] =
  [
    ['cpu', 'SGX off in the firmware', 'problem', 'BIOS', { '/proc/cpuinfo': intelWithout }],
    ['cpu', 'another maker', 'problem', 'Xeon', { '/proc/cpuinfo': 'vendor_id\t: AuthenticAMD\nflags\t: fpu\n' }],
    ['cpu', 'no description of the processor', 'problem', 'Xeon', { '/proc/cpuinfo': null }],
    ['launch control', 'fixed', 'problem', 'unlocked', { '/proc/cpuinfo': 'vendor_id\t: GenuineIntel\nflags\t: sgx\n' }],
    ['kernel', 'too old', 'problem', '5.11', { '/proc/sys/kernel/osrelease': '5.10.0-30-amd64\n' }],
    ['kernel', 'silent', 'unknown', 'uname', { '/proc/sys/kernel/osrelease': null }],
    ['edmm', 'before Linux 6.0', 'problem', '6.0', { '/proc/sys/kernel/osrelease': '5.15.0\n' }, {}, { sizing: { ...plan.sizing, edmm: true } }],
    ['enclave device', 'absent', 'problem', '--device=/dev/sgx_enclave', { '/dev/sgx_enclave': null }],
    ['enclave device', 'a directory that a container runtime made', 'problem', 'rm -r', { '/dev/sgx_enclave': null, '/dev/sgx_enclave/x': '' }],
    ['enclave device', 'not for this user', 'problem', 'chmod', {}, { forbidden: ['/dev/sgx_enclave'] }],
    ['enclave device', 'at its older path', 'ok', '', { '/dev/sgx_enclave': null, '/dev/sgx/enclave': 'device' }],
    ['provision device', 'not for this user', 'problem', 'sgx_prv', {}, { forbidden: ['/dev/sgx_provision'] }],
    ['aesm', 'absent', 'problem', 'aesmd', { '/var/run/aesmd/aesm.socket': null }],
    ['aesm', 'a file', 'problem', 'restart aesmd', { '/var/run/aesmd/aesm.socket': '' }],
    ['aesm', 'not for this user', 'problem', 'usermod', {}, { forbidden: ['/var/run/aesmd/aesm.socket'] }],
    ['quote provider', 'absent', 'problem', 'libsgx-dcap-default-qpl', { '/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1': null }],
    ['gramine', 'absent', 'problem', 'Gramine', { '/usr/lib/x86_64-linux-gnu/gramine/libsysdb.so': null }],
    [
      'epc',
      'smaller than the enclave',
      'problem',
      'PRMRR',
      { '/sys/devices/system/node/node0/x86/sgx_total_bytes': '1000000', '/sys/devices/system/node/node1/x86/sgx_total_bytes': null },
    ],
    [
      'epc',
      'smaller than the enclave may become',
      'warning',
      'PRMRR',
      { '/sys/devices/system/node/node0/x86/sgx_total_bytes': '1000000', '/sys/devices/system/node/node1/x86/sgx_total_bytes': null },
      {},
      { sizing: { ...plan.sizing, edmm: true } },
    ],
    [
      'epc',
      'not named',
      'unknown',
      'dmesg',
      { '/sys/devices/system/node/node0/x86/sgx_total_bytes': null, '/sys/devices/system/node/node1/x86/sgx_total_bytes': null },
    ],
    ['memory', 'used up', 'problem', 'memory', { '/proc/meminfo': 'MemAvailable:  100000 kB\n' }],
    ['memory', 'not told', 'unknown', 'meminfo', { '/proc/meminfo': null }],
    ['swap', 'on', 'warning', 'swapoff', { '/proc/meminfo': 'MemAvailable: 250000000 kB\nSwapTotal: 1000000 kB\n' }],
    [
      'swap',
      'on, for a role without weights',
      'ok',
      '',
      { '/proc/meminfo': 'MemAvailable: 250000000 kB\nSwapTotal: 1000000 kB\n' },
      {},
      { role: 'broker' },
    ],
    ['cores', 'as many threads as cores', 'problem', '--threads 4', {}, {}, { threads: 5 }],
    ['cores', 'a cpuset of the container', 'problem', '--threads 1', { '/sys/fs/cgroup/cpuset.cpus.effective': '6-7\n' }],
    ['cores', 'a list that is none', 'unknown', 'nproc', { '/proc/self/status': 'Cpus_allowed_list:\tall\n' }],
    ['pccs', 'silent', 'problem', 'curl', {}, { status: null }],
    ['pccs', 'refusing', 'problem', 'curl', {}, { status: 404 }],
    ['pccs', 'not configured', 'problem', 'pccs_url', { [qcnl]: null }],
    ['pccs', 'configured as of old', 'ok', '', { [qcnl]: 'PCCS_URL=https://pccs:8081/sgx/certification/v3/\nUSE_SECURE_CERT=FALSE\n' }],
    ['pccs', 'said on the command line', 'ok', '', { [qcnl]: null }, {}, { pccs: 'https://pccs:8081/sgx/certification/v4' }],
    ['clock', 'two minutes off', 'problem', 'set-ntp', {}, { date: new Date(at.getTime() + 120_000).toUTCString() }],
    ['clock', 'with nobody to compare it with', 'unknown', 'set-ntp', {}, { date: null }],
    ['clock', 'synchronised', 'ok', '', { '/run/systemd/timesync/synchronized': '' }, { date: null }],
    ['collateral', 'absent', 'problem', 'collateral fetch', { '/etc/veritee/collateral.json': null }],
    ['collateral', 'something else', 'problem', 'collateral fetch', { '/etc/veritee/collateral.json': '{}' }],
    ['collateral', 'ended', 'problem', 'daily', {}, { now: new Date('2027-03-01T00:00:00Z') }],
    [
      'port 21841',
      'taken',
      'problem',
      'ss -ltnp',
      { '/proc/net/tcp6': '  sl\n   0: 00000000000000000000000000000000:5551 00000000000000000000000000000000:0000 0A 0\n' },
    ],
    ['port 21841', 'connected to from elsewhere, and free', 'ok', '', { '/proc/net/tcp': '  sl\n   0: 0100007F:5551 0100007F:A000 01 0\n' }],
    ['store', 'absent', 'problem', 'install -d', { '/var/lib/veritee/state/.keep': null }],
    ['store', 'not for this user', 'problem', 'install -d', {}, { forbidden: ['/var/lib/veritee/state'] }],
    ['store', 'nearly full', 'warning', 'receipt-megabytes', {}, { free: 1000 }],
  ]

describe('each finding names what mends it', () => {
  for (const [check, what, status, mend, changes, options, planned] of cases)
    it(`${check}: ${what}`, async () => {
      const finding = await found(check, changes, options, planned)
      expect(finding).toMatchObject({ check, status })
      if (status === 'ok') expect(finding?.mend).toBeNull()
      else expect(finding?.mend).toContain(mend)
    })
})

it('on a machine without SGX one screen says so, and what works there', async () => {
  const { machine } = await machineWith(Object.fromEntries(Object.keys(good).map((path) => [path, path === '/proc/cpuinfo' ? intelWithout : null])), {
    status: null,
  })
  const diagnosis = await diagnose(machine, plan)
  const text = diagnosisText(diagnosis)
  expect(text.split('\n').length).toBeLessThanOrEqual(24)
  expect(text).toContain('THIS MACHINE HAS NO SGX')
  expect(text).toContain('npm start')
  expect(text).toContain('veriteed log, witness and validator')
  expect(diagnosis.findings.filter(({ status, mend }) => status !== 'ok' && mend === null)).toEqual([])
})

it('without SGX a port that is taken is told all the same: simulated services need it too', async () => {
  const { machine } = await machineWith({
    '/proc/cpuinfo': intelWithout,
    '/proc/net/tcp': '  sl  local_address rem_address   st\n   0: 0100007F:5551 00000000:0000 0A 00000000:00000000\n',
  })
  expect(diagnosisText(await diagnose(machine, plan))).toMatch(/^problem +port 21841 +somebody listens there$/m)
})

it('a model is sized from its file, and what to tell the renderer is printed', async () => {
  const { weights, context } = await sizeModel(demoPath, { maxContext: 4096, sequences: 4 })
  expect(weights).toBeGreaterThan(1_000_000)
  const twice = await sizeModel(demoPath, { maxContext: 8192, sequences: 4 })
  expect(twice.context).toBeGreaterThan(context)
  await expect(sizeModel('/nowhere.gguf', { maxContext: 1, sequences: 1 })).rejects.toMatchObject({ code: 'model_unavailable' })
  await expect(sizeModel(fileURLToPath(import.meta.url), { maxContext: 1, sequences: 1 })).rejects.toMatchObject({ code: 'model_malformed' })

  const script = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
  const run = (...args: string[]): Promise<{ stdout: string; code?: number }> =>
    promisify(execFile)(process.execPath, ['--conditions=@veritee/source', script, 'doctor', ...args]).catch(
      (error: { stdout: string; code: number }) => error,
    )
  const image = join(root, 'empty')
  const { stdout, code } = await run('--size', demoPath, '--threads', '3', '--root', image)
  expect(code).toBe(1)
  expect(stdout).toContain(`--weights ${weights} --context ${context} --threads 3`)
  const json = JSON.parse((await run('--json', '--root', image)).stdout) as { ok: boolean; sgx: boolean; findings: unknown[] }
  expect(json).toMatchObject({ ok: false, sgx: false })
  expect((await run('--role', 'robot')).code).toBe(2)
  expect((await run('--threads', '0')).code).toBe(2)
}, 30_000)
