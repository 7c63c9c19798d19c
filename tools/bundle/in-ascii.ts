/**
 * The same program in ASCII, with escapes for the characters beyond, of which there are a few in strings and comments. Node and V8 keep a program's text as long as the process lives: a
 * megabyte or more of it in one byte for each character where it is ASCII, and in two otherwise.
 */
export function inAscii(code: string): string {
  // Where an escape would be told from the character.
  if (code.includes('String.raw')) throw new Error('expected no String.raw in what is bundled')
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
