import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { SimEnclave, SimTd } from 'veritee/attestation/sim'
import { jcs } from 'veritee/bytes'
import type { Role } from 'veritee/policy'

/** In a clone the library's sources lie beside these; in a package it is compiled, as this is, and wherever npm has put it. */
function roots(): { readonly [name: string]: URL } {
  const isSource = import.meta.url.endsWith('.ts')
  const veritee = isSource ? new URL('../../../veritee/src/', import.meta.url) : new URL('.', import.meta.resolve('veritee'))
  return { services: new URL('..', import.meta.url), veritee }
}

/**
 * SHA-256 (hex) over the names and hashes of all source files: the simulator's stand-in for what MRENCLAVE is computed from.
 * An edit to any of them gives other enclaves, as on hardware.
 */
export async function codeDigest(): Promise<string> {
  const entries: [string, string][] = []
  for (const [name, root] of Object.entries(roots())) {
    const directory = fileURLToPath(root)
    for (const file of (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())) {
      const path = `${file.parentPath}/${file.name}`
      const hash = createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
      entries.push([`${name}/${path.slice(directory.length)}`, hash])
    }
  }
  return createHash('sha256')
    .update(jcs(Object.fromEntries(entries)))
    .digest('hex')
}

const productIds: { readonly [R in Role]: number } = { controller: 1, worker: 2, broker: 3, validator: 4 }

/** The measurement a simulated enclave of a role reports. The signer stands for the project's release key; nobody holds it. */
export function simulatedEnclave(role: Role, code: string): SimEnclave {
  return {
    mrenclave: createHash('sha256').update(`veritee.sim.mrenclave.v1 ${role} ${code}`).digest('hex'),
    mrsigner: createHash('sha256').update('veritee.sim.mrsigner.v1').digest('hex'),
    isvProdId: productIds[role],
    isvSvn: 1,
  }
}

/** The same of a simulated TD. */
export function simulatedTd(role: Role, code: string): SimTd {
  return { mrtd: createHash('sha384').update(`veritee.sim.mrtd.v1 ${role} ${code}`).digest('hex') }
}
