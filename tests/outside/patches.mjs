// JSON Patch (npm `json-patch-test-suite`) and the examples of RFC 7396, on session data.

import { createRequire } from 'node:module'
import { isDeepStrictEqual } from 'node:util'
import { Server, Tally, inParallel } from './abide.mjs'

const DATA = '/v1/sessions/current/data'

async function onNewSessions(suite, cases, check) {
  const tally = new Tally(suite)
  const server = await new Server().start()
  try {
    await inParallel(16, cases.map((one, at) => async () => {
      const { token } = await server.json('POST', '/v1/sessions', { body: {} })
      await check(tally, server, token, one, at)
    }))
  } finally {
    await server.stop()
  }
  return tally
}

// The suite's documents may be anything; session data are objects. So each document is put under
// a key, and the pointers lead there. What is no pointer stays what it is.
function under(key, patch) {
  const moved = (pointer) => (typeof pointer === 'string' && /^(\/|$)/.test(pointer) ? `/${key}${pointer}` : pointer)
  if (!Array.isArray(patch)) return patch
  return patch.map((operation) => {
    if (operation === null || typeof operation !== 'object') return operation
    const copy = { ...operation }
    for (const name of ['path', 'from']) if (name in copy) copy[name] = moved(copy[name])
    return copy
  })
}

export function jsonPatch() {
  const require = createRequire(import.meta.url)
  const files = ['tests.json', 'spec_tests.json']
  const all = files.flatMap((file) => require(`json-patch-test-suite/${file}`))
  const cases = all.filter((one) => one.doc !== undefined && one.patch !== undefined && !one.disabled)
  return onNewSessions('jsonPatch', cases, async (tally, server, token, one, at) => {
    const name = `${at} ${one.comment ?? one.error ?? JSON.stringify(one.patch)}`
    const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)
    const ways = [['inside', { v: one.doc }, under('v', one.patch), { v: one.expected }]]
    if (isObject(one.doc) && (isObject(one.expected) || one.expected === undefined)) {
      ways.push(['bare', one.doc, one.patch, one.expected])
    }
    for (const [way, doc, patch, expected] of ways) {
      await server.json('PUT', DATA, { token, body: doc })
      const type = 'application/json-patch+json'
      const answer = await server.call('PATCH', DATA, { token, type, body: JSON.stringify(patch) })
      const after = await server.json('GET', DATA, { token })
      if (one.expected !== undefined) {
        const right = answer.status < 300 && isDeepStrictEqual(after, expected)
        tally.check(`${name} ${way}`, right, `${answer.status} ${answer.text} ${JSON.stringify(after)}`)
      } else if (one.error !== undefined) {
        const refused = answer.status >= 400 && answer.status < 500
        tally.check(`${name} ${way}`, refused && isDeepStrictEqual(after, doc), `${answer.status} ${JSON.stringify(after)}`)
      } else {
        tally.check(`${name} ${way}`, answer.status < 300, `${answer.status} ${answer.text}`)
      }
    }
  })
}

// RFC 7396, appendix A: original, patch, result.
const EXAMPLES = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [['a', 'b'], ['c', 'd'], ['c', 'd']],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
]

export function mergePatch() {
  return onNewSessions('mergePatch', EXAMPLES, async (tally, server, token, [original, patch, result]) => {
    await server.json('PUT', DATA, { token, body: { v: original } })
    const type = 'application/merge-patch+json'
    const answer = await server.call('PATCH', DATA, { token, type, body: { v: patch } })
    const after = await server.json('GET', DATA, { token })
    // Under a key, a null takes the key away.
    const expected = result === null ? {} : { v: result }
    const right = answer.status < 300 && isDeepStrictEqual(after, expected)
    tally.check(JSON.stringify([original, patch]), right, `${answer.status} ${answer.text} ${JSON.stringify(after)}`)
  })
}
