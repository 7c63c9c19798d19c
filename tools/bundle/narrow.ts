/**
 * The same program with escapes for the characters above U+00FF, of which there are a few in strings and comments. V8 keeps a program's text as long as the process lives, in one byte
 * for each character where all are below, and in two otherwise.
 */
export function narrow(code: string): string {
  // Where an escape would be told from the character.
  if (code.includes('String.raw')) throw new Error('expected no String.raw in what is bundled')
  return code.replace(/[^\0-\xff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
