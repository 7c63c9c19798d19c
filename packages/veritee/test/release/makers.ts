import { type Json, jcs, leafHash, merkleRoot, toHex, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/node.ts'
import {
  checkpointText,
  cosign,
  inclusionProof,
  noteSigner,
  noteText,
  parseNote,
  signCheckpoint,
  tlogProofText,
  verifierKeyText,
} from '../../src/log/index.ts'
import type { ReleasePolicy } from '../../src/policy/index.ts'
import {
  parseRelease,
  type ReleaseDocument,
  type ReleasedEnclave,
  type ReleaseStatement,
  releaseEntry,
  signRelease,
} from '../../src/release/index.ts'

const sha = (byte: string): string => `sha256:${byte.repeat(32)}`

/** An enclave of a statement, as far as anything is judged by it. */
export function enclaveOf(changes: Partial<ReleasedEnclave> = {}): ReleasedEnclave {
  return {
    role: 'worker',
    cpu_variant: 'x86-64-v3',
    gramine: '1.9',
    edmm: false,
    inputs: sha('01'),
    manifest: sha('02'),
    bundle: sha('03'),
    mrenclave: 'a1'.repeat(32),
    isv_prod_id: 3,
    isv_svn: 4,
    ...changes,
  }
}

/** Three makers of a product, and a log with two witnesses. */
export interface Makers {
  /** Two of three, a week, no log. */
  readonly demand: ReleasePolicy
  /** The same and the log. */
  readonly logged: ReleasePolicy
  /** Signed by the first `signers` of them. */
  statement(changes?: Partial<ReleaseStatement>, signers?: number): Promise<string>
  /** The statement with a proof of `entry`, which is its own unless another is given, under a checkpoint that `cosigned` of the witnesses saw. */
  inLog(statement: string, options?: { readonly entry?: Uint8Array; readonly cosigned?: number }): Promise<ReleaseDocument>
}

export async function createMakers(issued: number): Promise<Makers> {
  const keys = [generateEd25519(), generateEd25519(), generateEd25519()]
  const origin = 'log.example/releases'
  const log = await noteSigner(origin, 'ed25519', generateEd25519())
  const witnesses = await Promise.all(['w1.example', 'w2.example'].map((name) => noteSigner(name, 'cosignature', generateEd25519())))
  const demand: ReleasePolicy = {
    product: 'veritee',
    keys: keys.map(({ publicKey }) => toHex(publicKey)),
    threshold: 2,
    maxReleaseAge: 604_800,
    log: 'any',
  }
  return {
    demand,
    logged: {
      ...demand,
      log: { origin, key: verifierKeyText(log.verifier), witnesses: witnesses.map(({ verifier }) => verifierKeyText(verifier)), quorum: 2 },
    },
    statement: async (changes = {}, signers = 2) => {
      const statement = {
        version: 'veritee.release-statement.v1',
        product: 'veritee',
        sequence: 7,
        issued,
        release: '0.1.0',
        commit: 'ab'.repeat(20),
        enclaves: [enclaveOf()],
        svn_floor: {},
        withdrawn: [],
        ...changes,
      }
      let text = jcs({ ...(statement as unknown as { [name: string]: Json }), signatures: [] })
      for (const key of keys.slice(0, signers)) text = await signRelease(text, key)
      return text
    },
    inLog: async (statement, { entry, cosigned = 2 } = {}) => {
      const own = entry ?? releaseEntry(await parseRelease(statement))
      const leaves = await Promise.all([utf8('before'), own, utf8('after')].map((one) => leafHash(one)))
      const head = { origin, size: leaves.length, root: await merkleRoot(leaves), extensions: [] }
      const { text, signatures } = parseNote(await signCheckpoint(head, log))
      const seen = await Promise.all(witnesses.slice(0, cosigned).map((witness) => cosign(checkpointText(head), witness, issued)))
      const checkpoint = noteText({ text, signatures: [...signatures, ...seen] })
      return { statement, proof: tlogProofText({ extra: null, index: 1, path: await inclusionProof(leaves, 1), checkpoint }) }
    },
  }
}
