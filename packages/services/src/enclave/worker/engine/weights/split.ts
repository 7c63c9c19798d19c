import { fail } from 'veritee/errors'

const partName = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/
/** llama.cpp names parts with five digits; more than a manifest lists are not served. */
const maxParts = 1024

/**
 * The names of all parts of a model, in order, by the name of the first: `m-00001-of-00003.gguf`. One name for any other file.
 * Throws `model_unsupported` for a part that is not the first, and for more parts than {@link maxParts}.
 */
export function partNames(name: string): string[] {
  const found = partName.exec(name)
  if (found === null) return [name]
  const [, prefix = '', index, of = ''] = found
  const count = Number(of)
  if (count < 1 || count > maxParts) throw fail('model_unsupported', `expected a model of 1 to ${maxParts} parts, found ${count}`)
  if (index !== '00001')
    throw fail('model_unsupported', `expected the first part of the model, ${prefix}-00001-of-${of}.gguf, found part ${Number(index)}`)
  return Array.from({ length: count }, (_, i) => `${prefix}-${String(i + 1).padStart(5, '0')}-of-${of}.gguf`)
}

/**
 * Whether files are all parts of one model, in order: llama.cpp finds the others by the name of the first, and would leave out what it does not find.
 * Throws `model_unsupported`.
 */
export function checkParts(names: readonly string[]): void {
  const [first = ''] = names
  const expected = partNames(first)
  if (expected.length !== names.length || expected.some((name, i) => name !== names[i]))
    throw fail(
      'model_unsupported',
      `expected all parts of one model in their order, ${expected.length} by the name of the first, found ${names.length} files`,
    )
}
