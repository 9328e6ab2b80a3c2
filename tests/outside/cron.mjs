// Cron expressions in all zones: the first time of a schedule, as cronsim (PyPI) has it, before and
// in nights in which clocks change.

import { spawnSync } from 'node:child_process'
import { Server, Tally } from './abide.mjs'

const WORKFLOW = `abide: 1
workflow: report
first: write
steps:
  write: { by: [owner], next: { end: written } }
`

// Evenings before clocks change, as days and hours after a Saturday at noon: in America in March, in
// Europe in March and in October, in America in November, on the southern half in April and October.
const NIGHTS = ['2029-03-10T20:00:00Z', '2029-03-24T20:00:00Z', '2029-03-31T10:00:00Z', '2029-10-06T10:00:00Z', '2029-10-27T20:00:00Z', '2029-11-03T20:00:00Z']

const SCHEDULES = 150
const SEED = Number(process.env.ABIDE_SEED ?? '20261124')

function python(args, input) {
  const child = spawnSync('./py/bin/python', ['cron_cases.py', ...args], { input, encoding: 'utf8' })
  if (child.status !== 0) throw new Error(child.stderr)
  return child.stdout.trimEnd().split('\n')
}

export async function cron() {
  const tally = new Tally('cron')
  const server = await new Server().start()
  try {
    let token = await server.admin()
    await server.json('PUT', '/v1/workflows/report', { token, type: 'application/yaml', body: WORKFLOW })
    for (const [number, night] of NIGHTS.entries()) {
      const { now } = await server.json('GET', '/v1/admin/status', { token })
      const ahead = Math.floor((Date.parse(night) - Date.parse(now)) / 1000)
      await server.json('POST', '/v1/dev/clock', { token, body: { advance: `${ahead}s` } })
      token = await server.admin()
      const asked = python(['ask', String(SEED + number), String(SCHEDULES)])
      const made = []
      for (const line of asked) {
        const [cron, zone] = line.split('|')
        const answer = await server.call('POST', '/v1/schedules', { token, body: { workflow: 'report', cron, zone } })
        if (answer.status === 201) {
          const schedule = JSON.parse(answer.text)
          made.push({ line, schedule })
          // Nothing fires on the way to the next night.
          await server.json('DELETE', `/v1/schedules/${schedule.id}`, { token })
        } else {
          tally.check(`${line} has no time`, answer.status === 422 && answer.text.includes('there is no such time'), answer.text)
        }
      }
      const input = made.map(({ line, schedule }) => `${line}|${Date.parse(schedule.created_at)}`).join('\n')
      python(['answer'], input).forEach((expected, at) => {
        const { line, schedule } = made[at]
        if (expected === '-') return
        tally.check(`${line} after ${schedule.created_at}`, Date.parse(schedule.next_at) === Number(expected), `${schedule.next_at} for ${new Date(Number(expected)).toISOString()}`)
      })
    }
  } finally {
    await server.stop()
  }
  return tally
}
