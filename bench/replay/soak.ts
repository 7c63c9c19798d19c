import { loadModel } from '../../packages/services/src/demo/system.ts'
import { resolveModel } from '../../packages/services/src/models/locate.ts'
import { runSuite, type SuiteResult } from './suite.ts'

/** More than the engine evaluates together, so that some always wait. */
const parallel = 8

/** The suite with the demo model, and how its engine was built. */
export async function soakReplay(count: number, seed: number): Promise<SuiteResult & { readonly parallel: number; readonly engine: object }> {
  const model = await resolveModel('demo')
  const { served, engine } = await loadModel(model)
  try {
    return { ...(await runSuite({ served, modelPath: model.path, count, seed, parallel })), parallel, engine: served.describedEngine }
  } finally {
    await engine.dispose()
  }
}
