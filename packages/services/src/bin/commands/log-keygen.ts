import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { type KeyType, noteSigner, verifierKeyText } from 'veritee/log'
import { makePublisherKey, readPublisherKey } from '../../models/sealing/keys.ts'

/** `keygen --key FILE --NAME NAME`: makes an Ed25519 key in a new file and prints its verifier key; with `vkey` the file is there already. Null where the arguments ask for neither. Throws `usage`, `file_unavailable`. */
export async function keyCommand(args: readonly string[], type: KeyType, nameFlag: 'origin' | 'name'): Promise<number | null> {
  const [action, ...rest] = args
  if (action !== 'keygen' && action !== 'vkey') return null
  const { key, name, json } = read(rest, nameFlag)
  if (action === 'keygen') await makePublisherKey(key)
  let text: string
  try {
    text = verifierKeyText((await noteSigner(name, type, await readPublisherKey(key))).verifier)
  } catch (cause) {
    throw cause instanceof TypeError ? fail('usage', `--${nameFlag}: expected a name without white space and +`, cause) : cause
  }
  process.stdout.write(json ? `${JSON.stringify({ ok: true, key: text })}\n` : `${text}\n`)
  return 0
}

function read(args: readonly string[], nameFlag: 'origin' | 'name'): { readonly key: string; readonly name: string; readonly json: boolean } {
  const options = { key: { type: 'string' }, [nameFlag]: { type: 'string' }, json: { type: 'boolean', default: false } } as const
  let values: { readonly [name: string]: string | boolean | undefined }
  try {
    values = parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
  const { key, [nameFlag]: name, json } = values
  if (typeof key !== 'string' || typeof name !== 'string') throw fail('usage', `expected --key FILE --${nameFlag} NAME`)
  return { key, name, json: json === true }
}
