/**
 * CPU time of this thread in milliseconds, to the tick of the kernel: other processes on the core do not count. Where Node has no such clock (before 23.9), that of the
 * whole process, which counts its collector and its other threads too.
 */
export function cpuMs(): number {
  const { user, system } = typeof process.threadCpuUsage === 'function' ? process.threadCpuUsage() : process.cpuUsage()
  return (user + system) / 1000
}
