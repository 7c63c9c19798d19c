/** One command of `veriteed`: its file is loaded only when it is called, so that `--help` starts nothing. */
export interface Command {
  /** Runs with the arguments after its name; gives the exit code. Throws coded errors, which become exit codes and one line on stderr. */
  run(args: readonly string[]): Promise<number>
}

/** 1 something was rejected or is not genuine, 2 wrong usage or configuration, 3 something needed is unavailable. */
export const exitCodes = { configuration: 2, unavailable: 3, untrusted: 1, rejected: 1 } as const
