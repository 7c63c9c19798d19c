import { integer, onSwitch, optionalInteger, optionalText, text, texts, type ValuesOf, word } from './field.ts'
import { logs, traces } from './logs.ts'
import { address, enclave, manifest, metrics, operations, origins, publicBind, receipts, release, store, storeSecret, transparency } from './parts.ts'
import type { Schema } from './schema.ts'

const hash = { pattern: /^[0-9a-f]{64}$/, expected: '64 lower-case hex digits' }
const absolute = { pattern: /^\/[^\0-\x1f\x7f]{0,255}$/, expected: 'an absolute path' }

const sections = {
  enclave: {
    ...enclave,
    tee: word(['simulate', 'simulate-tdx', 'gramine', 'tdx'], {
      flag: 'tee',
      about:
        'simulate, simulate-tdx: no protection at all, for development on loopback. gramine: an SGX enclave under Gramine. tdx: a confidential VM',
    }),
  },
  listen: {
    host: address('host', 'address of the API, TLS with the key of the keyset'),
    port: integer({ flag: 'port', min: 0, max: 65_535, fallback: 21_841, about: 'port of the API' }),
    advertise: optionalText({
      flag: 'advertise',
      pattern: /^https:\/\/[^/?#@\s]{1,255}$/,
      expected: 'https://address:port',
      about: 'how controllers reach this worker; what it listens on where not given',
    }),
    origins,
    ...publicBind,
  },
  models: {
    sources: texts({
      flag: 'model',
      maxItems: 16,
      pattern: /^[^\0-\x1f\x7f]{1,1024}$/,
      expected: 'a .gguf file, sealed:PATH, demo, or hf:owner/repo/file.gguf',
      about: 'a model to serve (demo and hf: not in an enclave)',
    }),
    publishers: texts({
      flag: 'publisher',
      maxItems: 16,
      pattern: /^[0-9a-f]{64}$/,
      expected: '64 lower-case hex digits',
      about: 'public key of a publisher whose sealed models are accepted; in simulation only, an enclave has them measured',
    }),
    minimum_version: integer({
      flag: 'minimum-version',
      min: 0,
      max: 1_000_000_000,
      fallback: 0,
      about: 'lowest version of a sealed model that is accepted; in simulation only',
    }),
    broker: optionalText({
      flag: 'broker',
      pattern: /^https?:\/\/[^/?#@\s]{1,255}\/?$/,
      expected: 'https://host:port or http://host:port',
      about: 'the key broker, asked for the key of a sealed model',
    }),
  },
  engine: {
    profile: word(['canonical', 'fast'], {
      flag: 'profile',
      fallback: 'canonical',
      about:
        'canonical: answers can be replayed bit by bit where the weights allow it. fast: larger batches, so that long prompts take less time, and no bits can be demanded',
    }),
    threads: integer({
      flag: 'threads',
      min: 1,
      max: 256,
      fallback: 1,
      about: 'threads of one evaluation; more than the idle cores makes it slower. Never found out by itself',
    }),
    sequences: integer({ flag: 'sequences', min: 1, max: 4, fallback: 4, about: 'requests evaluated together' }),
    max_queue: integer({ flag: 'max-queue', min: 0, max: 65_536, fallback: 64, about: 'requests that may wait' }),
    stall_seconds: integer({
      flag: 'stall-seconds',
      min: 1,
      max: 86_400,
      fallback: 120,
      about:
        'an engine that gets on with nothing for so long serves no more: its process is killed and started again, in an enclave it is given up; must be longer than the vector of the longest text takes',
    }),
    max_context: integer({ flag: 'max-context', min: 16, max: 1_048_576, fallback: 4096, about: 'most tokens of prompt and answer together' }),
    memory_directory: text({
      flag: 'memory-directory',
      pattern: /^\/[^\0-\x1f\x7f]{0,255}$/,
      expected: 'an absolute path',
      fallback: '/dev/shm',
      about: 'the tmpfs for the private copy of the weights',
    }),
  },
  controllers: {
    urls: texts({
      flag: 'controller',
      maxItems: 16,
      pattern: /^https?:\/\/[^/?#@\s]{1,255}\/?$/,
      expected: 'https://host:port or http://host:port',
      about: 'control port of a controller to register with',
    }),
  },
  admission: {
    direct: onSwitch({
      flag: 'direct',
      about: 'a direct service: it answers whoever asks, where otherwise it answers controllers that it has verified',
    }),
    policy: optionalText({
      flag: 'controller-policy',
      pattern: /^[^\0-\x1f\x7f]{1,1024}$/,
      expected: 'a path',
      about:
        'what is demanded of controllers, where there is no manifest: the section controller of this file, read for each verification: it may come later. In simulation only',
    }),
    ...manifest,
    roots: texts({
      flag: 'root',
      maxItems: 64,
      pattern: /^[^\0-\x1f\x7f]{1,1024}$/,
      expected: 'a path',
      about:
        'root certificate (PEM) of a simulated machine whose controllers are served, read for each verification: it may come later. In simulation only',
    }),
  },
  operator: {
    key: optionalText({
      flag: 'operator-key',
      pattern: /^[^\0-\x1f\x7f]{1,1024}$/,
      expected: 'a path',
      about: "the operator's private key (veriteed manifest keygen): it signs the keyset of this worker, whose descriptor names the operator",
    }),
  },
  external: {
    kind: optionalText({
      flag: 'external-engine',
      pattern: /^(?:vllm|sglang|llama-server|ollama)$/,
      expected: 'vllm, sglang, llama-server or ollama',
      about: 'an engine that runs beside this worker, in a confidential VM or a simulated one only',
    }),
    address: optionalText({
      flag: 'external-address',
      pattern: /^(?:unix:\/|http:\/\/)[^\0-\x20\x7f]{1,255}$/,
      expected: 'unix:/path or http://127.0.0.1:port',
      about: 'where it listens on this machine',
    }),
    name: optionalText({ flag: 'external-name', pattern: /^[^\0-\x1f\x7f]{1,256}$/, expected: 'a name', about: 'name of its model in requests' }),
    engine_model: optionalText({
      flag: 'external-model',
      pattern: /^[^\0-\x1f\x7f]{1,256}$/,
      expected: 'a name',
      about: "the engine's own name for the model; the name in requests where not given",
    }),
    digest: optionalText({
      flag: 'external-digest',
      pattern: /^sha256:[0-9a-f]{64}$/,
      expected: 'sha256: and 64 lower-case hex digits',
      about: 'digest of its executable or image; in a confidential VM of the executable',
    }),
    capabilities: texts({
      flag: 'external-capability',
      maxItems: 6,
      pattern: /^(?:deterministic|embeddings|logprobs|promptLogprobs|tokenIds|tools)$/,
      expected: 'deterministic, embeddings, logprobs, promptLogprobs, tokenIds or tools',
      about: 'all that it can do; what is found at start where none is said',
    }),
    executable: optionalText({
      ...absolute,
      flag: 'external-executable',
      about: 'its executable on a measured mount; must be said in a confidential VM',
    }),
    executable_root: optionalText({ ...hash, flag: 'external-executable-root', about: 'dm-verity root hash of that mount' }),
    weights: optionalText({ ...absolute, flag: 'external-weights', about: 'its weights on a measured mount; only asserted where not given' }),
    weights_root: optionalText({ ...hash, flag: 'external-weights-root', about: 'dm-verity root hash of that mount' }),
  },
  fastchat: {
    port: optionalInteger({
      flag: 'fastchat-port',
      min: 0,
      max: 65_535,
      about: 'port for FastChat (21002 is usual); off where not given. Answers there are not verified',
    }),
    host: address('fastchat-host', 'address for FastChat, plain HTTP'),
    controller: optionalText({
      flag: 'fastchat-controller',
      pattern: /^https?:\/\/[^/?#@\s]{1,255}\/?$/,
      expected: 'https://host:port or http://host:port',
      about: 'the FastChat controller to register with; must be said with the port',
    }),
    advertise: optionalText({
      flag: 'fastchat-advertise',
      pattern: /^https?:\/\/[^/?#@\s]{1,255}$/,
      expected: 'http://address:port',
      about: 'how the FastChat controller and its API servers reach this worker; what it listens on where not given',
    }),
    open: onSwitch({ flag: 'fastchat-open', about: 'FastChat beyond loopback: it knows no API keys' }),
    behind_tls: onSwitch({ flag: 'fastchat-behind-tls', about: 'FastChat beyond loopback: it speaks plain HTTP' }),
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

/** The configuration of a worker. Each part that joins the worker adds a section here. */
export const workerSchema: Schema<typeof sections> = {
  role: 'worker',
  sections,
  secrets: {
    metrics: { variable: 'VERITEE_METRICS_TOKEN', flag: 'metrics-token-file', about: 'bearer token that /metrics asks for' },
    store: storeSecret,
  },
}

export type WorkerConfig = ValuesOf<typeof sections>
