export { LoggedStore } from './logged-store.ts'
export { revocationEntry } from './revocation.ts'
export { WitnessedLog, type WitnessedLogOptions } from './witnessed-log.ts'
