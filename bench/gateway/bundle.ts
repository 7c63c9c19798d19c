// A program of this folder as one JavaScript file, as what runs in an enclave is: from its sources a process also holds the compiler that takes their types away,
// some 20 MB, and what that leaves behind.
import { writeFile } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'
import { inAscii } from '../../tools/bundle/in-ascii.ts'
import { undiciAlias } from '../../tools/bundle/undici.ts'

const made = new Map<string, Promise<string>>()

/** Gives the path of the file; made once for each directory. */
export function bundled(module: string, directory: string): Promise<string> {
  const file = join(directory, `${basename(module, '.ts')}.mjs`)
  const before = made.get(file) ?? bundle(fileURLToPath(new URL(module, import.meta.url)), file)
  made.set(file, before)
  return before
}

async function bundle(input: string, file: string): Promise<string> {
  const build = await rolldown({
    input,
    platform: 'node',
    external: [/^node:/, ...builtinModules],
    resolve: { conditionNames: ['@veritee/source', 'node', 'default'], alias: undiciAlias },
    logLevel: 'warn',
  })
  const { output } = await build.generate({ format: 'esm', codeSplitting: false, comments: { legal: true, jsdoc: false, annotation: false } })
  await build.close()
  await writeFile(file, inAscii(output[0].code))
  return file
}
