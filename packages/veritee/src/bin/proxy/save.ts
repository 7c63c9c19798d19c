import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Proof, ProofEvidence } from '../../client/index.ts'
import { fail } from '../../errors.ts'
import { createBundle, parseReport } from '../../receipt/index.ts'
import { drawnPath, formatDrawn } from '../evidence/drawn.ts'

/**
 * Keeps what proves answers, in a folder that only its owner can read: for each `x.proof.json`, and where there is a proof `x.bundle` (spec/evidence-bundle.md) with
 * `x.drawn.json` beside it, for `veritee audit`. Bodies are left out unless they were asked for: they are prompts and answers.
 */
export class EvidenceFolder {
  readonly #directory: string
  readonly #bodies: boolean

  private constructor(directory: string, bodies: boolean) {
    this.#directory = directory
    this.#bodies = bodies
  }

  /** Throws `file_unavailable`. */
  static async open(directory: string, bodies: boolean): Promise<EvidenceFolder> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 })
    } catch (cause) {
      throw fail('file_unavailable', `cannot make the folder ${directory}`, cause)
    }
    return new EvidenceFolder(directory, bodies)
  }

  /** Throws `file_unavailable`, and the codes of `createBundle`. */
  async keep(proof: Proof, { requestBody, responseBody, report, nonce, records }: ProofEvidence): Promise<void> {
    const { clientNonce } = proof.bytes
    // Names are of this machine's making: a receipt's id is the service's word.
    const path = join(this.#directory, `${proof.provenAt.replace(/[^0-9TZ]/g, '')}-${clientNonce.slice(0, 16)}`)
    await this.#write(`${path}.proof.json`, `${JSON.stringify(proof, null, 2)}\n`)
    if (records === null) return
    const { quote, collateral } = parseReport(report)
    const { receipt, session, workerReceipt } = records
    const bundle = createBundle({
      quote,
      collateral,
      report,
      exchange: {
        receipt,
        ...(session === null ? {} : { session }),
        ...(workerReceipt === null ? {} : { workerReceipt }),
        // Of a part the receipt has no hash: as a body it would be refused.
        ...(this.#bodies ? { requestBody, ...(proof.bytes.complete ? { responseBody } : {}) } : {}),
      },
    })
    await this.#write(`${path}.bundle`, `${bundle}\n`)
    await this.#write(drawnPath(`${path}.bundle`), formatDrawn({ nonce, clientNonce }))
  }

  async #write(path: string, text: string): Promise<void> {
    try {
      await writeFile(path, text, { mode: 0o600, flag: 'wx' })
    } catch (cause) {
      throw fail('file_unavailable', `cannot write ${path}`, cause)
    }
  }
}
