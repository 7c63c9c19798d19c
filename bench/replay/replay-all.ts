// Replays every record of a file in a process of its own: `replay-all.ts RECORDS MODEL`, one report a line.
import { readFileSync } from 'node:fs'
import { openReplayModel, parseRecord, replayWith } from '../../packages/services/src/replay/index.ts'

const [records = '', modelPath = ''] = process.argv.slice(2)
const model = await openReplayModel(modelPath, 1024)
for (const line of readFileSync(records, 'utf8')
  .split('\n')
  .filter((text) => text !== ''))
  process.stdout.write(`${JSON.stringify(await replayWith(parseRecord(line), model))}\n`)
await model.engine.dispose()
