import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeManifest } from '../../../packages/services/src/deploy/manifest/make.ts'
import { gramineSigner, measureEnclave } from '../../../packages/services/src/deploy/release/measure.ts'
import { sizeEnclave } from '../../../packages/services/src/deploy/sizing.ts'
import { imageOfThisMachine } from '../../../packages/services/test/deploy/as-manifest.ts'
import { forDirect } from '../../../packages/services/test/deploy/gramine/direct.ts'
import { type Bundled, Ground } from '../../../packages/services/test/deploy/gramine/ground.ts'
import { installedGramine } from '../../../packages/services/test/deploy/gramine/installed.ts'
import { compareAnswers, type Figures, figuresOf, medianOf, underLinux } from './compare.ts'

const bundled = ['worker', 'controller', 'broker'] as const

/**
 * `npm run soak -- gramine [--starts N] [--answers N] [--cpu-variant NAME]`: each role started under `gramine-direct` and, in turn, as its manifest says on
 * Linux without it; then a worker of each kind asked the same, in turn. JSON on stdout, progress on stderr; true where every report and receipt verified.
 */
export async function soakGramine(args: readonly string[], commit: object): Promise<boolean> {
  const option = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: { starts: option, answers: option, 'cpu-variant': option } })
  const gramine = installedGramine()
  if (gramine === null) throw new TypeError('expected gramine-direct, gramine-manifest and gramine-sgx-sign of Gramine 1.8 or 1.9 in PATH')
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const date = new Date().toISOString()
  const directory = await mkdtemp(join(tmpdir(), 'veritee-soak-'))
  try {
    const variant = values['cpu-variant'] ?? 'haswell'
    const ground = await Ground.make(directory, gramine, variant)
    const linux = await imageOfThisMachine(join(directory, 'linux'), ground.image.bundle)
    const enclaves = []
    for (const role of bundled) {
      const sizing = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false)
      const { inputs } = await makeManifest(ground.image, { role, gramine: gramine.version, sizing, isvsvn: 1 })
      enclaves.push(await measureEnclave(inputs, gramineSigner()))
      progress(`${role}: measured`)
    }
    const starts = []
    for (const role of bundled) starts.push(await startsOf(ground, linux, role, Number(values.starts ?? 3), progress))
    const answers = await compareAnswers(ground, linux, Number(values.answers ?? 20), progress)
    const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, load: loadavg()[0], node: process.versions.node }
    const result = { soak: 'gramine', date, machine, commit, gramine: gramine.said, variant, enclaves, starts, answers }
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
    return answers.different === 0
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Starts of one role, in turn under Gramine and without: medians over the starts, and the largest figures of memory and threads. */
async function startsOf(ground: Ground, linux: Ground['image'], role: Bundled, count: number, progress: (line: string) => void): Promise<object> {
  const found: { readonly gramine: Figures[]; readonly linux: Figures[] } = { gramine: [], linux: [] }
  const manifest = await ground.rendered(role)
  for (let i = 0; i < count; i++) {
    await ground.under(`${role}-${i}`, role, forDirect(manifest), async (started, root) => {
      const { url } = await started.ready
      found.gramine.push(await figuresOf(started))
      await ground.verified(url, role)
      const code = await started.stop()
      if (code !== 0) throw new Error(`${role}: expected exit code 0, found ${code}`)
      await rm(root, { recursive: true })
    })
    await underLinux(ground, linux, `${role}-linux-${i}`, role, async (started) => {
      const { url } = await started.ready
      found.linux.push(await figuresOf(started))
      await ground.verified(url, role)
    })
    progress(`${role}: ${i + 1} of ${count} starts`)
  }
  const { enclaveBytes, maxThreads } = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false)
  return {
    role,
    limits: { enclave_mib: enclaveBytes / 2 ** 20, threads: maxThreads },
    gramine: medianOf(found.gramine),
    linux: medianOf(found.linux),
  }
}
