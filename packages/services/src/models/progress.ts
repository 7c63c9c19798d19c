import type { DownloadProgress } from './hub.ts'

/** Where progress is drawn; `process.stderr` fits. */
export interface ProgressOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export interface ProgressDisplay {
  readonly update: (progress: DownloadProgress) => void
  /** Leaves the last state on the screen and ends the line. */
  readonly end: () => void
}

const redrawMs = 100
const lineMs = 5_000
const barWidth = 24

/**
 * Shows a download: one line redrawn in place on a terminal, otherwise a line every few seconds. Never for stdout, which belongs to results.
 * `now` is a monotonic clock in milliseconds.
 */
export function showProgress(label: string, output: ProgressOutput, now: () => number = () => performance.now()): ProgressDisplay {
  const terminal = output.isTTY === true
  let last: DownloadProgress | null = null
  let drawnAt = Number.NEGATIVE_INFINITY
  let started: { readonly at: number; readonly bytes: number } | null = null
  const draw = (progress: DownloadProgress): void => {
    const seconds = started === null ? 0 : (now() - started.at) / 1000
    // Bytes that an earlier run left behind say nothing about the speed of this one.
    const speed = started === null || seconds < 0.5 ? null : (progress.receivedBytes - started.bytes) / seconds
    const text = `${label}  ${describe(progress, speed, terminal)}`
    output.write(terminal ? `\r\x1b[2K${text.slice(0, (output.columns ?? 80) - 1)}` : `${text}\n`)
    drawnAt = now()
  }
  return {
    update: (progress) => {
      started ??= { at: now(), bytes: progress.receivedBytes }
      last = progress
      if (now() - drawnAt >= (terminal ? redrawMs : lineMs)) draw(progress)
    },
    end: () => {
      if (last === null) return
      draw(last)
      if (terminal) output.write('\n')
    },
  }
}

function describe({ receivedBytes, totalBytes }: DownloadProgress, speed: number | null, withBar: boolean): string {
  const rate = speed === null ? '' : `  ${size(speed)}/s`
  if (totalBytes === null) return `${size(receivedBytes)}${rate}`
  const share = Math.min(1, receivedBytes / totalBytes)
  const filled = Math.round(share * barWidth)
  const bar = withBar ? `[${'#'.repeat(filled)}${'.'.repeat(barWidth - filled)}] ` : ''
  return `${bar}${Math.floor(share * 100)}%  ${size(receivedBytes)} of ${size(totalBytes)}${rate}`
}

function size(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(0)} kB`
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`
}
