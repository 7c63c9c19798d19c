import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { breaches, importsOf } from '../layers.ts'

let base: string
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'veritee-layers-'))
  for (const name of ['veritee', 'services']) await mkdir(join(base, 'packages', name, 'src'), { recursive: true })
})
afterEach(() => rm(base, { recursive: true, force: true }))

async function breachesOf(files: { readonly [path: string]: string }): Promise<string[]> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(base, 'packages', path)), { recursive: true })
    await writeFile(join(base, 'packages', path), text)
  }
  return breaches(base)
}

test('the repository itself keeps to the rules', async () => {
  expect(await breaches()).toEqual([])
})

describe('a breach is found', () => {
  test.for([
    ['an import of a later folder', 'veritee/src/policy/a.ts', "import { x } from '../receipt/b.ts'", /receipt\/b\.ts, which comes after it/],
    ['the same over several lines', 'veritee/src/bytes/a.ts', "import {\n  x,\n  type Y,\n} from '../attestation/b.ts'", /comes after it/],
    ['a re-export of a later folder', 'veritee/src/bytes/a.ts', "export * from '../policy/b.ts'", /comes after it/],
    ['a dynamic import of one', 'veritee/src/bytes/a.ts', "const x = await import('../policy/b.ts')", /comes after it/],
    ['the simulator used by the verifier', 'veritee/src/attestation/verify.ts', "import { x } from './sim/index.ts'", /comes after it/],
    ['a dependency of the library', 'veritee/src/client/a.ts', "import x from 'undici'", /no dependencies/],
    [
      'the services package, other than by its one name',
      'veritee/src/bin/evidence/replay.ts',
      "const x = await import('@veritee/services' as string)",
      /no dependencies/,
    ],
    ['the same at load time', 'veritee/src/bin/evidence/replay.ts', "import { x } from '@veritee/services/replay'", /no dependencies/],
    [
      'the same beside the allowed form',
      'veritee/src/bin/evidence/replay.ts',
      "import { x } from '@veritee/services/replay'\nconst y = await import('@veritee/services/replay' as string)",
      /no dependencies/,
    ],
    ['the same in another file', 'veritee/src/client/a.ts', "const x = await import('@veritee/services/replay' as string)", /no dependencies/],
    ['Node in the library', 'veritee/src/receipt/a.ts', "import { x } from 'node:crypto'", /node:/],
    ['the clock', 'veritee/src/policy/a.ts', 'export const x = () => Date.now()', /Date\.now/],
    ['the date of today', 'veritee/src/policy/a.ts', 'export const x = () => new Date()', /new Date\(\)/],
    ['the network', 'veritee/src/policy/a.ts', "export const x = () => fetch('http://a')", /fetch/],
    ['the process', 'veritee/src/policy/a.ts', 'export const x = () => process.env.X', /process/],
    ['module state', 'veritee/src/policy/a.ts', 'let x = 0\nexport const y = () => x++', /let/],
    ['an unknown folder', 'veritee/src/utils/a.ts', 'export const x = 1', /no known folder/],
    ['a file of 600 lines', 'veritee/src/policy/a.ts', '\n'.repeat(600), /500 lines/],
    ['a reach into the other package', 'services/src/controller/a.ts', "import { x } from '../../../veritee/src/errors.ts'", /outside its package/],
    ['a package that enclaves may not use', 'services/src/enclave/worker/a.ts', "import { request } from 'undici'", /list for enclaves/],
    ['an enclave that imports the controller', 'services/src/enclave/worker/a.ts', "import { x } from '../../controller/b.ts'", /comes after it/],
  ] as const)('%s', async ([, path, text, message]) => {
    expect(await breachesOf({ [path]: text })).toEqual([expect.stringMatching(message)])
  })

  test('and what is allowed is none', async () => {
    expect(
      await breachesOf({
        'veritee/src/client/a.ts': "import http from 'node:http'\nexport const x = () => Date.now()",
        'veritee/src/bytes/a.ts': "import * as c from '#crypto'\n// Date.now() is a comment\nexport const d = (at: Date) => new Date(at)",
        'veritee/src/bin/evidence/replay.ts': "const x = (await import('@veritee/services/replay' as string)) as Y",
        'services/src/enclave/worker/a.ts': "import { Hono } from 'hono'\nimport { x } from 'veritee/errors'",
      }),
    ).toEqual([])
  })
})

test('strings that look like imports are none', () => {
  expect(importsOf("export const kinds = ['a', 'b']\nexport type K = 'c'\nconst from = 'd'")).toEqual([])
})
