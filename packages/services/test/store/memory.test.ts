import { MemoryStore } from '../../src/store/memory.ts'
import { conformance } from './conformance.ts'

conformance(() => Promise.resolve(new MemoryStore()), 100_000)
