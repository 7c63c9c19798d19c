import { fileURLToPath } from 'node:url'
import { build, type Rollup } from 'vite'

const root = fileURLToPath(new URL('../../../../', import.meta.url))

/** One file built by vite for browsers. */
export interface BuiltFile {
  readonly name: string
  readonly content: string | Uint8Array
  /** Read by a page only where it is needed. */
  readonly isLater: boolean
}

/** Builds in memory: a library entry given as source text, or the pages of a folder under `root`. Nothing is written. */
export async function buildForBrowser(entry: { readonly source: string } | { readonly folder: string }): Promise<BuiltFile[]> {
  const virtual = 'virtual:entry'
  const library = 'source' in entry
  const result = await build({
    root: library ? root : root + entry.folder,
    configFile: false,
    logLevel: 'error',
    resolve: { conditions: ['@veritee/source', 'browser', 'import'] },
    plugins: library
      ? [
          {
            name: 'entry',
            resolveId: (id: string) => (id === virtual ? `\0${virtual}` : null),
            load: (id: string) => (id === `\0${virtual}` ? entry.source : null),
          },
        ]
      : [],
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      ...(library ? { rollupOptions: { input: virtual, preserveEntrySignatures: 'allow-extension' as const } } : {}),
    },
  })
  const outputs = (Array.isArray(result) ? result : [result]) as Rollup.RollupOutput[]
  const files = outputs.flatMap(({ output }) => output)
  const atOnce = new Set<string>()
  const reach = (name: string): void => {
    const file = files.find(({ fileName }) => fileName === name)
    if (file?.type !== 'chunk' || atOnce.has(name)) return
    atOnce.add(name)
    file.imports.forEach(reach)
  }
  for (const file of files) if (file.type === 'chunk' && file.isEntry) reach(file.fileName)
  return files.map((file) => ({
    name: file.fileName,
    content: file.type === 'chunk' ? file.code : file.source,
    isLater: file.type === 'chunk' && !atOnce.has(file.fileName),
  }))
}
