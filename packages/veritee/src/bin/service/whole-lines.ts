import { nextStep } from '../terminal/advice.ts'
import { marks } from '../terminal/print.ts'
import { type Branch, checkBranches, treeLines } from '../terminal/tree.ts'
import type { Whole, WholeModel, WholeWorker } from './whole.ts'

/** A whole service as a person reads it: the tree, warnings, and the conclusion last. */
export function wholeLines(whole: Whole, all: boolean): string[] {
  const { error, warnings, simulated } = whole
  const next = error === null ? null : nextStep(error.code)
  return [
    ...treeLines({
      text: whole.url,
      children: [serviceBranch(whole, all), ...workerBranches(whole, all), ...modelBranches(whole.models), ...replicaBranches(whole, all)],
    }),
    '',
    ...warnings.map((warning) => `warning: ${warning}`),
    ...(warnings.length === 0 ? [] : ['']),
    ...(error === null
      ? [simulated ? 'ACCEPTED, SIMULATED: this proves nothing about hardware' : 'ACCEPTED']
      : [`REJECTED: ${error.code}: ${error.message}`, ...(next === null ? [] : [`next: ${next}`])]),
  ]
}

function serviceBranch({ service }: Whole, all: boolean): Branch {
  const { verdict, role, keysetDigest, measurement, keysEnd } = service
  const facts = [
    ...(measurement === null ? [] : [`code ${measurement}`]),
    ...(keysetDigest === null ? [] : [`keys ${keysetDigest}, until ${keysEnd?.toISOString()}`]),
    ...(verdict.tcb === null ? [] : [`TCB ${verdict.tcb.status}`]),
  ]
  return {
    text: `${mark(verdict.error === null)} ${role}: ${verdict.error === null ? 'verified for a nonce drawn now' : verdict.error.code}`,
    children: [...facts.map(leaf), ...checkBranches(verdict.checks, all)],
  }
}

function workerBranches({ workers, service }: Whole, all: boolean): Branch[] {
  if (service.role !== 'controller' || service.verdict.error !== null) return []
  return [
    {
      text: `${mark(workers.length > 0 && workers.every(accepted))} workers: ${workers.length} verified here`,
      children: workers.map((worker) => workerBranch(worker, all)),
    },
  ]
}

function workerBranch(worker: WholeWorker, all: boolean): Branch {
  const { upstreamName, session, keysetDigest, measurement, models, notAsked, verdict } = worker
  const how = notAsked === null ? 'answered a nonce drawn now' : `evidence of its session; not asked now: ${notAsked}`
  return {
    text: `${mark(accepted(worker))} ${upstreamName}: ${verdict.error === null ? how : verdict.error.code}`,
    children: [
      leaf(`session ${session}`),
      ...(measurement === null ? [] : [leaf(`code ${measurement}`)]),
      ...(keysetDigest === null ? [] : [leaf(`keys ${keysetDigest}`)]),
      ...models.map(({ name, files }) => leaf(`model ${name}: weights ${files.join(', ') || 'NOT KNOWN'}`)),
      ...checkBranches(verdict.checks, all),
    ],
  }
}

function modelBranches(models: readonly WholeModel[]): Branch[] {
  if (models.length === 0) return []
  const shown = { verified: marks.pass, unverified: marks.waived, nobody: marks.fail }
  const words = {
    verified: 'served by a worker verified here',
    unverified: 'NOTHING behind it is verified',
    nobody: 'no worker verified here has it',
  }
  return [
    {
      text: `${mark(models.every(({ standing }) => standing !== 'nobody'))} models: ${models.length} offered`,
      children: models.map(({ name, standing }) => leaf(`${shown[standing]} ${name}: ${words[standing]}`)),
    },
  ]
}

function replicaBranches({ replicas, judgedReplicas }: Whole, all: boolean): Branch[] {
  if (replicas.length === 0) return []
  return [
    {
      text: `${mark(judgedReplicas.every(({ verdict }) => verdict.error === null))} replicas: ${judgedReplicas.length} of ${replicas.length} verified here, without the workers behind them`,
      children: judgedReplicas.map(({ url, keysetDigest, measurement, verdict }) => ({
        text: `${mark(verdict.error === null)} ${url}: ${verdict.error === null ? 'verified for a nonce drawn now' : verdict.error.code}`,
        children: [
          ...(measurement === null ? [] : [leaf(`code ${measurement}`)]),
          ...(keysetDigest === null ? [] : [leaf(`keys ${keysetDigest}`)]),
          ...checkBranches(verdict.checks, all),
        ],
      })),
    },
  ]
}

const accepted = ({ verdict }: WholeWorker): boolean => verdict.error === null
const mark = (good: boolean): string => (good ? marks.pass : marks.fail)
const leaf = (text: string): Branch => ({ text, children: [] })

/** The same as data (spec/verdict.md, Of a whole service). */
export function wholeJson(whole: Whole): object {
  const { url, at, verdict, simulated, error, warnings, service, workers, leftOut, models, replicas, judgedReplicas } = whole
  const { verdict: judged, keysEnd, ...facts } = service
  return {
    verdict,
    scope: 'policy',
    simulated,
    tcb: judged.tcb,
    checks: judged.checks,
    warnings,
    error,
    service: { url, at: at.toISOString(), ...facts, keysEnd: keysEnd?.toISOString() ?? null },
    workers,
    workersLeftOut: leftOut,
    models,
    replicas,
    judgedReplicas,
  }
}
