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
  const days = daysIn(year, month)
  if (day < 1 || day > days || hour > 23 || minute > 59 || second > 59) return 'a date that exists'
  return new Date((((daysBefore(year, month) + day - 1) * 24 + hour) * 60 + minute) * 60_000 + second * 1000)
}

const lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const

/** The days of a month; zero where there is no such month. */
function daysIn(year: number, month: number): number {
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return (lengths[month - 1] ?? 0) + (leap ? 1 : 0)
}

/** Days from 1970-01-01 to the first of a month, in the Gregorian calendar. Years begin in March here, so that the leap day is the last of them. */
function daysBefore(year: number, month: number): number {
  const started = month > 2 ? year : year - 1
  const sinceMarch = month > 2 ? month - 3 : month + 9
  return (
    365 * started + Math.floor(started / 4) - Math.floor(started / 100) + Math.floor(started / 400) + Math.floor((153 * sinceMarch + 2) / 5) - 719_468
  )
}

/** The value of two digits. */
function pair(bytes: Uint8Array, at: number): number {
  return 10 * ((bytes[at] as number) - 0x30) + (bytes[at + 1] as number) - 0x30
}
