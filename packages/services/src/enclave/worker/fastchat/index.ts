export { type RunningFastchat, startFastchat } from './start.ts'
