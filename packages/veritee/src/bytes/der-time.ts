/**
 * The contents of a UTCTime (`short`) or GeneralizedTime from `from` to `end`, in the one form RFC 5280 section 4.1.2.5 allows: seconds, no fraction,
 * `Z`, a date that exists; or in words what was expected.
 */
export function readTime(bytes: Uint8Array, from: number, end: number, short: boolean): Date | string {
  const digits = short ? 12 : 14
  let wrong = end !== from + digits + 1 || bytes[from + digits] !== 0x5a
  for (let at = from; !wrong && at < from + digits; at++) wrong = !((bytes[at] as number) >= 0x30 && (bytes[at] as number) <= 0x39)
  if (wrong) return 'a time in seconds and UTC'
  const rest = from + digits - 10
  const low = pair(bytes, rest - 2)
  const month = pair(bytes, rest)
  const day = pair(bytes, rest + 2)
  const hour = pair(bytes, rest + 4)
  const minute = pair(bytes, rest + 6)
  const second = pair(bytes, rest + 8)
  const year = (short ? (low < 50 ? 20 : 19) : pair(bytes, from)) * 100 + low
  // RFC 5280 gives each date one form: UTCTime through 2049, GeneralizedTime after.
  if (!short && year < 2050) return 'UTCTime for dates before 2050'
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second))
  // What is out of range spills into the next larger unit: a day that exists is still that day of that month.
  if (date.getUTCDate() !== day || date.getUTCMonth() !== month - 1 || hour > 23 || minute > 59 || second > 59) return 'a date that exists'
  return date
}

/** The value of two digits. */
function pair(bytes: Uint8Array, at: number): number {
  return 10 * ((bytes[at] as number) - 0x30) + (bytes[at + 1] as number) - 0x30
}
