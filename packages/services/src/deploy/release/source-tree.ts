import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fail } from 'veritee/errors'
import { nodeFiles } from '../../process/files.ts'
import { parseMeasurements } from './measure.ts'

/** A checkout of the source, by whose own programs everything is built: this process builds nothing. */
export interface SourceTree {
  /** The commit that is checked out. Throws `release_not_reproduced` where a file that belongs to it was changed, or one lies beside. */
  commit(): Promise<string>
  /** Builds the bundle for a CPU variant into a directory. */
  bundle(cpuVariant: string, out: string): Promise<void>
  /** `measurements.json` of inputs, by this tree's template and `gramine-sgx-sign` where that is installed. */
  measure(inputs: string, out: string): Promise<readonly Readonly<Record<string, unknown>>[]>
}

/** The tree in `directory`: a git checkout in which `npm ci` has run. `anchors` is the file that its bundles are built with. */
export function sourceTree(directory: string, anchors: string | null): SourceTree {
  const run = async (program: string, args: readonly string[]): Promise<string> => {
    try {
      const { stdout } = await promisify(execFile)(program, args, { cwd: directory, encoding: 'utf8', maxBuffer: 8 << 20 })
      return stdout
    } catch (cause) {
      const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim().split('\n').at(-1) : 'it cannot be started'
      throw fail('enclave_input_missing', `${directory}: ${program} ${args.slice(0, 3).join(' ')} failed: ${(said ?? '').slice(0, 300)}`, cause)
    }
  }
  const node = (...args: readonly string[]): Promise<string> => run(process.execPath, [join('tools', 'run.mjs'), ...args])
  return {
    commit: async () => {
      const changed = (await run('git', ['status', '--porcelain'])).split('\n').filter((line) => line !== '')
      const [first] = changed
      if (first !== undefined)
        throw fail(
          'release_not_reproduced',
          `${directory}: expected the files of its commit and no others, found ${JSON.stringify(first.slice(0, 200))}`,
        )
      return (await run('git', ['rev-parse', 'HEAD'])).trim()
    },
    bundle: async (cpuVariant, out) => {
      await node('tools/bundle.ts', '--out', out, '--cpu-variant', cpuVariant, ...(anchors === null ? [] : ['--anchors', anchors]))
    },
    measure: async (inputs, out) => {
      const veriteed = ['--conditions=@veritee/source', join('packages', 'services', 'src', 'bin', 'veriteed.ts')]
      await node(...veriteed, 'release', 'measure', '--inputs', inputs, '--out', out)
      return parseMeasurements(await nodeFiles.readText(out))
    },
  }
}
