/** A column: its heading, and what stands in it. */
export type Column<T> = readonly [heading: string, cell: (row: T) => string]

const maxCell = 120

/** A table of plain text; the last column is not padded. */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = [columns.map(([heading]) => heading), ...rows.map((row) => columns.map(([, cell]) => shown(cell(row))))]
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0)))
  return cells
    .map((line) =>
      line
        .map((cell, i) => (i === line.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Text of others for a terminal: what would move its cursor, colour it or turn its direction is a question mark; long text is cut. */
export function shown(text: string): string {
  const plain = text.toWellFormed().replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?')
  return plain.length <= maxCell ? plain : `${plain.slice(0, maxCell - 3)}...`
}

/** A moment, and how far off it is. */
export function moment(seconds: number, now: Date): string {
  const left = Math.round(seconds - now.getTime() / 1000)
  const far = Math.abs(left)
  const span =
    far < 120
      ? `${far} s`
      : far < 7200
        ? `${Math.round(far / 60)} min`
        : far < 172_800
          ? `${Math.round(far / 3600)} h`
          : `${Math.round(far / 86_400)} d`
  // Beyond what a Date holds somebody wrote nonsense.
  const at = seconds <= 8.64e12 ? new Date(seconds * 1000).toISOString().replace('.000Z', 'Z') : String(seconds)
  return `${at} (${left < 0 ? `${span} ago` : `in ${span}`})`
}
