import { type Json, parseJson } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import type { Field, Secret, Sections, ValuesOf } from './field.ts'

/** The configuration of one role: what may be said, where, and within which bounds. One schema makes the reader, the help and the documentation. */
export interface Schema<S extends Sections> {
  readonly role: 'worker' | 'controller' | 'broker' | 'log' | 'witness'
  readonly sections: S
  readonly secrets: { readonly [name: string]: Secret }
}

/** What a process runs with. */
export interface Configuration<S extends Sections> {
  readonly values: ValuesOf<S>
  /** Never printed, logged, hashed or published. */
  readonly secrets: { readonly [name: string]: string | null }
  /** After defaults, without secrets but with where each came from: what the digest in the service descriptor is over (rule S7). */
  readonly effective: Json
}

/** Where the parts of a configuration come from. */
export interface Sources {
  readonly args: readonly string[]
  readonly environment: { readonly [name: string]: string | undefined }
  /** Reads a small text file. */
  readonly readText: (path: string) => Promise<string>
}

const limits = { maxLength: 1 << 20, maxDepth: 8 }

/** Flags that every role has beside those of its schema. */
export const commonFlags = {
  config: 'a JSON file with the configuration; what a flag says wins over it. VERITEE_CONFIG names it too',
  check: 'read the configuration, print it and its digest, and stop',
  json: 'one line of JSON on stdout when the service is ready; everything else goes to stderr',
  help: 'this text',
} as const

/** What was asked for beside the configuration. */
export interface Asked {
  readonly help: boolean
  readonly json: boolean
  readonly check: boolean
}

/**
 * Reads a configuration. In order: the arguments, every one known and none twice (but lists); every `VERITEE_*` variable known, in an enclave and in a confidential VM every variable; the file, strict JSON with known
 * members only; each value within its bounds; what has no default must be there; secrets from exactly one place.
 *
 * Unknown is refused, not ignored: what a host can set must be something that was thought about. Throws `usage` for arguments and `config_invalid`
 * for the rest, naming what was expected; `file_unavailable`.
 */
export async function readConfiguration<S extends Sections>(
  schema: Schema<S>,
  sources: Sources,
): Promise<{ readonly asked: Asked; readonly configuration: Configuration<S> | null }> {
  const said = readArguments(schema, sources.args)
  const has = (name: string): boolean => said.switches.has(name)
  const asked: Asked = { help: has('help'), json: has('json'), check: has('check') }
  if (asked.help) return { asked, configuration: null }
  const known = ['VERITEE_CONFIG', ...Object.values(schema.secrets).map(({ variable }) => variable)]
  for (const name of Object.keys(sources.environment))
    if (name.startsWith('VERITEE_') && !known.includes(name))
      throw fail('config_invalid', `environment: expected no VERITEE_ variable but ${known.join(', ')}; found ${JSON.stringify(name.slice(0, 60))}`)
  const file = said.config ?? sources.environment.VERITEE_CONFIG ?? null
  const document = file === null ? {} : parseFile(await sources.readText(file), file)
  const values = readSections(schema, document, said, file)
  const { secrets, origins } = await readSecrets(schema, said, sources)
  const plain = values as unknown as { readonly [section: string]: { readonly [name: string]: Json } }
  // Every machine but a simulated one, by whatever name: what is added later must not escape for want of being listed here.
  const tee = plain.enclave?.tee
  const simulated = typeof tee === 'string' && tee.startsWith('simulate')
  // Logs and witnesses are no enclaves: nobody measures them, and nothing is bound to their surroundings.
  const measured = plain.enclave !== undefined && !simulated
  const environment = !measured ? {} : enclaveEnvironment(sources.environment, known)
  const effective = { ...plain, secrets: origins, environment }
  return { asked, configuration: { values, secrets, effective } }
}

/** What the manifest of an enclave, or the image of a confidential VM, may set beside our own: where things are, and how memory and threads are shared out. */
const enclaveVariables = ['HOME', 'LANG', 'LD_LIBRARY_PATH', 'MALLOC_ARENA_MAX', 'OMP_NUM_THREADS', 'PATH', 'TZ', 'UV_THREADPOOL_SIZE']

/**
 * The environment of an enclave or in a confidential VM, part of what is in force. Node, the C library and the engine read dozens of variables that change what they do
 * (`NODE_OPTIONS`, `LD_PRELOAD`, `GGML_...`); those are refused, whoever set them.
 */
function enclaveEnvironment(environment: Sources['environment'], ours: readonly string[]): { readonly [name: string]: string } {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || ours.includes(name)) continue
    if (!enclaveVariables.includes(name))
      throw fail(
        'config_invalid',
        `environment: outside simulation expected no variable but ${[...enclaveVariables, ...ours].join(', ')}; found ${JSON.stringify(name.slice(0, 60))}`,
      )
    found[name] = value.slice(0, 4096)
  }
  return found
}

interface Said {
  readonly config: string | null
  readonly switches: ReadonlySet<string>
  /** Flag -> what was said, in order. */
  readonly values: ReadonlyMap<string, readonly string[]>
}

