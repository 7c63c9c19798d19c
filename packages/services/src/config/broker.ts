import { integer, optionalInteger, optionalText, texts, type ValuesOf } from './field.ts'
import { logs } from './logs.ts'
import { address, enclave, metrics, operations, publicBind, release } from './parts.ts'
import type { Schema } from './schema.ts'

const path = { pattern: /^[^\0-\x1f\x7f]{1,1024}$/, expected: 'a path' }

const sections = {
  enclave,
  listen: {
    host: address('host', "address of the protocol of Trustee's KBS, TLS with the key of the keyset"),
    port: integer({ flag: 'port', min: 0, max: 65_535, fallback: 8080, about: 'port of the protocol' }),
    knows_simulated: publicBind.knows_simulated,
  },
  admin: {
    host: address('admin-host', 'address of the admin interface, TLS with the same key; there only with a credential'),
    port: integer({ flag: 'admin-port', min: 0, max: 65_535, fallback: 8081, about: 'port of the admin interface' }),
  },
  store: {
    file: optionalText({
      ...path,
      flag: 'store',
      about: 'the file with the sealed state, made where there is none; store in the state directory where not given. One broker at a time writes it',
    }),
  },
  evidence: {
    roots: texts({
      ...path,
      flag: 'root',
      maxItems: 64,
      about: 'root certificate (PEM) of a simulated machine that may ask, read for each piece of evidence: it may come later. In simulation only',
    }),
    pccs: texts({
      flag: 'pccs',
      maxItems: 8,
      pattern: /^(?:https:\/\/|http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?=[:/]|$))[^?#@\s]{0,255}$/,
      expected: "the URL of Intel's service or of a PCCS: https, or http on loopback",
      about:
        "where to fetch the vendor's signed data for evidence that comes without, as that of Trustee's clients; none where not given, and such evidence is refused",
    }),
  },
  log: {
    url: optionalText({
      flag: 'log',
      pattern: /^https?:\/\/[^?#@\s]{1,255}$/,
      expected: 'https://host/path or http://host/path',
      about:
        'the log in which revocations are; nothing is released without a checkpoint of it that enough witnesses have seen lately. None is asked for where not given',
    }),
    origin: optionalText({
      flag: 'log-origin',
      pattern: /^[^\s+]{1,255}$/,
      expected: 'a name without spaces and +',
      about: 'its origin; in simulation only, an enclave has log and witnesses measured',
    }),
    key: optionalText({
      flag: 'log-key',
      pattern: /^[\x21-\x7e]{1,512}$/,
      expected: 'a verifier key',
      about: 'its verifier key; in simulation only',
    }),
    witnesses: texts({
      flag: 'log-witness',
      maxItems: 64,
      pattern: /^[\x21-\x7e]{1,512}$/,
      expected: 'a verifier key',
      about: 'verifier key of a witness; in simulation only',
    }),
    quorum: optionalInteger({
      flag: 'log-quorum',
      min: 1,
      max: 64,
      about: 'how many of the witnesses must have seen a checkpoint; in simulation only',
    }),
    max_policy_age: integer({
      flag: 'max-policy-age',
      min: 10,
      max: 86_400,
      fallback: 3600,
      about: 'seconds since witnesses have seen the checkpoint, at most, for something to be released',
    }),
  },
  release,
  metrics,
  logs: { format: logs.format },
  operations,
}

/** The configuration of a key broker. */
export const brokerSchema: Schema<typeof sections> = {
  role: 'broker',
  sections,
  secrets: {
    metrics: { variable: 'VERITEE_METRICS_TOKEN', flag: 'metrics-token-file', about: 'bearer token that /metrics asks for' },
    log: {
      variable: 'VERITEE_LOG_TOKEN',
      flag: 'log-token-file',
      about:
        'credential to add documents to the log; with it an older store is told from the newest. An enclave that follows a log does not start without it',
    },
    admin: { variable: 'VERITEE_ADMIN_TOKEN', flag: 'admin-token-file', about: 'credential of the admin interface, which is off without it' },
  },
}

export type BrokerConfig = ValuesOf<typeof sections>
