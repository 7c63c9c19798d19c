// Reads the JSON report of a run of the tests. "files REPORT" prints the files in which something failed, one a line; "names REPORT" each test that failed, with the first
// line of why; "count REPORT" how many passed and failed.
import { readFileSync } from 'node:fs'
import { relative } from 'node:path'

const [what, path] = process.argv.slice(2)
const report = JSON.parse(readFileSync(path, 'utf8'))
const failed = report.testResults.filter(({ status }) => status === 'failed')
const print = (line) => process.stdout.write(`${line}\n`)
const fileOf = (name) => relative(process.cwd(), name)
const firstLine = (text) => (text ?? '').split('\n', 1)[0].slice(0, 300)

if (what === 'files') for (const { name } of failed) print(fileOf(name))
else if (what === 'count') print(`${report.numPassedTests} ${report.numFailedTests}`)
else
  for (const { name, message, assertionResults } of failed) {
    const tests = assertionResults.filter(({ status }) => status === 'failed')
    // A file that could not be loaded, or whose hooks failed, names no test.
    if (tests.length === 0) print(`${fileOf(name)}: ${firstLine(message)}`)
    for (const { fullName, failureMessages } of tests) print(`${fileOf(name)}: ${fullName}: ${firstLine(failureMessages?.[0])}`)
  }
