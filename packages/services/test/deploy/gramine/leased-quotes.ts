import { spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { SimEnclave, SimPlatform } from 'veritee/attestation/sim'

/**
 * Stand-ins for the files of `/dev/attestation` that `gramine-direct` does not make, for a program under Gramine, which opens no pipe of the host: a
 * quote of the simulator over the report data that was written last, made when its file is opened.
 */
export async function leaseQuotes(directory: string, platform: SimPlatform, enclave: SimEnclave): Promise<{ readonly stop: () => Promise<void> }> {
  // The key is read here outside of Gramine only, which has one of its own.
  await mkdir(join(directory, 'keys'), { recursive: true })
  await writeFile(join(directory, 'keys', '_sgx_mrenclave'), new Uint8Array(16))
  await writeFile(join(directory, 'attestation_type'), 'dcap')
  const reportData = join(directory, 'user_report_data')
  await writeFile(reportData, new Uint8Array(64))
  const script = fileURLToPath(new URL('leased_quotes.py', import.meta.url))
  const child = spawn('python3', [script, directory], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const { value } = await lines.next()
  if (value !== 'ready') throw new Error(`expected ready, found ${String(value)}: no leases on this file system?`)
  const serving = (async () => {
    while ((await lines.next()).value === 'opened') {
      const quote = await platform.quote(enclave, new Uint8Array(await readFile(reportData)))
      child.stdin.write(`${quote.length}\n`)
      child.stdin.write(quote)
    }
  })()
  return {
    stop: async () => {
      child.kill()
      await exited
      await serving
    },
  }
}
