import { bad, type Check, ok, size } from '../finding.ts'

/** Whether the processor has SGX, its firmware has switched it on, and the kernel drives it. */
export const processor: Check = async (machine, { sizing }) => {
  const info = (await machine.text('/proc/cpuinfo')) ?? ''
  const [, vendor = 'an unknown maker'] = /^vendor_id\s*:\s*(\S+)/m.exec(info) ?? []
  const flags = new Set((/^flags\s*:\s*(.*)$/m.exec(info)?.[1] ?? '').split(' '))
  const release = ((await machine.text('/proc/sys/kernel/osrelease')) ?? '').trim()
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10))
  const since = (wantedMajor: number, wantedMinor: number): boolean => major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
  return [
    flags.has('sgx')
      ? ok('cpu', 'SGX is there and switched on')
      : vendor === 'GenuineIntel'
        ? bad(
            'cpu',
            'problem',
            'an Intel processor whose SGX is absent, or off in the firmware',
            'in the BIOS: enable Software Guard Extensions and their EPC; on a cloud: choose a machine with SGX',
          )
        : bad('cpu', 'problem', `no SGX: a processor of ${vendor.slice(0, 40)}`, 'use a machine with an Intel Xeon of the third generation or later'),
    flags.has('sgx') && !flags.has('sgx_lc')
      ? bad(
          'launch control',
          'problem',
          'no flexible launch control (sgx_lc): Gramine 1.9 needs it',
          'in the BIOS: SGX launch control policy "unlocked"',
        )
      : flags.has('sgx')
        ? ok('launch control', 'flexible')
        : bad('launch control', 'unknown', 'not to be seen without SGX', 'see cpu'),
    release === ''
      ? bad('kernel', 'unknown', 'it does not say its version', 'uname -r')
      : since(5, 11)
        ? ok('kernel', release)
        : bad('kernel', 'problem', `${release}: the driver of SGX came with 5.11`, 'install a kernel of 5.11 or later; 6.0 for EDMM'),
    ...(sizing.edmm && release !== '' && !since(6, 0)
      ? [bad('edmm', 'problem', `${release}: EDMM came with Linux 6.0`, 'install a kernel of 6.0 or later, or render the manifest without --edmm')]
      : []),
  ]
}

/** Protected memory, ordinary memory, swap. */
export const memory: Check = async (machine, { sizing, role }) => {
  const nodes = (await machine.names('/sys/devices/system/node')).filter((name) => /^node\d+$/.test(name))
  const parts = await Promise.all(nodes.map((name) => machine.text(`/sys/devices/system/node/${name}/x86/sgx_total_bytes`)))
  const said = parts.filter((part) => part !== null)
  const epc = said.reduce((sum, part) => sum + Number.parseInt(part, 10), 0)
  const wanted = sizing.enclaveBytes
  const info = (await machine.text('/proc/meminfo')) ?? ''
  const bytes = (name: string): number | null => {
    const [, kilobytes] = new RegExp(`^${name}:\\s*(\\d{1,15}) kB$`, 'm').exec(info) ?? []
    return kilobytes === undefined ? null : Number(kilobytes) * 1024
  }
  const available = bytes('MemAvailable')
  const swap = bytes('SwapTotal') ?? 0
  const pages = 'in the BIOS: give more memory to the EPC (PRMRR size); or a smaller model, context, or another machine'
  return [
    said.length === 0
      ? bad('epc', 'unknown', 'the kernel names no protected memory', 'dmesg | grep -i "sgx: EPC"')
      : epc >= wanted
        ? ok('epc', `${size(epc)}, for an enclave of ${size(wanted)}`)
        : bad(
            'epc',
            sizing.edmm ? 'warning' : 'problem',
            `${size(epc)} for an enclave of ${size(wanted)}: pages would be moved in and out at every use`,
            pages,
          ),
    available === null
      ? bad('memory', 'unknown', 'the kernel does not say what is free', 'cat /proc/meminfo')
      : available >= (said.length === 0 ? wanted : 2 ** 30)
        ? ok('memory', `${size(available)} free`)
        : bad('memory', 'problem', `${size(available)} free`, 'stop other programs, or add memory'),
    swap === 0 || role !== 'worker'
      ? ok('swap', swap === 0 ? 'off' : 'of no matter for this role')
      : bad('swap', 'warning', `${size(swap)}: outside an enclave a worker refuses to load sealed models`, 'swapoff -a'),
  ]
}

/** Cores that may be used against threads that will run. */
export const cores: Check = async (machine, { threads }) => {
  const status = (await machine.text('/proc/self/status')) ?? ''
  const list =
    ((await machine.text('/sys/fs/cgroup/cpuset.cpus.effective')) ?? '').trim() || (/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '')
  const count = countOf(list)
  if (count === 0) return [bad('cores', 'unknown', 'no list of cores', 'nproc')]
  if (threads === 0 || threads < count)
    return [ok('cores', threads === 0 ? `${count}` : `${count}, for ${threads} threads of the engine and the rest`)]
  // Threads that spin while they wait for one that has no core: an answer takes a thousand times as long.
  return [
    bad(
      'cores',
      'problem',
      `${count} for ${threads} threads of the engine`,
      `--threads ${Math.max(1, count - 1)}, or a larger cpuset (docker run --cpuset-cpus)`,
    ),
  ]
}

/** `0-3,8` is five. */
function countOf(list: string): number {
  if (!/^\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*$/.test(list)) return 0
  return list.split(',').reduce((sum, range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return sum + Math.max(0, last - first + 1)
  }, 0)
}
