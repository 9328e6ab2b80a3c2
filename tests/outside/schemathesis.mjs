// schemathesis (PyPI) over the served OpenAPI document: all checks, all phases, stateful as well,
// once as an administrator, once as a user and once as a service.

import { spawn } from 'node:child_process'
import { Server, Tally } from './abide.mjs'

// Test cases for each operation and phase. The runs go on beside each other and stay under three
// minutes; one that does not end, also on a machine that does more, is a failure and is ended.
const EXAMPLES = 25
const LONGEST_MS = 8 * 60 * 1000

// What is found once is found again; another number looks elsewhere.
const SEED = process.env.ABIDE_SEED ?? '20261124'

function run(server, as, environment, tally) {
  const args = [
    '--config-file', 'schemathesis.toml', 'run', `${server.url}/openapi.json`, '--checks', 'all', '--max-examples', String(EXAMPLES), '--seed', SEED,
    '--phases', 'examples,coverage,fuzzing,stateful', '--continue-on-failure', '--request-timeout', '30',
    '--suppress-health-check', 'all', '--warnings', 'off', '--workers', '1', '--report-dir', `report-${as}`,
  ]
  const env = { ...process.env, ...environment, ABIDE_URL: server.url, ABIDE_AS: as, SCHEMATHESIS_HOOKS: 'schemathesis_hooks', PYTHONPATH: '.', NO_COLOR: '1', COLUMNS: '160' }
  return new Promise((resolve) => {
    const child = spawn('./py/bin/schemathesis', args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: LONGEST_MS, killSignal: 'SIGKILL' })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { text += chunk })
    child.once('exit', (code) => {
      // The summary counts test cases: "N generated, M passed".
      const cases = /(\d+) generated/.exec(text)
      tally.check(`as ${as}: ends without a failure`, code === 0, '')
      tally.check(`as ${as}: made test cases`, cases !== null && Number(cases[1]) > 500, cases?.[0])
      if (code !== 0) console.log(text.slice(-40000))
      else console.log(text.split('\n').filter((line) => /generated|Tested:|passed/.test(line)).join('\n'))
      resolve()
    })
  })
}

export async function schemathesis() {
  const tally = new Tally('schemathesis')
  const one = async (as) => {
    // A server for each: what one run does to it is not the other's concern.
    const server = await new Server().start()
    try {
      const key = await server.service('schemathesis', { on_behalf: ['*'] })
      const adminKey = await server.service('hooks', { roles: ['abide:admin'] })
      await server.user('alice')
      await run(server, as, { ABIDE_KEY: key, ABIDE_ADMIN_KEY: adminKey }, tally)
      tally.check(`as ${as}: the server still serves`, (await server.call('GET', '/readyz')).status === 200)
      tally.check(`as ${as}: nothing panicked`, !server.log.includes('panicked'), server.log)
    } finally {
      await server.stop()
    }
  }
  await Promise.all(['admin', 'user', 'service'].map(one))
  return tally
}
