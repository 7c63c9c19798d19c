/** What the service in the child process tells of itself, and is asked. */
export interface Ready {
  readonly port: number
}

export interface Counts {
  readonly begun: number
  /** Answers that have not been closed. */
  readonly open: readonly string[]
  readonly errors: readonly string[]
  readonly rss: number
}

export type Asked = 'counts'
