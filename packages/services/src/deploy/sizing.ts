import { fail } from 'veritee/errors'
import type { Role } from 'veritee/policy'

/** What an enclave needs, as the manifest says it. */
export interface Sizing {
  /** EDMM: memory is added while the enclave runs, which needs SGX2 and Linux 6.0. Without it, everything is there from the start. */
  readonly edmm: boolean
  /** Bytes, a power of two, which is all that SGX has; the upper end under EDMM. */
  readonly enclaveBytes: number
  readonly maxThreads: number
  /** V8's old space, in MiB. */
  readonly heapMegabytes: number
}

/** What is asked of a worker; zeros for the other roles. */
export interface Demand {
  /** Bytes of all weight files. */
  readonly weights: number
  /** Bytes of the engine's context: keys and values of all sequences, and its buffers. */
  readonly context: number
  /** Threads of one evaluation. */
  readonly threads: number
}

const mebibyte = 1 << 20
const gibibyte = 1 << 30

/**
 * For the address space that Node reserves at start, which without EDMM is memory. Under gramine-direct the whole of a service had reserved at most 1.3 GiB
 * (bench/results/soak-gramine.md); Node is said to start in enclaves from 1.7 GB on, which nobody here could try.
 */
const nodeBytes = 1.75 * gibibyte
/** Beside weights and context: bodies, receipts, connections, the libraries. */
const spareBytes = 512 * mebibyte

/** The main thread and Gramine's own three; Node's pool of 4; V8's pool of 4; the watcher of signals; and what comes and goes. */
const baseThreads = 4 + 4 + 4 + 1 + 11

/**
 * Sizes an enclave. Weights count twice: the copy in `tmpfs`, and llama.cpp's mapping of it, which under Gramine is a copy too. The engine has one pool of
 * threads for prompts and one for answers.
 * Throws `config_invalid` where the sum is beyond 512 GiB, or threads are not 1 to 256.
 */
export function sizeEnclave(role: Role, { weights, context, threads }: Demand, edmm: boolean): Sizing {
  if (!Number.isSafeInteger(threads) || threads < 0 || threads > 256) throw fail('config_invalid', `threads: expected 0 to 256, found ${threads}`)
  const heapMegabytes = role === 'controller' ? 4096 : 2048
  const needed = nodeBytes + heapMegabytes * mebibyte + spareBytes + 2 * weights + context
  const enclaveBytes = powerOfTwo(needed)
  if (enclaveBytes > 512 * gibibyte) throw fail('config_invalid', `weights and context: expected what fits into 512 GiB, found ${needed} bytes`)
  return { edmm, enclaveBytes, maxThreads: 8 * Math.ceil((baseThreads + 2 * threads) / 8), heapMegabytes }
}

function powerOfTwo(bytes: number): number {
  let size = gibibyte
  while (size < bytes) size *= 2
  return size
}

/** As Gramine writes sizes: `8G`. */
export function gramineSize(bytes: number): string {
  if (bytes % gibibyte === 0) return `${bytes / gibibyte}G`
  if (bytes % mebibyte === 0) return `${bytes / mebibyte}M`
  throw new TypeError('gramineSize: expected whole mebibytes')
}

/** Reads `8G`, `512M`, `1024K`; null for anything else. */
export function readGramineSize(text: string): number | null {
  const [, digits, unit] = /^([0-9]{1,12})([KMG]?)$/.exec(text) ?? []
  if (digits === undefined) return null
  return Number(digits) * { '': 1, K: 1024, M: mebibyte, G: gibibyte }[unit as '' | 'K' | 'M' | 'G']
}
