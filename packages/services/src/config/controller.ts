import { integer, onSwitch, optionalText, texts, type ValuesOf } from './field.ts'
import { logs, traces } from './logs.ts'
import { address, enclave, manifest, metrics, operations, origins, publicBind, receipts, release, store, storeSecret, transparency } from './parts.ts'
import { replicas, replicasSecret } from './replicas.ts'
import type { Schema } from './schema.ts'
import { fastchat } from './unattested.ts'

const path = { pattern: /^[^\0-\x1f\x7f]{1,1024}$/, expected: 'a path' }

const sections = {
  enclave,
  api: {
    host: address('host', 'address of the API'),
    port: integer({ flag: 'port', min: 0, max: 65_535, fallback: 8000, about: 'port of the API' }),
    tls: onSwitch({ flag: 'tls', about: 'TLS with the key of the keyset on API and control port, instead of plain HTTP' }),
    http2: onSwitch({
      flag: 'http2',
      about:
        'HTTP/2 too where the API has TLS, beside HTTP/1.1: for requesters that are known, behind a firewall or a proxy, since frames of whoever else can connect may end the process (a fault of Node)',
    }),
    names: texts({
      flag: 'name',
      maxItems: 8,
      pattern: /^[0-9a-z](?:[0-9a-z.-]{0,251}[0-9a-z])?$/,
      expected: 'a host name in lower case',
      about: 'a name under which clients reach this controller, its own first; with TLS its keys count under these names only',
    }),
    legacy_attest: onSwitch({
      flag: 'legacy-attest',
      about: 'the attestation routes of the BigDL image, for programs that must not be changed; they prove less than /v1/aci/attestation',
    }),
    origins,
    ...publicBind,
  },
  control: {
    host: address('control-host', 'address where workers register'),
    port: integer({ flag: 'control-port', min: 0, max: 65_535, fallback: 21_005, about: 'port where workers register' }),
    open: onSwitch({
      flag: 'control-open',
      about:
        'beyond loopback where API keys are asked for: whoever reaches this port may ask to be admitted as a worker, and is admitted as the policy says',
    }),
  },
  admission: {
    policy: optionalText({
      ...path,
      flag: 'policy',
      about:
        'what is demanded of workers, where there is no manifest: the section worker of this file; in simulation only, an enclave has it measured',
    }),
    ...manifest,
    roots: texts({
      ...path,
      flag: 'root',
      maxItems: 64,
      about: 'root certificate (PEM) of a simulated machine whose workers are admitted; in simulation only',
    }),
  },
  routing: {
    worker_requests: integer({
      flag: 'worker-requests',
      min: 1,
      max: 4096,
      fallback: 1024,
      about: 'requests that one worker has at a time at most; more wait, and a worker that says that it has no room gets fewer',
    }),
    queue_requests: integer({
      flag: 'queue-requests',
      min: 0,
      max: 10_000,
      fallback: 256,
      about: 'requests that wait for one model at a time; more get 429',
    }),
    queue_seconds: integer({ flag: 'queue-seconds', min: 1, max: 300, fallback: 10, about: 'how long a request waits for a worker at most' }),
    first_byte_seconds: integer({
      flag: 'first-byte-seconds',
      min: 1,
      max: 3600,
      fallback: 120,
      about: 'how long a worker may take until a stream begins',
    }),
    answer_seconds: integer({
      flag: 'answer-seconds',
      min: 1,
      max: 86_400,
      fallback: 1800,
      about: 'from the arrival of a request to the end of its answer, at most',
    }),
  },
  fastchat,
  replicas,
  access: {
    keys: onSwitch({ flag: 'api-keys', about: 'serve only who has an API key (veriteed keys); without it everybody is served' }),
    minimum_version: integer({
      flag: 'api-keys-version',
      min: 0,
      max: 1_000_000_000,
      fallback: 0,
      about:
        'the lowest version of the list of API keys that counts, as veriteed keys shows it: a store that was rolled back to an earlier one admits nobody',
    }),
    tokens: onSwitch({
      flag: 'access-tokens',
      about: 'with API keys: who has one with the right to them gets one-time tokens that cannot be linked to it, and asks with those',
    }),
    request_tokens: integer({
      flag: 'access-token-size',
      min: 16,
      max: 100_000_000,
      fallback: 4096,
      about: 'tokens of prompt and answer that one access token pays for, and is charged with when it is issued, whatever it is then used for',
    }),
  },
  admin: {
    host: address('admin-host', 'address of the admin interface, TLS with the key of the keyset; there only with a credential'),
    port: integer({ flag: 'admin-port', min: 0, max: 65_535, fallback: 8001, about: 'port of the admin interface' }),
  },
  receipts,
  store,
  transparency,
  release,
  metrics,
  logs,
  traces,
  operations,
}

/** The configuration of a controller. */
export const controllerSchema: Schema<typeof sections> = {
  role: 'controller',
  sections,
  secrets: {
    metrics: { variable: 'VERITEE_METRICS_TOKEN', flag: 'metrics-token-file', about: 'bearer token that /metrics asks for' },
    admin: { variable: 'VERITEE_ADMIN_TOKEN', flag: 'admin-token-file', about: 'credential of the admin interface, which is off without it' },
    store: storeSecret,
    replicas: replicasSecret,
  },
}

export type ControllerConfig = ValuesOf<typeof sections>
