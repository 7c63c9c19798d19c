import { runDemo } from '../../demo/demo.ts'
import { demoHelp, parseDemoOptions } from '../../demo/options.ts'
import { demoJson, howToTalk, simulatedNotice } from '../../demo/present.ts'
import { release } from '../../release.ts'
import type { Command } from '../command.ts'

/** A close that hangs must not keep a terminal. */
const closeWithinMs = 10_000

export const command: Command = {
  run: async (args) => {
    const options = parseDemoOptions(args)
    if (options === 'help') {
      process.stdout.write(demoHelp)
      return 0
    }
    const out = options.json ? process.stderr : process.stdout
    const print = (line: string): void => {
      out.write(`${line}\n`)
    }
    const stop = Promise.withResolvers<void>()
    const aborting = new AbortController()
    // Registered before anything starts, so that an early Ctrl-C still closes what is up, and for good: a terminal and npm may both pass one on.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        stop.resolve()
        aborting.abort()
        setTimeout(() => process.exit(1), closeWithinMs).unref()
      })
    for (const line of [`Veritee ${release.version}`, ...simulatedNotice, '']) print(line)
    const started = performance.now()
    const running = runDemo(options, print, process.stderr, { signal: aborting.signal })
    const first = await Promise.race([running, stop.promise])
    if (first === undefined) {
      print('stopping ...')
      await running.then((result) => result.close()).catch(() => undefined)
      return 130
    }
    const ready = Math.round(performance.now() - started)
    print(`\nALL VERIFIED in ${ready} ms. SIMULATED: this shows the flow, not security.`)
    if (options.json) process.stdout.write(`${JSON.stringify({ ...demoJson(first, options), readyMs: ready }, null, 2)}\n`)
    if (!options.once) {
      for (const line of howToTalk(first)) print(line)
      await stop.promise
      print('stopping ...')
    }
    await first.close()
    return 0
  },
}
