// A bundle of a large epoch, in a directory: signed records of 1,000 workers of 100 operators, by three validators.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createLocalBeacon, openingRound, seedCommitment } from 'veritee/beacon'
import { type Json, jcs, sha256Digest, toHex, utf8 } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import {
  emptyState,
  recordsCommitment,
  seedOfCanaries,
  signAuditRecord,
  signScoringPolicy,
  type UnsignedAuditRecord,
  type ValidatorPart,
  writeEpoch,
} from 'veritee/scoring'

const genesis = 1_700_000_000
const length = 86_400
const network = 'bench'

async function named(kind: string, i: number): Promise<string> {
  return (await sha256Digest(utf8(`${kind} ${i}`))).slice(7)
}

const canaryDigest = (index: number): string => `sha256:${index.toString(16).padStart(64, '0')}`

/** A record of a probe; one in fifty is a fault, one in a hundred inconclusive, as in a network that works. */
function recordOf(
  validator: string,
  index: number,
  worker: UnsignedAuditRecord['worker'],
  digests: readonly string[],
  controllers: readonly string[],
): UnsignedAuditRecord {
  const digest = (n: number): string => digests[(index * 7 + n) % digests.length] as string
  const level: 1 | 2 = index % 2 === 0 ? 1 : 2
  const outcome = index % 50 === 7 ? 'fault' : index % 100 === 31 ? 'inconclusive' : 'pass'
  const total = 64 + (index % 400)
  return {
    version: 'veritee.audit.v1',
    network,
    validator,
    epoch: 0,
    index,
    at: genesis + ((index * 97) % length),
    kind: index % 20 === 0 ? 'canary' : 'probe',
    worker,
    keyset: digest(1),
    model: { name: 'model', weights: digests[level] as string },
    path: [controllers[index % controllers.length] as string],
    attestation: { verdict: 'accepted', code: null, evidence: digest(2), collateral: digest(3) },
    view: { digest: digest(4), log: { origin: 'bench/log', index, leaf: digest(5).slice(7) } },
    replay:
      outcome === 'pass'
        ? {
            level,
            outcome,
            engine: digest(6),
            calibration: level === 2 ? (digests[3] as string) : null,
            tokens: { total, equal: total - 3, near: level === 2 ? total : null },
          }
        : null,
    timings: {
      worker: { first_ms: 180 + (index % 90), total_ms: 2600 },
      validator: { first_ms: 200 + (index % 90), total_ms: 2700 + (index % 500) },
    },
    output_tokens: total,
    canary: index % 20 === 0 ? canaryDigest(index) : null,
    verdict: outcome === 'pass' ? 'pass' : outcome === 'fault' ? 'unattributable' : 'inconclusive',
    reason: outcome === 'pass' ? null : outcome === 'fault' ? (index % 3 === 0 ? 'response_mismatch' : 'timeout') : 'engine_not_replayable',
    charged: outcome === 'fault' ? 'controller' : null,
  }
}

export async function makeLargeEpoch(directory: string, { workers, records }: { readonly workers: number; readonly records: number }): Promise<void> {
  const validators = (await Promise.all([0, 1, 2].map(() => generateEd25519()))).sort((a, b) => (toHex(a.publicKey) < toHex(b.publicKey) ? -1 : 1))
  const names = validators.map(({ publicKey }) => toHex(publicKey))
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(3), { period: 30, genesisTime: genesis - 3000 })
  const operators = (await Promise.all(Array.from({ length: 100 }, (_, i) => named('operator', i)))).sort()
  const controllers = operators.slice(0, 4)
  const platforms = await Promise.all(Array.from({ length: workers }, (_, i) => named('platform', i)))
  const digests = await Promise.all(Array.from({ length: 5000 }, async (_, i) => `sha256:${await named('digest', i)}`))
  const models = [1, 2].map((level) => ({
    weights: digests[level] as string,
    level2: level === 2 ? { calibration: digests[3] as string, p0: '0.0002', p0_upper: '0.0009' } : null,
  }))
  const policy = await signScoringPolicy(
    jcs({
      version: 'veritee.scoring-policy.v1',
      network,
      policy_version: 1,
      issued: genesis - 1,
      expires: genesis + 30 * 86_400,
      epoch: { genesis, length },
      validators: names.map((key) => ({ key, operator: null, weight: 1 })),
      models: models.map((model) => ({ ...model, first_ms: 250, tokens_per_second: '60.0' })).sort((a, b) => (a.weights < b.weights ? -1 : 1)),
      log: 'any',
      beacon: beacon.chain as unknown as Json,
      organic: { probability: '0.02' },
      half_life: 86_400,
      z: '1.96',
      exponents: { quality: 4, availability: 2, work: '0.7' },
      speed_share: '0.5',
      ema: { up: '0.2', down: '0.5' },
      sprt: { p1: '0.05', alpha: '0.000001', beta: '0.01', max_p0_upper: '0.001', vote_epochs: 10 },
      confirmations: 2,
      ban: { max_exponent: 10 },
      cap: '0.2',
      max_inconclusive: '0.2',
      repeat_window: 3600,
      min_path_records: 3,
      clip: '0.5',
      signatures: [],
    }),
    await generateEd25519(),
  )
  const parts: ValidatorPart[] = []
  for (const [v, validator] of names.entries()) {
    const own: string[] = []
    for (let index = 0; own.length < Math.floor(records / names.length) + (v < records % names.length ? 1 : 0); index++) {
      const i = (index * 31 + v) % workers
      const worker = { operator: operators[i % operators.length] as string, platform: platforms[i] as string, slot: 0 }
      own.push(await signAuditRecord(recordOf(validator, index, worker, digests, controllers), validators[v] as (typeof validators)[0]))
    }
    const canaries = { entropy: '5b'.repeat(32), commitments: own.flatMap((_, index) => (index % 20 === 0 ? [canaryDigest(index)] : [])) }
    const seed = await seedOfCanaries({ epoch: 0, validator }, canaries)
    const salt = '5a'.repeat(32)
    parts.push({
      validator,
      duties: {
        seed: { commitment: await seedCommitment({ epoch: 0, seed, validator }), seed: toHex(seed), proof: null },
        records: { commitment: await recordsCommitment({ epoch: 0, validator, salt }, own), salt, proof: null },
      },
      records: own,
      canaries,
      openings: [],
    })
  }
  const { bundle } = await writeEpoch(
    {
      policy,
      epoch: 0,
      roster: { manifest: digests[9] as string, salt: '07'.repeat(32), operators, shared: [] },
      before: emptyState,
      rounds: { opened: await beacon.round(openingRound(beacon.chain, genesis)), closed: null },
      log: null,
      validators: parts,
      proofs: [],
    },
    validators,
  )
  for (const [path, text] of bundle) {
    await mkdir(dirname(join(directory, path)), { recursive: true })
    await writeFile(join(directory, path), text)
  }
}
