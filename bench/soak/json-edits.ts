import type { Random } from './random.ts'

const strange: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  255,
  256,
  65_536,
  4_294_967_296,
  9_007_199_254_740_992,
  1e300,
  '',
  '0',
  '00',
  'ff'.repeat(400),
  '\ud800',
  '2026-02-30T00:00:00Z',
  '2026-05-06T07:08:09Z',
  'UpToDate',
  'any',
  [],
  {},
  [[]],
  [null],
  { svn: 1 },
]

/** The text with one value, member or item changed, so that the edit gets past the JSON parser. The text must be JSON. */
export function editJson(text: string, random: Random): string {
  const root: { value: unknown } = { value: JSON.parse(text) }
  let holder: object = root
  let key: string | number = 'value'
  for (;;) {
    const inner: unknown = (holder as Record<string | number, unknown>)[key]
    if (typeof inner !== 'object' || inner === null || random.chance(8)) break
    const keys: readonly (string | number)[] = Array.isArray(inner) ? [...inner.keys()] : Object.keys(inner)
    if (keys.length === 0) break
    holder = inner
    key = random.pick<string | number>(keys)
  }
  const record = holder as Record<string | number, unknown>
  switch (random.below(6)) {
    case 0:
      delete record[key]
      break
    case 1:
      if (Array.isArray(holder)) holder.push(...new Array<unknown>(random.pick([1, 1, 16, 300])).fill(record[key]))
      else record[`${key}x`] = record[key]
      break
    case 2:
      record[key] = nested(record[key], 1 + random.below(20))
      break
    case 3:
      if (typeof record[key] === 'number') record[key] = (record[key] as number) + random.below(5) - 2
      else if (typeof record[key] === 'string') record[key] = (record[key] as string).toUpperCase()
      else record[key] = random.pick(strange)
      break
    default:
      record[key] = random.pick(strange)
  }
  return JSON.stringify(root.value) ?? ''
}

function nested(value: unknown, depth: number): unknown {
  let result = value
  for (let i = 0; i < depth; i++) result = i % 2 === 0 ? [result] : { a: result }
  return result
}
