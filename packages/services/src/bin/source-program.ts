import { codeDigest } from '../demo/measure.ts'
import { openEngine } from '../engine-process/index.ts'
import { resolveModel } from '../models/locate.ts'
import type { Program } from '../process/program.ts'

/** A service that runs from source: nothing is measured, so it runs in simulation only. */
export const sourceProgram: Program = { codeDigest, findModel: resolveModel, openEngine, anchors: null }
