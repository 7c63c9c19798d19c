import { type Field, integer, onSwitch, optionalInteger, optionalText, type Secret, text, texts, word } from './field.ts'

/** Fields that worker and controller have alike. */

const path = /^[^\0-\x1f\x7f]{1,1024}$/

export const enclave: {
  readonly tee: Field<'simulate' | 'gramine'>
  readonly state: Field<string>
  readonly collateral: Field<string | null>
} = {
  tee: word(['simulate', 'gramine'], {
    flag: 'tee',
    about: 'simulate: no protection at all, for development on loopback. gramine: an SGX enclave under Gramine',
  }),
  state: text({
    flag: 'state',
    pattern: path,
    expected: 'a path',
    about: 'directory for what this service writes; in simulation root.pem and policy.json for those who verify it',
  }),
  collateral: optionalText({
    flag: 'collateral',
    pattern: path,
    expected: 'a path',
    about: "file with the vendor's signed data for this machine (veritee collateral fetch), relayed to verifiers; in an enclave only",
  }),
}

export function address(flag: string, about: string): Field<string> {
  return text({ flag, pattern: /^[0-9A-Za-z.:_-]{1,255}$/, expected: 'a host name or an IP address', fallback: '127.0.0.1', about })
}

/** As browsers write it: lower case, no port where it is the usual one, nothing after it. */
const host = '(?:[0-9a-z](?:[0-9a-z.-]{0,251}[0-9a-z])?|\\[[0-9a-f:.]{2,45}\\])'
const port = '[1-9][0-9]{0,4}'
const origin = new RegExp(`^(?:\\*|https://${host}(?::(?!443$)${port})?|http://${host}(?::(?!80$)${port})?)$`)

/** Pages of other origins that may use the API. */
export const origins: Field<readonly string[]> = texts({
  flag: 'allow-origin',
  maxItems: 32,
  pattern: origin,
  expected: 'an origin as browsers write it, such as https://chat.example, or *',
  about:
    'pages of this origin may use the API and fetch proofs from a browser; * is every page. Never with cookies; without one, pages of its own origin only',
})

/** What must be said in so many words before a service leaves loopback (rules S15, S22). */
export const publicBind: { readonly open: Field<boolean>; readonly behind_tls: Field<boolean>; readonly knows_simulated: Field<boolean> } = {
  open: onSwitch({ flag: 'open', about: 'beyond loopback without API keys: anybody may use it' }),
  behind_tls: onSwitch({ flag: 'behind-tls', about: 'beyond loopback with plain HTTP: TLS ends in a proxy in front' }),
  knows_simulated: onSwitch({ flag: 'i-know-this-is-simulated', about: 'beyond loopback although nothing is protected' }),
}

export const manifest: {
  readonly manifest: Field<string | null>
  readonly network: Field<string | null>
  readonly signers: Field<readonly string[]>
  readonly threshold: Field<number>
  readonly minimum_version: Field<number>
} = {
  manifest: optionalText({
    flag: 'manifest',
    pattern: path,
    expected: 'a path',
    about: 'admission manifest, who may take part in the network; newer ones are taken from the same file while the service runs',
  }),
  network: optionalText({
    flag: 'network',
    pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    expected: 'a name of letters, digits and . _ -',
    about: 'name of the network whose manifest is accepted; in simulation only, an enclave has it measured',
  }),
  signers: texts({
    flag: 'manifest-signer',
    maxItems: 64,
    pattern: /^[0-9a-f]{64}$/,
    expected: '64 lower-case hex digits',
    about: 'public key of a signer of manifests; in simulation only',
  }),
  threshold: integer({
    flag: 'manifest-threshold',
    min: 1,
    max: 64,
    fallback: 1,
    about: 'how many of the signers must have signed; in simulation only',
  }),
  minimum_version: integer({
    flag: 'minimum-manifest',
    min: 0,
    max: 1_000_000_000,
    fallback: 0,
    about: 'lowest version of a manifest that is accepted; in simulation only',
  }),
}

