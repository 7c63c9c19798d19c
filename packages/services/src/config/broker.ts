import { integer, optionalText, texts, type ValuesOf } from './field.ts'
import { logs } from './logs.ts'
import { address, enclave, metrics, operations, publicBind } from './parts.ts'
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
    admin: { variable: 'VERITEE_ADMIN_TOKEN', flag: 'admin-token-file', about: 'credential of the admin interface, which is off without it' },
  },
}

export type BrokerConfig = ValuesOf<typeof sections>
