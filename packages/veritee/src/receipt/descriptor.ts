import { jcsDigest } from '../bytes/digest.ts'
import type { Json } from '../bytes/jcs.ts'
import { Shape } from '../bytes/shape.ts'
import { type Role, roles } from '../policy/policy.ts'

/** One weight file. `sha256` is over the whole file, so it equals what model hubs publish for it. */
export type WeightFile = { readonly name: string; readonly sha256: string; readonly size: number }

/** `unknown` only where an engine of another process holds the weights and this enclave has not seen them. */
export const weightFormats = ['gguf', 'safetensors', 'unknown'] as const
export type WeightFormat = (typeof weightFormats)[number]

export type DescribedModel = {
  readonly name: string
  readonly files: readonly WeightFile[]
  readonly format: WeightFormat
  readonly sealed: boolean
  readonly chat_template_digest: string | null
}

export type EngineFacts = { readonly name: string; readonly version: string; readonly build: string; readonly cpu_variant: string }

/** Everything beyond keys that a quote binds, through the keyset's subject (rule S7). Normative: spec/service-descriptor.md. */
export type ServiceDescriptor = {
  readonly version: 'veritee.descriptor.v1'
  readonly role: Role
  /** SHA-256 over the JCS form of the effective configuration. */
  readonly configuration_digest: string
  readonly models: readonly DescribedModel[]
  readonly engine: EngineFacts | null
  readonly admission: { readonly version: number; readonly digest: string; readonly keys: readonly string[] } | null
  /** Ed25519, 32 bytes hex. */
  readonly operator_key: string | null
  readonly release: { readonly version: string; readonly commit: string | null }
  /** Room for later facts; bound like the rest, judged by nothing that does not know it. */
  readonly extensions: { readonly [name: string]: unknown }
}

export const subjectPrefix = 'urn:veritee:service:'
const shape = new Shape('report_malformed')

/** Reads a service descriptor; every member is required, unknown ones are errors. Throws `report_malformed`. */
export function parseDescriptor(value: unknown): ServiceDescriptor {
  const o = shape.object(value, 'descriptor', [
    'version',
    'role',
    'configuration_digest',
    'models',
    'engine',
    'admission',
    'operator_key',
    'release',
    'extensions',
  ])
  const release = shape.object(o.release, 'descriptor.release', ['version', 'commit'])
  return {
    version: shape.oneOf(o.version, 'descriptor.version', ['veritee.descriptor.v1']),
    role: shape.oneOf(o.role, 'descriptor.role', roles),
    configuration_digest: shape.digest(o.configuration_digest, 'descriptor.configuration_digest'),
    models: shape.array(o.models, 'descriptor.models', 1024).map((item, i) => describedModel(item, `descriptor.models[${i}]`)),
    engine: o.engine === null ? null : parseEngineFacts(o.engine, 'descriptor.engine', shape),
    admission: o.admission === null ? null : admission(o.admission),
    operator_key: o.operator_key === null ? null : shape.hex(o.operator_key, 'descriptor.operator_key', 32),
    release: {
      version: shape.string(release.version, 'descriptor.release.version', 64),
      commit: shape.nullableString(release.commit, 'descriptor.release.commit', 64),
    },
    extensions: shape.hashable(shape.record(o.extensions, 'descriptor.extensions'), 'descriptor.extensions'),
  }
}

function describedModel(value: unknown, at: string): DescribedModel {
  const o = shape.object(value, at, ['name', 'files', 'format', 'sealed', 'chat_template_digest'])
  return {
    name: shape.string(o.name, `${at}.name`, 256),
    files: parseWeightFiles(o.files, `${at}.files`, shape),
    format: shape.oneOf(o.format, `${at}.format`, weightFormats),
    sealed: shape.boolean(o.sealed, `${at}.sealed`),
    chat_template_digest: o.chat_template_digest === null ? null : shape.digest(o.chat_template_digest, `${at}.chat_template_digest`),
  }
}

export function parseWeightFiles(value: unknown, at: string, by: Shape): readonly WeightFile[] {
  return by.array(value, at, 1024).map((item, i) => {
    const o = by.object(item, `${at}[${i}]`, ['name', 'sha256', 'size'])
    return {
      name: by.string(o.name, `${at}[${i}].name`, 256),
      sha256: by.digest(o.sha256, `${at}[${i}].sha256`),
      size: by.integer(o.size, `${at}[${i}].size`),
    }
  })
}

export function parseEngineFacts(value: unknown, at: string, by: Shape): EngineFacts {
  const o = by.object(value, at, ['name', 'version', 'build', 'cpu_variant'])
  return {
    name: by.string(o.name, `${at}.name`, 64),
    version: by.string(o.version, `${at}.version`, 128),
    build: by.digest(o.build, `${at}.build`),
    cpu_variant: by.string(o.cpu_variant, `${at}.cpu_variant`, 64),
  }
}

function admission(value: unknown): { version: number; digest: string; keys: readonly string[] } {
  const o = shape.object(value, 'descriptor.admission', ['version', 'digest', 'keys'])
  return {
    version: shape.integer(o.version, 'descriptor.admission.version'),
    digest: shape.digest(o.digest, 'descriptor.admission.digest'),
    keys: shape.array(o.keys, 'descriptor.admission.keys', 64).map((key, i) => shape.hex(key, `descriptor.admission.keys[${i}]`, 32)),
  }
}

/** The keyset subject that binds a descriptor: `urn:veritee:service:sha256:<hex of SHA-256 over its JCS form>`. */
export async function descriptorSubject(descriptor: ServiceDescriptor): Promise<string> {
  return subjectPrefix + (await jcsDigest(descriptor as unknown as Json))
}
