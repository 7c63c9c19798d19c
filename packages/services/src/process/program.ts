import { createHash } from 'node:crypto'
import { type AdmissionTrust, parseAdmissionTrust } from 'veritee/admission'
import { type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import type { LogPolicy } from 'veritee/log'
import { type Policy, parsePolicy } from 'veritee/policy'
import type { Engine } from '../enclave/worker/engine/index.ts'
import type { EngineProcessOptions } from '../engine-process/index.ts'
import type { ResolvedModel } from '../models/locate.ts'

/** The program that runs, as the part that starts it knows it: from source, or as a measured bundle. */
export interface Program {
  /** Hex of 32 bytes over the code: what the simulator's measurement is made from. */
  readonly codeDigest: () => Promise<string>
  /** Finds a plain model by what the configuration says. */
  readonly findModel: (spec: string) => Promise<ResolvedModel>
  /** Runs a model: in this process in an enclave, in one of its own elsewhere. */
  readonly openEngine: (options: EngineProcessOptions) => Promise<Engine>
  /** The text of the anchors that are measured with the program; null where nothing is measured. */
  readonly anchors: string | null
}

/** What an enclave trusts to begin with. In an enclave it is part of what is measured, never of what its host configures (rule S13). */
export interface Anchors {
  /** Publishers of sealed models, lower-case hex of Ed25519 keys. */
  readonly publishers: readonly string[]
  readonly minimumVersion: number
  /** Plain models that an enclave loads: of each the sha256 of every file in its order, lower-case hex. */
  readonly models: readonly (readonly string[])[]
  /** What a controller demands of workers where it reads no admission manifest; null: nothing is said. */
  readonly policy: Policy | null
  /** Whose admission manifests are accepted; null: none. */
  readonly admission: AdmissionTrust | null
  /** The log that a key broker follows, and its witnesses; null: none. */
  readonly log: LogPolicy | null
  /** Of the text, as `sha256:` and hex: a member of the effective configuration. */
  readonly digest: string
}

const shape = new Shape('config_invalid')

/** Reads `anchors.json` of a bundle: `{"version":"veritee.anchors.v1","publishers":[...],"minimum_version":0,"policy":{...}|null,"models":[[...]],"admission":{...},"log":{...}}`, the last three may be absent. Throws `config_invalid`, `policy_invalid`. */
export function parseAnchors(text: string): Anchors {
  const o = shape.object(
    parseJson(text, { maxLength: 1 << 20, maxDepth: 12 }),
    'anchors',
    ['version', 'publishers', 'minimum_version', 'policy'],
    ['models', 'admission', 'log'],
  )
  shape.oneOf(o.version, 'anchors.version', ['veritee.anchors.v1'])
  return {
    publishers: shape.array(o.publishers, 'anchors.publishers', 16).map((key, i) => shape.hex(key, `anchors.publishers[${i}]`, 32)),
    minimumVersion: shape.integer(o.minimum_version, 'anchors.minimum_version', 1_000_000_000),
    models: o.models === undefined ? [] : shape.array(o.models, 'anchors.models', 64).map(hashes),
    policy: o.policy === null ? null : parsePolicy(jcs(o.policy as Json)),
    admission: o.admission === undefined ? null : parseAdmissionTrust(o.admission, 'anchors.admission', shape),
    log: o.log === undefined ? null : logOf(o.log),
    digest: `sha256:${createHash('sha256').update(text).digest('hex')}`,
  }
}

/** Its keys are read where they are used. */
function logOf(value: unknown): LogPolicy {
  const o = shape.object(value, 'anchors.log', ['origin', 'key', 'witnesses', 'quorum'])
  return {
    origin: shape.string(o.origin, 'anchors.log.origin', 512),
    key: shape.string(o.key, 'anchors.log.key', 512),
    witnesses: shape.array(o.witnesses, 'anchors.log.witnesses', 64).map((key, i) => shape.string(key, `anchors.log.witnesses[${i}]`, 512)),
    quorum: shape.integer(o.quorum, 'anchors.log.quorum', 64),
  }
}

function hashes(model: unknown, i: number): string[] {
  const name = `anchors.models[${i}]`
  return shape.array(model, name, 1024).map((hash, k) => shape.hex(hash, `${name}[${k}]`, 32))
}
