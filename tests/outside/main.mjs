// Runs the suites (or those named as arguments) and ends with one line of counts.

import { browser } from './browser.mjs'
import { cron } from './cron.mjs'
import { express } from './express.mjs'
import { jsonParsing } from './json_parsing.mjs'
import { jsonPatch, mergePatch } from './patches.mjs'
import { naughtyStrings } from './naughty.mjs'
import { schemathesis } from './schemathesis.mjs'

const suites = { jsonParsing, jsonPatch, mergePatch, naughtyStrings, cron, express, browser, schemathesis }
const wanted = process.argv.slice(2)
let passed = 0
let failed = 0
for (const [name, suite] of Object.entries(suites)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const began = Date.now()
  const tally = await suite().catch((error) => {
    console.log(`FAILED ${name}: ${error.stack}`)
    return { passed: 0, failed: 1 }
  })
  console.log(`${name}: ${tally.passed} passed, ${tally.failed} failed in ${((Date.now() - began) / 1000).toFixed(1)} s`)
  passed += tally.passed
  failed += tally.failed
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
