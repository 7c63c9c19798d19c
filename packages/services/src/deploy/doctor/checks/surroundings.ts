import { parseCollateral } from 'veritee/attestation'
import { parseJson } from 'veritee/bytes'
import { bad, type Check, type Finding, ok, type Plan, size } from '../finding.ts'
import type { Machine } from '../machine.ts'

const settings = '/etc/sgx_default_qcnl.conf'

/** The cache of Intel's signed data: whether it is named, and answers; and whether its clock and ours agree. */
export const pccs: Check = async (machine, { pccs: said }) => {
  const url = said ?? pccsOf((await machine.text(settings)) ?? '')
  if (url === null)
    return [
      bad('pccs', 'problem', `no URL in ${settings}`, `echo '{"pccs_url": "https://localhost:8081/sgx/certification/v4/"}' | sudo tee ${settings}`),
      await clock(machine, null),
    ]
  const answer = await machine.get(`${url.replace(/\/$/, '')}/rootcacrl`)
  const mend = `curl -k ${url.replace(/\/$/, '')}/rootcacrl; start the PCCS, or name another in ${settings}`
  const found =
    answer === null
      ? bad('pccs', 'problem', `${url} does not answer`, mend)
      : answer.status === 200
        ? ok('pccs', url)
        : bad('pccs', 'problem', `${url} answers ${answer.status}`, mend)
  return [found, await clock(machine, answer?.date ?? null)]
}

/** JSON with comments since DCAP 1.12, and `NAME=value` before. */
function pccsOf(text: string): string | null {
  const [, url] = /^\s*"pccs_url"\s*:\s*"(https?:\/\/[^"\s]{1,255})"/m.exec(text) ?? /^\s*PCCS_URL\s*=\s*(https?:\/\/\S{1,255})$/m.exec(text) ?? []
  return url ?? null
}

const maxSkewSeconds = 60

async function clock(machine: Machine, theirs: string | null): Promise<Finding> {
  const other = theirs === null ? Number.NaN : Date.parse(theirs)
  const mend = 'sudo timedatectl set-ntp true'
  if (!Number.isNaN(other)) {
    const skew = Math.round(Math.abs(machine.now().getTime() - other) / 1000)
    return skew <= maxSkewSeconds
      ? ok('clock', 'as that of the PCCS')
      : bad('clock', 'problem', `${skew} s off that of the PCCS: certificates and manifests end at other times here`, mend)
  }
  return (await machine.kind('/run/systemd/timesync/synchronized')) === null
    ? bad('clock', 'unknown', 'nobody to compare it with', mend)
    : ok('clock', 'synchronised')
}

/** The file that the service relays to verifiers. */
export const collateral: Check = async (machine, { collateral: path }) => {
  const fetchIt = `veritee collateral fetch QUOTE -o ${path}   # daily`
  const text = await machine.text(path)
  if (text === null) return [bad('collateral', 'problem', `no ${path}`, fetchIt)]
  try {
    const { tcbInfo, qeIdentity } = parseCollateral(text)
    const ends = [tcbInfo, qeIdentity].map((document) => nextUpdate(document))
    const first = Math.min(...ends)
    if (Number.isNaN(first)) return [bad('collateral', 'problem', `${path} does not say until when it is good`, fetchIt)]
    const days = (first - machine.now().getTime()) / 86_400_000
    if (days <= 0) return [bad('collateral', 'problem', `ended ${new Date(first).toISOString()}: verifiers refuse it`, fetchIt)]
    return [
      days < 7
        ? bad('collateral', 'warning', `ends ${new Date(first).toISOString()}`, fetchIt)
        : ok('collateral', `good until ${new Date(first).toISOString()}`),
    ]
  } catch {
    return [bad('collateral', 'problem', `${path} is not collateral`, fetchIt)]
  }
}

function nextUpdate(document: string): number {
  const { nextUpdate: at } = parseJson(document, { maxLength: 1 << 20, maxDepth: 16 }) as { readonly nextUpdate?: unknown }
  return typeof at === 'string' ? Date.parse(at) : Number.NaN
}

/** Ports that somebody else has. */
export const ports: Check = async (machine, { ports: wanted }) => {
  const taken = new Set<number>()
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6'])
    for (const line of ((await machine.text(table)) ?? '').split('\n')) {
      // sl local_address rem_address st: 0A listens.
      const [, port] = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /.exec(line) ?? []
      if (port !== undefined) taken.add(Number.parseInt(port, 16))
    }
  return wanted.map((port) =>
    taken.has(port) ? bad(`port ${port}`, 'problem', 'somebody listens there', `ss -ltnp 'sport = :${port}'`) : ok(`port ${port}`, 'free'),
  )
}

const stateBytes = 2 ** 30

/** Where the service keeps its state. */
export const store: Check = async (machine, { state }: Plan) => {
  const mend = `sudo install -d -m 700 -o "$USER" ${state}`
  if ((await machine.kind(state)) !== 'directory') return [bad('store', 'problem', `no directory ${state}`, mend)]
  if (!(await machine.allowed(state, 'write'))) return [bad('store', 'problem', `${state} may not be written by this user`, mend)]
  const free = await machine.freeBytes(state)
  if (free === null) return [bad('store', 'unknown', `${state} does not say what is free`, `df ${state}`)]
  return [
    free < stateBytes
      ? bad('store', 'warning', `${size(free)} free in ${state}`, `make room, or --receipt-megabytes N`)
      : ok('store', `${state}, ${size(free)} free`),
  ]
}
