export { type LoadedWeights, loadSources, loadWeights } from './load.ts'
