// A real express application whose sessions live in the server: express-session with a store of
// a few lines on top of `/v1/sessions/by-key`.

import expressFramework from 'express'
import session from 'express-session'
import { Server, Tally } from './abide.mjs'

/** All that it takes. */
class AbideStore extends session.Store {
  constructor(url, key) {
    super()
    this.ask = (method, id, body) => fetch(`${url}/v1/sessions/by-key/${encodeURIComponent(id)}`, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    })
  }

  get(id, done) {
    this.ask('GET', id).then(async (answer) => done(null, answer.ok ? (await answer.json()).data : null)).catch(done)
  }

  set(id, data, done) {
    this.ask('PUT', id, { data, idle: '30m' }).then((answer) => done(answer.ok ? null : new Error(answer.status))).catch(done)
  }

  destroy(id, done) {
    this.ask('DELETE', id).then(() => done(null)).catch(done)
  }

  touch(id, data, done) {
    this.get(id, (error) => done(error))
  }
}

function application(store) {
  const app = expressFramework()
  app.use(session({ store, secret: 'of the application', resave: false, saveUninitialized: false, name: 'sid' }))
  app.get('/count', (request, response) => {
    request.session.views = (request.session.views ?? 0) + 1
    response.json({ views: request.session.views, user: request.session.user ?? null })
  })
  app.get('/who', (request, response) => response.json({ user: request.session.user ?? null }))
  app.post('/login/:user', (request, response, next) => request.session.regenerate((error) => {
    if (error) return next(error)
    request.session.user = request.params.user
    return response.json({})
  }))
  app.post('/logout', (request, response, next) => request.session.destroy((error) => (error ? next(error) : response.json({}))))
  return app
}

/** A browser: it keeps its cookie. */
class Browser {
  constructor(url) {
    this.url = url
  }

  async ask(method, path) {
    const headers = this.cookie ? { cookie: this.cookie } : {}
    const answer = await fetch(this.url + path, { method, headers })
    const set = answer.headers.get('set-cookie')
    if (set) this.cookie = set.split(';')[0]
    const text = await answer.text()
    return answer.ok ? JSON.parse(text) : { status: answer.status, text }
  }
}

export async function express() {
  const tally = new Tally('express')
  const server = await new Server().start()
  const key = await server.service('shop')
  const listening = application(new AbideStore(server.url, key)).listen(0, '127.0.0.1')
  await new Promise((resolve) => listening.once('listening', resolve))
  const url = `http://127.0.0.1:${listening.address().port}`
  const equal = (name, seen, expected) => tally.check(name, JSON.stringify(seen) === JSON.stringify(expected), JSON.stringify(seen))
  try {
    const ann = new Browser(url)
    const ben = new Browser(url)
    for (let views = 1; views <= 3; views += 1) equal(`view ${views}`, await ann.ask('GET', '/count'), { views, user: null })
    equal('another browser has a session of its own', await ben.ask('GET', '/count'), { views: 1, user: null })

    const before = ann.cookie
    equal('a login', await ann.ask('POST', '/login/ann'), {})
    tally.check('a login regenerates the session', ann.cookie !== before, ann.cookie)
    equal('who after the login', await ann.ask('GET', '/who'), { user: 'ann' })
    const thief = new Browser(url)
    thief.cookie = before
    equal('the session before the login is gone', await thief.ask('GET', '/who'), { user: null })

    await server.crashAndRestart()
    equal('sessions survive kill -9 of the server', await ann.ask('GET', '/who'), { user: 'ann' })
    equal('and go on', await ben.ask('GET', '/count'), { views: 2, user: null })

    const together = await Promise.all(Array.from({ length: 20 }, () => ann.ask('GET', '/who')))
    equal('parallel requests of one session', together, Array.from({ length: 20 }, () => ({ user: 'ann' })))

    const advance = async (by) => server.json('POST', '/v1/dev/clock', { token: await server.admin(), body: { advance: by } })
    await advance('20m')
    equal('a request is activity', await ann.ask('GET', '/who'), { user: 'ann' })
    await advance('20m')
    equal('so it goes on', await ann.ask('GET', '/who'), { user: 'ann' })
    equal('and one without activity is over', await ben.ask('GET', '/count'), { views: 1, user: null })

    const last = ann.cookie
    equal('a logout', await ann.ask('POST', '/logout'), {})
    thief.cookie = last
    equal('ends it', await thief.ask('GET', '/who'), { user: null })
    await server.crashAndRestart()
    equal('for good', await thief.ask('GET', '/who'), { user: null })
  } finally {
    listening.closeAllConnections()
    listening.close()
    await server.stop()
  }
  return tally
}
