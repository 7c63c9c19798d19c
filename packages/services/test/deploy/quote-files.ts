import { execFileSync } from 'node:child_process'
import { constants } from 'node:fs'
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { SimEnclave, SimPlatform } from 'veritee/attestation/sim'

/**
 * Stand-ins for Gramine's `/dev/attestation` that a process of its own can use: a file takes the report data, and a pipe gives the quote over it. Each pipe
 * serves one reader; the next one is in its place before this one's quote is there, so that no two readers share one.
 */
export async function serveQuotes(directory: string, platform: SimPlatform, enclave: SimEnclave): Promise<{ readonly stop: () => Promise<void> }> {
  await mkdir(join(directory, 'keys'), { recursive: true })
  await writeFile(join(directory, 'attestation_type'), 'dcap')
  await writeFile(join(directory, 'user_report_data'), new Uint8Array(64))
  await writeFile(
    join(directory, 'keys', '_sgx_mrenclave'),
    Uint8Array.from({ length: 16 }, (_, i) => i),
  )
  const quote = join(directory, 'quote')
  const place = async (): Promise<void> => {
    execFileSync('mkfifo', [`${quote}.next`])
    await rename(`${quote}.next`, quote)
  }
  await place()
  let stopping = false
  const serving = (async () => {
    for (;;) {
      const pipe = await open(quote, constants.O_WRONLY)
      if (stopping) return void (await pipe.close())
      await place()
      await pipe.writeFile(await platform.quote(enclave, new Uint8Array(await readFile(join(directory, 'user_report_data')))))
      await pipe.close()
    }
  })()
  return {
    stop: async () => {
      stopping = true
      // Lets the waiting open go on.
      const reader = await open(quote, constants.O_RDONLY | constants.O_NONBLOCK)
      await serving
      await reader.close()
    },
  }
}
