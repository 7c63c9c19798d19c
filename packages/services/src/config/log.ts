import { integer, onSwitch, text, texts, type ValuesOf } from './field.ts'
import { logs } from './logs.ts'
import { address, metrics, operations, publicBind } from './parts.ts'
import type { Schema } from './schema.ts'

const path = { pattern: /^[^\0-\x1f\x7f]{1,1024}$/, expected: 'a path' }
const keyFile = "file with the Ed25519 key (PKCS #8 PEM), as 'keygen' makes it; for its owner only"

const sections = {
  log: {
    data: text({ ...path, flag: 'data', about: 'directory of the log: public/ is what readers get, and can be served by any server of files' }),
    key: text({ ...path, flag: 'key', about: keyFile }),
    origin: text({
      flag: 'origin',
      pattern: /^[^\s+\p{Cc}]{1,512}$/u,
      expected: 'a name without white space and +, such as log.example/receipts',
      about: 'name of the log, and of its key; for ever',
    }),
    interval_ms: integer({ flag: 'interval-ms', min: 100, max: 600_000, fallback: 1000, about: 'how often witnesses are asked for a new head' }),
    renew_seconds: integer({
      flag: 'renew-seconds',
      min: 10,
      max: 86_400,
      fallback: 300,
      about: 'how often they are asked where there is nothing new, so that the time they vouch for goes on',
    }),
  },
  witnesses: {
    asked: texts({
      flag: 'witness',
      maxItems: 64,
      pattern: /^\S{1,700} https?:\/\/[^\s?#@]{1,255}[^\s?#@/]$/,
      expected: 'verifier key, a space, URL without a slash at its end',
      about: 'a witness that is asked for cosignatures',
    }),
    quorum: integer({
      flag: 'quorum',
      min: 0,
      max: 64,
      about: 'how many witnesses must have cosigned before readers see a head; 0: none, which nobody should rely on',
    }),
  },
  submitters: {
    operators: texts({
      flag: 'operator',
      maxItems: 10_000,
      pattern: /^[0-9a-f]{64}$/,
      expected: '64 lower-case hex digits',
      about: 'public key of an operator whose enclaves may submit',
    }),
    any: onSwitch({ flag: 'any-submitter', about: 'anybody may submit statements that are signed by the keyset they name' }),
    per_second: integer({
      flag: 'submissions-per-second',
      min: 1,
      max: 100_000,
      fallback: 20,
      about: 'submissions and proofs of one address, each of up to 1,024 statements',
    }),
  },
  listen: {
    host: address('host', 'address for readers and submitters, plain HTTP'),
    port: integer({ flag: 'port', min: 0, max: 65_535, fallback: 8090, about: 'port for readers and submitters' }),
    open: publicBind.open,
    behind_tls: publicBind.behind_tls,
  },
  metrics,
  logs: { format: logs.format },
  operations,
}

/** The configuration of a transparency log. */
export const logSchema: Schema<typeof sections> = {
  role: 'log',
  sections,
  secrets: {
    metrics: { variable: 'VERITEE_METRICS_TOKEN', flag: 'metrics-token-file', about: 'bearer token that /metrics asks for' },
    write: {
      variable: 'VERITEE_LOG_WRITE_TOKEN',
      flag: 'write-token-file',
      about: 'bearer token for documents (POST /add-entry), which are not taken without it',
    },
    views: {
      variable: 'VERITEE_LOG_VIEWS_TOKEN',
      flag: 'views-token-file',
      about: 'bearer token for the statements behind entries (GET /views), which nobody gets without it',
    },
  },
}

export type LogConfig = ValuesOf<typeof sections>

const witnessSections = {
  witness: {
    data: text({ ...path, flag: 'data', about: 'directory with what was seen last of each log, and evidence' }),
    key: text({ ...path, flag: 'key', about: keyFile }),
    name: text({
      flag: 'name',
      pattern: /^[^\s+\p{Cc}]{1,512}$/u,
      expected: 'a name without white space and +, such as witness.example/w1',
      about: 'name of the witness, and of its key',
    }),
    logs: texts({
      flag: 'log',
      maxItems: 1024,
      pattern: /^\S{1,700}$/,
      expected: 'a verifier key',
      about: 'a log whose checkpoints are cosigned; the name of its key is its origin',
    }),
    per_second: integer({ flag: 'requests-per-second', min: 1, max: 100_000, fallback: 20, about: 'requests of one address' }),
  },
  listen: {
    host: address('host', 'address of the witness, plain HTTP'),
    port: integer({ flag: 'port', min: 0, max: 65_535, fallback: 8091, about: 'port of the witness' }),
    open: publicBind.open,
    behind_tls: publicBind.behind_tls,
  },
  metrics,
  logs: { format: logs.format },
  operations,
}

/** The configuration of a witness. */
export const witnessSchema: Schema<typeof witnessSections> = {
  role: 'witness',
  sections: witnessSections,
  secrets: { metrics: { variable: 'VERITEE_METRICS_TOKEN', flag: 'metrics-token-file', about: 'bearer token that /metrics asks for' } },
}

export type WitnessConfig = ValuesOf<typeof witnessSections>