export const release: { readonly statements: Field<readonly string[]> } = {
  statements: texts({
    flag: 'release-statement',
    maxItems: 4,
    pattern: path,
    expected: 'a path',
    about:
      'release statement that this service shows to whoever verifies it, and by which it judges its peers where its rules demand one; PATH.tlog-proof is its proof in a log. Newer ones are taken from the same files while the service runs',
  }),
}

export const transparency: {
  readonly url: Field<string | null>
  readonly origin: Field<string | null>
  readonly promise_seconds: Field<number>
  readonly outbox: Field<string | null>
} = {
  url: optionalText({
    flag: 'log-url',
    pattern: /^https?:\/\/[^\s?#@]{1,255}[^\s?#@/]$/,
    expected: 'http:// or https:// URL without a slash at its end',
    about: 'the transparency log (veriteed log) that gets the audit view of every receipt; none where not given, and receipts promise none',
  }),
  origin: optionalText({
    flag: 'log-origin',
    pattern: /^[^\s+\p{Cc}]{1,512}$/u,
    expected: 'a name without white space and +',
    about: 'name of that log, which receipts promise',
  }),
  promise_seconds: integer({
    flag: 'log-promise-seconds',
    min: 60,
    max: 86_400,
    fallback: 600,
    about: 'how long after a receipt its audit view stands in the log at the latest',
  }),
  outbox: optionalText({
    flag: 'log-outbox',
    pattern: path,
    expected: 'a path',
    about: 'file in which audit views wait for the log; log-outbox in the state directory where not given',
  }),
}

export const metrics: { readonly host: Field<string>; readonly port: Field<number | null> } = {
  host: address('metrics-host', 'address of /metrics, /healthz and /readyz; beyond loopback with a token only'),
  port: optionalInteger({ flag: 'metrics-port', min: 0, max: 65_535, about: 'port of /metrics, /healthz and /readyz; off where not given' }),
}

export const receipts: {
  readonly in_memory: Field<boolean>
  readonly file: Field<string | null>
  readonly days: Field<number>
  readonly megabytes: Field<number>
} = {
  in_memory: onSwitch({
    flag: 'receipts-in-memory',
    about:
      'keep receipts in memory only, at most 64 MiB: they end with the process. In a confidential VM there is nothing to seal a file to yet, and this must be said',
  }),
  file: optionalText({
    flag: 'receipts',
    pattern: path,
    expected: 'a path',
    about: 'file in which receipts are kept, encrypted; receipts.db in the state directory where not given',
  }),
  days: integer({ flag: 'receipt-days', min: 1, max: 3650, fallback: 30, about: 'how long receipts are kept' }),
  megabytes: integer({ flag: 'receipt-megabytes', min: 16, max: 1_000_000, fallback: 1000, about: 'how much is kept; the oldest receipts go first' }),
}

export const store: { readonly url: Field<string | null>; readonly ca: Field<string | null>; readonly key: Field<string | null> } = {
  url: optionalText({
    flag: 'store',
    pattern: /^postgres(?:ql)?:\/\/[^\0-\x20:@/?#]{1,63}@[^\0-\x20@#]{1,400}$/,
    expected: 'postgres://user@host:port/database, without a password',
    about: 'a PostgreSQL server that keeps what a file would keep otherwise, for several services; TLS unless it is on this machine',
  }),
  ca: optionalText({
    flag: 'store-ca',
    pattern: path,
    expected: 'a path',
    about: "certificates (PEM) under which the server's is verified; those that Node knows where not given",
  }),
  key: optionalText({
    flag: 'store-key',
    pattern: path,
    expected: 'a path',
    about: 'file with the key under which rows are sealed, shared by replicas; store.key in the state directory where not given. In simulation only',
  }),
}

/** The password of a database is as long as somebody else made it. */
export const storeSecret: Secret = {
  variable: 'VERITEE_STORE_PASSWORD',
  flag: 'store-password-file',
  about: 'password for the PostgreSQL server',
  minLength: 1,
}

export const operations: { readonly drain_seconds: Field<number> } = {
  drain_seconds: integer({
    flag: 'drain-seconds',
    min: 0,
    max: 3600,
    fallback: 30,
    about: 'how long answers under way may go on after SIGTERM',
  }),
}
