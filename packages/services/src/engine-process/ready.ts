import { Shape } from 'veritee/bytes'
import type { EngineFacts, ModelFacts, SpecialToken } from '../enclave/worker/engine/engine.ts'
import type { CheckedSettings } from '../enclave/worker/engine/llama/llama.ts'
import type { VocabularyTable } from '../enclave/worker/engine/vocabulary/vocabulary.ts'
import { readJson } from './messages.ts'

/** What the worker asks a new engine process to load; the bytes come as descriptors. */
export interface LoadMessage {
  readonly path: string
  readonly files: ModelFacts['files']
  readonly loading: ModelFacts['loading']
  readonly sealed: boolean
  readonly settings: CheckedSettings
}

/** What an engine process says once its model is loaded. */
export interface Ready {
  readonly facts: EngineFacts
  readonly architecture: string
  readonly trainContextSize: number
  readonly embeddingSize: number
  readonly chatTemplate: string | null
  readonly table: VocabularyTable
}

const shape = new Shape('engine_failed')
const maxTokens = 1 << 22

export function encodeReady(facts: EngineFacts, model: ModelFacts, table: VocabularyTable): Uint8Array {
  const { architecture, trainContextSize, embeddingSize, chatTemplate } = model
  return Buffer.from(JSON.stringify({ facts, architecture, trainContextSize, embeddingSize, chatTemplate, table } satisfies Ready))
}

/** Reads it member by member: a process that is about to crash may say anything. Throws `engine_failed`. */
export function decodeReady(payload: Buffer): Ready {
  const { facts, architecture, trainContextSize, embeddingSize, chatTemplate, table } = readJson(payload)
  return {
    facts: readFacts(facts),
    architecture: shape.string(architecture, 'architecture', 256),
    trainContextSize: shape.integer(trainContextSize, 'trainContextSize'),
    embeddingSize: shape.integer(embeddingSize, 'embeddingSize', 1 << 20),
    chatTemplate: shape.nullableString(chatTemplate, 'chatTemplate', 1 << 20),
    table: readTable(table),
  }
}

function readFacts(value: unknown): EngineFacts {
  const facts = shape.record(value, 'facts')
  return {
    name: shape.oneOf(facts.name, 'name', ['llama.cpp']),
    version: shape.string(facts.version, 'version', 256),
    build: shape.digest(facts.build, 'build'),
    cpuVariant: shape.string(facts.cpuVariant, 'cpuVariant', 64),
    profile: shape.oneOf(facts.profile, 'profile', ['canonical', 'tolerant', 'fast']),
    threads: shape.integer(facts.threads, 'threads'),
    contextSize: shape.integer(facts.contextSize, 'contextSize'),
  }
}

function readTable(value: unknown): VocabularyTable {
  const table = shape.record(value, 'table')
  const names = shape.array(table.names, 'names', maxTokens).map((name) => shape.string(name, 'names'))
  const id = (token: unknown): number => shape.integer(token, 'token', names.length - 1)
  const nullable = <T>(member: unknown, read: (member: unknown) => T): T | null => (member === null ? null : read(member))
  return {
    kind: shape.oneOf(table.kind, 'kind', ['spm', 'bpe']),
    names,
    types: nullable(table.types, (types) => shape.array(types, 'types', maxTokens).map((type) => shape.integer(type, 'types', 255))),
    bos: nullable(table.bos, id),
    eos: nullable(table.eos, id),
    addsBos: shape.boolean(table.addsBos, 'addsBos'),
    specials: shape.array(table.specials, 'specials', maxTokens).map((item) => readSpecial(item, id)),
    ends: shape.array(table.ends, 'ends', maxTokens).map(id),
  }
}

function readSpecial(value: unknown, id: (token: unknown) => number): readonly [string, SpecialToken] {
  const [name, special] = shape.array(value, 'specials', 2)
  const token = shape.record(special, 'specials')
  return [
    shape.string(name, 'specials'),
    {
      id: id(token.id),
      kind: shape.oneOf(token.kind, 'kind', ['control', 'user-defined']),
      stripsLeft: shape.boolean(token.stripsLeft, 'stripsLeft'),
      stripsRight: shape.boolean(token.stripsRight, 'stripsRight'),
    },
  ]
}
