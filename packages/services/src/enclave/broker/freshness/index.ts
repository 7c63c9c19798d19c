export { revocationEntry } from './revocation.ts'
export { WitnessedLog, type WitnessedLogOptions } from './witnessed-log.ts'