function readArguments<S extends Sections>(schema: Schema<S>, args: readonly string[]): Said {
  const kinds = new Map<string, Field<unknown>['kind']>([
    ['config', 'text'],
    ['check', 'switch'],
    ['json', 'switch'],
    ['help', 'switch'],
    ...fieldsOf(schema).flatMap(({ field }) => (field.flag === null ? [] : [[field.flag, field.kind] as const])),
    ...Object.values(schema.secrets).map(({ flag }) => [flag, 'text'] as const),
  ])
  const switches = new Set<string>()
  const values = new Map<string, readonly string[]>()
  const rest = [...args]
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const [, name = '', inline] = /^--([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(arg === '-h' ? '--help' : arg) ?? []
    const kind = kinds.get(name)
    if (kind === undefined)
      throw fail('usage', `unknown argument ${JSON.stringify((arg.split('=')[0] ?? '').slice(0, 60))}; see veriteed ${schema.role} --help`)
    const before = values.get(name) ?? []
    if (switches.has(name) || (before.length > 0 && kind !== 'list')) throw fail('usage', `--${name}: expected once`)
    if (kind === 'switch') {
      if (inline !== undefined) throw fail('usage', `--${name}: expected no value`)
      switches.add(name)
      continue
    }
    const value = inline ?? rest.shift()
    if (value === undefined || (inline === undefined && value.startsWith('--'))) throw fail('usage', `--${name}: expected a value`)
    values.set(name, [...before, value])
  }
  return { config: values.get('config')?.[0] ?? null, switches, values }
}

function parseFile(text: string, path: string): Record<string, unknown> {
  try {
    return object(parseJson(text, limits), path)
  } catch (cause) {
    if (cause instanceof VeriteeError && cause.code === 'config_invalid') throw cause
    throw fail('config_invalid', `${path}: ${cause instanceof Error ? cause.message : 'not JSON'}`, cause)
  }
}

function object(value: unknown, where: string): Record<string, unknown> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw fail('config_invalid', `${where}: expected an object`)
  return value as Record<string, unknown>
}

function onlyKnown(value: Record<string, unknown>, where: string, known: readonly string[]): void {
  for (const name of Object.keys(value))
    if (!known.includes(name))
      throw fail('config_invalid', `${where}: expected no member but ${known.join(', ')}; found ${JSON.stringify(name.slice(0, 60))}`)
}

function readSections<S extends Sections>(schema: Schema<S>, document: Record<string, unknown>, said: Said, file: string | null): ValuesOf<S> {
  onlyKnown(document, file ?? '', Object.keys(schema.sections))
  const read = Object.entries(schema.sections).map(([section, fields]) => {
    const where = `${file ?? ''} ${section}`.trim()
    const members = Object.hasOwn(document, section) ? object(document[section], where) : {}
    onlyKnown(members, where, Object.keys(fields))
    return [
      section,
      Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, readField(field, members, name, `${section}.${name}`, said)])),
    ]
  })
  return Object.fromEntries(read) as ValuesOf<S>
}

function readField(field: Field<unknown>, members: Record<string, unknown>, name: string, where: string, said: Said): unknown {
  const { flag, kind, expected } = field
  const flags = flag === null ? undefined : said.values.get(flag)
  const accept = (value: unknown, place: string): unknown => {
    const read = field.read(value)
    if (read === undefined) throw fail('config_invalid', `${place}: expected ${expected}; found ${short(value)}`)
    return read
  }
  if (flag !== null && kind === 'switch' && said.switches.has(flag)) return true
  if (flags !== undefined) return accept(kind === 'list' ? flags : field.fromFlag(flags[0] ?? ''), `--${flag}`)
  if (Object.hasOwn(members, name)) return accept(members[name], where)
  if (field.fallback === undefined) throw fail('config_invalid', `${where}: expected ${expected}${flag === null ? '' : `; say --${flag}`}`)
  return field.fallback
}

/** What stood there, for the one who wrote it. Secrets have no place in it; credentials in a URL get there by mistake, and are not repeated. */
function short(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').replace(/\/\/[^/\s"]*@/g, '//...@').slice(0, 80)
}

async function readSecrets<S extends Sections>(
  schema: Schema<S>,
  said: Said,
  { environment, readText }: Sources,
): Promise<{ secrets: Record<string, string | null>; origins: Record<string, Json> }> {
  const secrets: Record<string, string | null> = {}
  const origins: Record<string, Json> = {}
  for (const [name, { variable, flag, minLength = 32 }] of Object.entries(schema.secrets)) {
    const [path] = said.values.get(flag) ?? []
    const given = environment[variable]
    if (path !== undefined && given !== undefined) throw fail('config_invalid', `expected either --${flag} or ${variable}, found both`)
    const value = path === undefined ? given : (await readText(path)).replace(/\r?\n$/, '')
    // What stood there is not repeated.
    if (value !== undefined && (!/^[\x21-\x7e]{1,512}$/.test(value) || value.length < minLength))
      throw fail('config_invalid', `${path === undefined ? variable : `--${flag}`}: expected ${minLength} to 512 visible ASCII characters`)
    secrets[name] = value ?? null
    origins[name] = value === undefined ? null : path === undefined ? 'environment' : 'file'
  }
  return { secrets, origins }
}

/** Every field with its place, in the order of the schema. */
export function fieldsOf<S extends Sections>(schema: Schema<S>): { readonly path: string; readonly field: Field<unknown> }[] {
  return Object.entries(schema.sections).flatMap(([section, fields]) =>
    Object.entries(fields).map(([name, field]) => ({ path: `${section}.${name}`, field: field as Field<unknown> })),
  )
}
