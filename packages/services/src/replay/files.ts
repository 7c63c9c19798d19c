import { readFile, stat } from 'node:fs/promises'
import { fail } from 'veritee/errors'
import { calibrate } from './calibrate.ts'
import { type Calibration, formatCalibration } from './calibration.ts'
import { openReplayModel } from './model.ts'
import { parseRecord } from './records.ts'

const maxRecordsBytes = 256 << 20
/** The context in which answers are replayed for a calibration; longer ones are an error. */
const calibrationContext = 4096

/** {@link calibrate} over a file of records, one a line (`formatRecord`). Throws `file_unavailable` too, and what opening a model throws. */
export async function calibrateFile(
  recordsPath: string,
  modelPath: string,
  created: number,
): Promise<{ readonly text: string; readonly calibration: Calibration; readonly leftOut: number }> {
  const lines = (await readRecords(recordsPath)).split('\n').filter((line) => line !== '')
  const model = await openReplayModel(modelPath, calibrationContext)
  try {
    const result = await calibrate(lines.map(parseRecord), model, created)
    return { ...result, text: formatCalibration(result.calibration) }
  } finally {
    await model.engine.dispose()
  }
}

async function readRecords(path: string): Promise<string> {
  try {
    const { size } = await stat(path)
    if (size > maxRecordsBytes) throw fail('file_unavailable', `${path}: expected at most ${maxRecordsBytes} bytes, found ${size}`)
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'file_unavailable') throw cause
    throw fail('file_unavailable', `cannot read ${path}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`, cause)
  }
}
