import { parseJson, Shape } from 'veritee/bytes'

/** What of `veriteed validator run` a file may say: everything but where the file itself is. */
export interface ValidatorFile {
  readonly [option: string]: string | string[] | boolean
}

const single = [
  'state',
  'store',
  'store-password-file',
  'store-ca',
  'key',
  'manifest',
  'scoring-policy',
  'network',
  'api-key-file',
  'templates',
  'traffic',
  'log-url',
  'log-write-token-file',
  'log-views-token-file',
  'content-host',
  'content-token-file',
  'out',
  'confirm-host',
] as const
const numbers = [
  'threshold',
  'accounts',
  'warm-epochs',
  'probes',
  'canaries',
  'encrypt-to-controller',
  'encrypt-to-worker',
  'epochs',
  'peer-wait',
  'content-port',
  'confirm-port',
] as const
const switches = ['access-tokens'] as const
const several = ['signer', 'controller', 'worker', 'model', 'calibration', 'beacon', 'root', 'peer', 'confirmer'] as const
const shape = new Shape('config_invalid')

/**
 * Reads the file of `veriteed validator run --config`: one JSON object, options by the names of their arguments; texts, whole numbers, true or false, and lists of texts.
 * Values are given back as arguments have them; whether they are sensible is asked where they are used. Throws `config_invalid`, `malformed_json`.
 */
export function validatorFile(text: string): ValidatorFile {
  const o = shape.object(parseJson(text, { maxLength: 1 << 20, maxDepth: 4 }), 'config', [], [...single, ...numbers, ...switches, ...several])
  const read: Record<string, string | string[] | boolean> = {}
  for (const name of single) if (o[name] !== undefined) read[name] = shape.string(o[name], name, 4096)
  for (const name of numbers) if (o[name] !== undefined) read[name] = String(shape.integer(o[name], name, 999_999_999))
  for (const name of switches) if (o[name] !== undefined) read[name] = shape.boolean(o[name], name)
  for (const name of several)
    if (o[name] !== undefined) read[name] = shape.array(o[name], name, 1024).map((value, i) => shape.string(value, `${name}[${i}]`, 4096))
  return read
}
