import { hkdfSync, randomBytes } from 'node:crypto'
import { constants, type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from 'veritee/errors'

/**
 * The key under which an enclave keeps its state on storage that it does not trust. Sealing hides and authenticates; it does not tell old state from
 * new (rule S11): whoever keeps state under it must bear that the host restores yesterday's.
 */
export interface SealingKey {
  /** `mrenclave`: only the same program on the same CPU has it. `file`: whoever reads the file has it; for simulation, and said so. */
  readonly source: 'mrenclave' | 'file'
  /** 32 bytes for one purpose: HKDF-SHA-256 (RFC 5869) with the purpose as `info`. The same purpose gives the same bytes, another one unrelated bytes. */
  derive(purpose: string): Uint8Array
}

const salt = 'veritee.sealing.v1'

/**
 * Gramine's key of this enclave's measurement, `keys/_sgx_mrenclave` (16 bytes; Gramine derives it with CPUSVN and ISVSVN). The key of the signer is
 * never used: older and careless enclaves of one signer share it. Throws `sealing_key_unavailable`.
 */
export async function openGramineSealingKey(directory = '/dev/attestation'): Promise<SealingKey> {
  const path = join(directory, 'keys', '_sgx_mrenclave')
  const file = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('sealing_key_unavailable', `expected the pseudo file ${path}: not in an SGX enclave`, cause)
  })
  return sealingKey('mrenclave', await exactly(file, 16, path))
}

/** A key in a file, made on first use with mode 0600: for simulation, where there is nothing to seal to. Throws `sealing_key_unavailable`. */
export async function openFileSealingKey(path: string): Promise<SealingKey> {
  const made = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600).catch(() => null)
  if (made !== null) {
    try {
      await made.write(randomBytes(32))
      await made.sync()
    } finally {
      await made.close()
    }
  }
  const file = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('sealing_key_unavailable', `${path} can be neither made nor read`, cause)
  })
  const { mode } = await file.stat()
  if ((mode & 0o077) !== 0) {
    await file.close()
    throw fail('sealing_key_unavailable', `expected ${path} to be readable by its owner only (mode 0600), found mode ${(mode & 0o777).toString(8)}`)
  }
  return sealingKey('file', await exactly(file, 32, path))
}

async function exactly(file: FileHandle, length: number, path: string): Promise<Uint8Array> {
  try {
    const bytes = new Uint8Array(length + 1)
    let read = 0
    for (let got = -1; got !== 0 && read < bytes.length; read += got) ({ bytesRead: got } = await file.read(bytes, read, bytes.length - read, null))
    if (read !== length) throw fail('sealing_key_unavailable', `expected ${length} bytes in ${path}, found ${read > length ? 'more' : read}`)
    return bytes.subarray(0, length)
  } finally {
    await file.close()
  }
}

/** Over a secret that the caller holds. */
export function sealingKey(source: SealingKey['source'], secret: Uint8Array): SealingKey {
  return { source, derive: (purpose) => new Uint8Array(hkdfSync('sha256', secret, salt, purpose, 32)) }
}
