export { answerUpstream } from './answer.ts'
export type { EngineKind } from './kinds/kinds.ts'
export { placementOf } from './place/placement.ts'
export { openUpstreamModel, type PlacedModel, placeUpstream, type UpstreamModel, type UpstreamOptions } from './upstream-model.ts'
