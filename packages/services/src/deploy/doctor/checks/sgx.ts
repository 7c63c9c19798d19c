import { defaultGramineDirectory } from '../../layout.ts'
import { bad, type Check, type Finding, ok } from '../finding.ts'
import type { Machine } from '../machine.ts'

/** The two devices of SGX, and whether this user may open them. */
export const devices: Check = async (machine) => [
  await device(
    machine,
    'enclave device',
    ['/dev/sgx_enclave', '/dev/sgx/enclave'],
    'sudo chmod 666 /dev/sgx_enclave   # or add the user to its group',
  ),
  await device(
    machine,
    'provision device',
    ['/dev/sgx_provision', '/dev/sgx/provision'],
    'sudo usermod -aG sgx_prv "$USER"   # the quoting enclave needs it; then log in anew',
  ),
]

async function device(machine: Machine, check: string, paths: readonly string[], permit: string): Promise<Finding> {
  for (const path of paths) {
    const kind = await machine.kind(path)
    if (kind === null) continue
    if (kind !== 'device')
      return bad(
        check,
        'problem',
        `${path} is no device`,
        `sudo rm -r ${path} && sudo modprobe -r intel_sgx; or start the container with --device=${path}`,
      )
    return (await machine.allowed(path, 'write')) ? ok(check, path) : bad(check, 'problem', `${path} may not be opened by this user`, permit)
  }
  return bad(
    check,
    'problem',
    `no ${paths.join(' or ')}`,
    `start the container with --device=${paths[0] ?? ''}; on the machine itself see cpu and kernel`,
  )
}

const socket = '/var/run/aesmd/aesm.socket'
const providers = ['libdcap_quoteprov.so.1', 'libdcap_quoteprov.so', 'libsgx_default_qpl.so.1']
const libraries = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib']

/** What makes quotes outside the enclave: the service AESM, and a library that finds the certificate of the processor. */
export const quoting: Check = async (machine) => {
  const kind = await machine.kind(socket)
  const aesm =
    kind === null
      ? bad(
          'aesm',
          'problem',
          `no ${socket}`,
          'sudo apt-get install sgx-aesm-service libsgx-aesm-quote-ex-plugin libsgx-aesm-ecdsa-plugin && sudo systemctl enable --now aesmd; in a container mount the socket',
        )
      : kind !== 'socket'
        ? bad(
            'aesm',
            'problem',
            `${socket} is no socket: the container was started before the service`,
            'sudo systemctl restart aesmd, then start the container anew',
          )
        : (await machine.allowed(socket, 'write'))
          ? ok('aesm', socket)
          : bad('aesm', 'problem', `${socket} may not be opened by this user`, 'sudo usermod -aG aesmd "$USER"')
  for (const directory of libraries)
    for (const name of providers)
      if ((await machine.kind(`${directory}/${name}`)) !== null) return [aesm, ok('quote provider', `${directory}/${name}`)]
  return [
    aesm,
    bad(
      'quote provider',
      'problem',
      `none of ${providers.join(', ')}`,
      'sudo apt-get install libsgx-dcap-default-qpl; on a cloud its own: az-dcap-client',
    ),
  ]
}

/** Gramine itself. */
export const gramine: Check = async (machine) => [
  (await machine.kind(`${defaultGramineDirectory}/libsysdb.so`)) === null
    ? bad('gramine', 'problem', `no ${defaultGramineDirectory}/libsysdb.so`, 'install Gramine 1.8 or 1.9 (gramineproject.io), or use the container')
    : ok('gramine', defaultGramineDirectory),
]
