import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { collateralToJson, type Trust } from '../../src/attestation/index.ts'
import { createSimPlatform, type SimEnclave, type SimPlatform, type SimTd } from '../../src/attestation/sim/index.ts'
import { type Json, jcs, toBase64, toHex, utf8 } from '../../src/bytes/index.ts'
import type { Role } from '../../src/policy/index.ts'
import {
  type DescribedModel,
  descriptorSubject,
  type Keyset,
  keysetDigest,
  type ReceiptEvent,
  type ServiceDescriptor,
  statementReportData,
} from '../../src/receipt/index.ts'

/** When enclaves start; everything is judged ten minutes later, which is now: the command line knows no other time. */
export const start: Date = new Date(Math.floor(Date.now() / 1000) * 1000 - 600_000)
export const judgedAt: Date = new Date(start.getTime() + 600_000)
export const seconds = (date: Date): number => Math.floor(date.getTime() / 1000)
export const servedAt: number = seconds(start) + 300
export const sha = (data: string | Uint8Array): string => `sha256:${createHash('sha256').update(data).digest('hex')}`
export const nonceOf = (name: string): string => sha(name).slice(7)
export const measured = (name: string): SimEnclave => ({ mrenclave: nonceOf(name), mrsigner: 'b2'.repeat(32), isvProdId: 1, isvSvn: 1 })

export const demoModel: DescribedModel = {
  name: 'demo-model',
  files: [{ name: 'demo.gguf', sha256: sha('weights'), size: 7 }],
  format: 'gguf',
  sealed: false,
  chat_template_digest: sha('template'),
}
export const engine = { name: 'engine', version: '1', build: sha('build'), cpu_variant: 'x86-64-v3' }

export function descriptorOf(role: Role, changes: Partial<ServiceDescriptor> = {}): ServiceDescriptor {
  return {
    version: 'veritee.descriptor.v1',
    role,
    configuration_digest: sha('configuration'),
    models: role === 'worker' ? [demoModel] : [],
    engine: role === 'worker' ? engine : null,
    admission: null,
    operator_key: null,
    release: { version: '0.1.0', commit: null },
    extensions: {},
    ...changes,
  }
}

let shared: Promise<SimPlatform> | null = null
/** One machine for all tests of a file: its certificates are slow to make. */
export function machine(): Promise<SimPlatform> {
  shared ??= createSimPlatform({ at: start })
  return shared
}
export async function trust(): Promise<Trust> {
  return { roots: [(await machine()).root] }
}

/** A running enclave, made with Node's own crypto and none of the code under test but digests and the statement (which the vectors pin). */
export interface TestEnclave {
  readonly keyset: Keyset
  readonly digest: string
  readonly descriptor: ServiceDescriptor
  readonly spki: string
  readonly receiptKey: KeyObject
  report(nonce: string | null, changes?: ReportChanges): Promise<string>
  /** The text of a receipt over these events; `changes` are made before it is signed. */
  receipt(events: readonly (ReceiptEvent | Json)[], changes?: { readonly [name: string]: Json }): string
}

export interface ReportChanges {
  readonly keyset?: Keyset
  readonly descriptor?: Json
  readonly reportData?: Uint8Array
  /** Members of the report, of `attestation` and of `evidence`, after the quote was made. */
  readonly report?: { readonly [name: string]: Json }
  readonly attestation?: { readonly [name: string]: Json }
  readonly evidence?: { readonly [name: string]: Json }
}

export interface EnclaveOptions {
  readonly platform?: SimPlatform
  readonly measured?: SimEnclave
  /** A TD in place of an enclave. */
  readonly td?: SimTd
  readonly descriptor?: Partial<ServiceDescriptor>
  readonly keyset?: Partial<Keyset>
  readonly spki?: string
  /** Named by the descriptor, and signs the keyset digest. */
  readonly operator?: TestOperator
}

/** An operator's keys (rule S17), of Node's own crypto. */
export interface TestOperator {
  readonly key: KeyObject
  /** 32 bytes hex. */
  readonly name: string
}

export function createOperator(): TestOperator {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return { key: privateKey, name: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex') }
}

export async function createEnclave(role: Role, options: EnclaveOptions = {}): Promise<TestEnclave> {
  const platform = options.platform ?? (await machine())
  const enclave = options.measured ?? measured(role)
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const descriptor = descriptorOf(role, { ...(options.operator && { operator_key: options.operator.name }), ...options.descriptor })
  const spki = options.spki ?? nonceOf(`tls of ${role}`)
  const keyset: Keyset = {
    subject: await descriptorSubject(descriptor),
    not_after: seconds(start) + 86_400,
    receipt_signing_keys: [
      { key_id: 'receipt-1', algo: 'ed25519', public_key: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex') },
    ],
    e2ee_public_keys: [],
    tls_public_keys: [{ spki_sha256: spki }],
    ...options.keyset,
  }
  const digest = await keysetDigest(keyset)
  const report = async (nonce: string | null, changes: ReportChanges = {}): Promise<string> => {
    const bound = changes.reportData ?? (await statementReportData(digest, nonce))
    const evidence = {
      quote_b64: toBase64(await (options.td === undefined ? platform.quote(enclave, bound) : platform.tdQuote(options.td, bound))),
      collateral: collateralToJson(options.td === undefined ? platform.collateral : platform.tdxCollateral),
      descriptor: changes.descriptor ?? descriptor,
      nonce,
      ...(options.operator && { operator_signature: sign(null, utf8(`veritee.operator.v1\n${digest}`), options.operator.key).toString('hex') }),
      ...changes.evidence,
    }
    const attestation = {
      tee_type: options.td === undefined ? 'sgx' : 'tdx',
      workload_keyset: changes.keyset ?? keyset,
      report_data: toHex(bound.subarray(0, 32)),
      evidence,
    }
    return JSON.stringify({
      api_version: 'aci/1',
      workload_keyset_digest: digest,
      attestation: { ...attestation, ...changes.attestation },
      service_capabilities: { supported_e2ee_versions: [], serving: descriptor.role === 'controller' ? 'aggregator' : 'direct' },
      ...changes.report,
    })
  }
  const receipt = (events: readonly (ReceiptEvent | Json)[], changes: { readonly [name: string]: Json } = {}): string => {
    const unsigned = {
      api_version: 'aci/1',
      receipt_id: 'rcpt-1',
      chat_id: 'chatcmpl-1',
      model: 'demo-model',
      workload_keyset_digest: digest,
      endpoint: '/v1/chat/completions',
      method: 'POST',
      served_at: servedAt,
      event_log: events as readonly Json[],
      key_id: 'receipt-1',
      ...changes,
    }
    return JSON.stringify({ ...unsigned, signature: signed(unsigned, privateKey) })
  }
  return { keyset, digest, descriptor, spki, receiptKey: privateKey, report, receipt }
}

export function signed(unsigned: { readonly [name: string]: Json }, key: KeyObject): string {
  return sign(null, utf8(jcs(unsigned)), key).toString('hex')
}

/** A document signed again by its rightful key after an edit: what only the enclave itself could have made. */
export function resigned(text: string, key: KeyObject, edit: (document: Record<string, Json>) => void): string {
  const { signature: _, ...unsigned } = JSON.parse(text) as Record<string, Json>
  edit(unsigned)
  return JSON.stringify({ ...unsigned, signature: signed(unsigned, key) })
}

export const modelEvent: ReceiptEvent = { type: 'veritee.model', ...demoModel, provenance: 'hashed_while_loading' }
