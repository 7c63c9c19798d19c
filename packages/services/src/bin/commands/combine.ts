import { parseArgs } from 'node:util'
import { manifestPolicy, parseAdmissionManifest, parseAdmissionTrust, verifyAdmissionManifest } from 'veritee/admission'
import { intelSgxRootCa } from 'veritee/attestation'
import { fromUtf8, parseDocument, Shape } from 'veritee/bytes'
import { epochFilesAt } from 'veritee/client'
import { fail } from 'veritee/errors'
import { parseState, type ReadFile, rosterOf } from 'veritee/scoring'
import { readPublisherKey } from '../../models/sealing/keys.ts'
import { nodeFiles } from '../../process/files.ts'
import { readRoots } from '../../process/roots.ts'
import { type Combined, combineEpoch } from '../../validator/combine/combine.ts'
import { proofJudge } from '../../validator/combine/judging.ts'
import { readBundle, writeBundle } from '../../validator/publish/directory.ts'

const help = `veriteed validator combine: makes one bundle of several validators' bundles about the same epoch

  veriteed validator combine DIR|URL... --trust FILE --manifest FILE --out DIR [options]

  DIR|URL          bundles (spec/epoch.md); the first that holds says which policy, roster, rounds and log
  --trust FILE     whose scoring policies and manifests count: {"network", "keys", "threshold", "minimum_version"}
  --manifest FILE  the admission manifest in force: whose operators take part, and whose evidence counts for fraud proofs
  --root FILE      root certificate of a simulated machine, for fraud proofs
  --previous DIR|URL  the combined bundle of the epoch before, from whose state this one begins (default: that of the bundles, if it is one)
  --key FILE       signs as a validator of the policy; may be left out where the bundles are one and the same, whose signatures are then put together
  --out DIR        where the bundle goes; it must not be there yet
  --json           what came of each bundle, as JSON

Each bundle is verified by itself; one that does not hold is left out and named. Records of a validator are taken only from bundles that it signed.
Exit codes: 0 written, 1 no bundle holds or one of the files is not accepted, 2 wrong usage, 3 a file of yours is not there.
`
const options = {
  trust: { type: 'string' },
  manifest: { type: 'string' },
  root: { type: 'string', multiple: true, default: [] as string[] },
  previous: { type: 'string' },
  key: { type: 'string', multiple: true, default: [] as string[] },
  out: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

function read(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

export async function combine(args: readonly string[]): Promise<number> {
  const { values, positionals } = read(args)
  if (values.help) {
    process.stdout.write(help)
    return 0
  }
  if (positionals.length === 0) throw fail('usage', 'expected bundles; see veriteed validator combine --help')
  const required = (name: 'trust' | 'manifest' | 'out'): string => {
    const value = values[name]
    if (value === undefined) throw fail('usage', `expected --${name}; see veriteed validator combine --help`)
    return value
  }
  const out = required('out')
  const trustText = await nodeFiles.readText(required('trust'))
  const trust = parseAdmissionTrust(
    parseDocument(trustText, { maxLength: 1 << 16, maxDepth: 4, integersOnly: true }, 'usage', '--trust'),
    '--trust',
    new Shape('usage'),
  )
  const manifestText = await nodeFiles.readText(required('manifest'))
  const { manifest } = await parseAdmissionManifest(manifestText)
  // It was in force during the epoch: the time of now says nothing of it.
  const verified = await verifyAdmissionManifest(manifestText, trust, new Date(manifest.issued * 1000))
  const roots = [intelSgxRootCa, ...(await Promise.all(values.root.map((path) => readRoots(path, nodeFiles)))).flat()] as const
  const combined = await combineEpoch(
    positionals.map((name) => ({ name, read: filesOf(name) })),
    {
      context: { trust, roster: rosterOf(verified), verifyProof: proofJudge({ trust: { roots }, policy: manifestPolicy(manifest) }) },
      before: values.previous === undefined ? null : await stateAfter(filesOf(values.previous), manifest.network),
      keys: await Promise.all(values.key.map(readPublisherKey)),
    },
  )
  const directory = await writeBundle(out, combined.bundle)
  tell(combined, directory, values.json)
  return 0
}

function filesOf(name: string): ReadFile {
  return /^[a-z]+:\/\//i.test(name) ? epochFilesAt(name) : readBundle(name)
}

async function stateAfter(files: ReadFile, network: string) {
  return parseState(fromUtf8(await files('after.json', 1 << 28)), network)
}

function tell({ sources, doubled, signers, written }: Combined, directory: string, json: boolean): void {
  const missed = [...written.missed].map(([validator, { duty, detail }]) => ({ validator, duty, detail }))
  if (json) {
    process.stdout.write(`${JSON.stringify({ directory, signed_by: signers, sources, doubled, missed }, null, 2)}\n`)
    return
  }
  const lines = [
    ...sources.map(({ name, refused, validators }) =>
      refused === null
        ? `${name}: ${validators.length === 0 ? 'nothing new' : validators.join(', ')}`
        : `${name}: left out: ${refused.code}: ${refused.message}`,
    ),
    ...doubled.map((validator) => `validator ${validator} signed two different accounts: neither counts`),
    ...missed.map(({ validator, duty, detail }) => `validator ${validator} counts for nothing: ${duty}: ${detail}`),
    `signed by ${signers.join(', ')}`,
    directory,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}
