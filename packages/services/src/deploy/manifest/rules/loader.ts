import { argumentsOf, environment, passthrough, paths } from '../../layout.ts'
import { isTable } from '../keys.ts'
import type { Linted } from '../lint.ts'

/** What runs, with which arguments and environment. */
export function checkLoader(linted: Linted): void {
  const { at, refuse } = linted
  if (at('libos.entrypoint') !== paths.node) refuse('entrypoint_untrusted', 'libos.entrypoint', paths.node)
  const hash = at('loader.entrypoint.sha256')
  if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) refuse('loader_unhashed', 'loader.entrypoint.sha256', '64 lower-case hex digits')
  const uri = at('loader.entrypoint.uri')
  if (typeof uri !== 'string' || !/^file:\/[A-Za-z0-9._/+-]+\/libsysdb\.so$/.test(uri))
    refuse('loader_unhashed', 'loader.entrypoint.uri', "file:/.../libsysdb.so, Gramine's LibOS")
  checkArguments(linted)
  checkEnvironment(linted)
}

/** Word by word those of the role; V8's heap may have another size. */
function checkArguments({ role, at, refuse }: Linted): void {
  const argv = at('loader.argv')
  if (!Array.isArray(argv)) {
    refuse('host_arguments', 'loader.argv', 'the arguments of the role')
    return
  }
  const [, , heap] = argv as readonly unknown[]
  const [, megabytes = ''] = /^--max-old-space-size=([1-9][0-9]{2,6})$/.exec(String(heap)) ?? []
  const wanted = argumentsOf(role, Number(megabytes))
  if (argv.length !== wanted.length || wanted.some((argument, i) => argument !== argv[i]))
    refuse('arguments_unexpected', 'loader.argv', wanted.join(' '))
}

function checkEnvironment({ role, at, refuse }: Linted): void {
  const found = at('loader.env')
  const fixed = new Map(environment.map(({ name, value }) => [name, value]))
  const secrets = passthrough(role)
  for (const [name, value] of Object.entries(isTable(found) ? found : {})) {
    const key = `loader.env.${name}`
    if (isTable(value) && Object.hasOwn(value, 'passthrough')) {
      if (!secrets.includes(name) || value.passthrough !== true)
        refuse('passthrough_unvalidated', key, `pass-through of ${secrets.join(', ') || 'nothing'} only`)
      continue
    }
    const said = isTable(value) ? value.value : value
    // A secret that somebody wrote into the manifest is not repeated.
    if (said !== fixed.get(name) || said === undefined)
      refuse(
        'environment_unexpected',
        key,
        fixed.get(name) ?? `no variable but ${[...fixed.keys()].join(', ')}`,
        secrets.includes(name) ? 'a value' : said,
      )
  }
  for (const [name, value] of fixed) if (!isTable(found) || !Object.hasOwn(found, name)) refuse('environment_unexpected', `loader.env.${name}`, value)
}
