// The program of an engine process: its worker starts it (start.ts), and it ends with its worker.
import { writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { channelDescriptors, serveEngine } from './serve.ts'

// A crash must not write prompts and weights to a disk: no page of memory belongs into a core dump. Where there is no such file there is no such filter.
try {
  writeFileSync('/proc/self/coredump_filter', '0')
} catch {}

// The worker is gone, however it went. There is nothing to be saved, and an evaluation under way would hold up an orderly end.
const end = (): void => void process.kill(process.pid, 'SIGKILL')
const open = (fd: number): Socket => new Socket({ fd, readable: true, writable: true }).on('error', end).on('close', end)

serveEngine(open(channelDescriptors.main), open(channelDescriptors.vocabulary), end)
