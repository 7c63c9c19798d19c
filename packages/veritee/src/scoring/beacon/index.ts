export {
  type BeaconChain,
  type BeaconRound,
  beaconChainFromJson,
  beaconRoundFromJson,
  parseBeaconChain,
  parseBeaconRound,
  quicknet,
  roundAt,
  timeOfRound,
  verifyBeaconRound,
} from './drand.ts'
export { createLocalBeacon, type LocalBeacon, localBeaconName } from './local.ts'
export { auditSeed, closingDelay, closingRound, isSelected, openingRound, probeSeed, seedCommitment } from './seeds.ts'
