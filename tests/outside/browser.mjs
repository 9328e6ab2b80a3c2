// What is live, in a real browser (Debian's `chromium`, driven by `playwright-core`): `EventSource`
// and `WebSocket` with the session as a cookie, over kill -9.

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { chromium } from 'playwright-core'
import { Server, Tally } from './abide.mjs'

const BROWSER = process.env.ABIDE_CHROMIUM ?? '/usr/bin/chromium'
const PASSWORD = 'the long password of alice'
const ROUNDS = 3

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync']

const WORKFLOW = `
abide: 1
workflow: notes
data: { note: null }
first: ask
steps:
  ask:
    by: [owner]
    input: { type: object, properties: { note: { type: string } }, required: [note] }
    do:
      - set: { note: =input.note }
      - emit: { type: note.taken, data: { note: =input.note } }
    next: { end: done }
`

/** Starts a transaction and takes its step, as another device of the user. */
async function take(server, token, note) {
  const { id } = await server.json('POST', '/v1/workflows/notes/transactions', { token, body: {} })
  await server.json('POST', `/v1/transactions/${id}/steps/ask`, { token, body: { note } })
}

/** Every event after one, as pages have them, up to the one with this id. */
async function logged(server, token, first, last) {
  const ids = []
  let after = '0'.repeat(20)
  for (;;) {
    const headers = { accept: 'application/json' }
    const page = await server.json('GET', `/v1/events?limit=200&after=${after}`, { token, headers })
    ids.push(...page.items.map((event) => event.id).filter((id) => id >= first && id <= last))
    after = page.next_after
    if (!page.more) return ids
  }
}

const wait = (page, what, argument) => page.waitForFunction(what, argument, { timeout: 60000 })

/** A page of another origin tries what only the server's own may: it must not get a socket. */
async function fromElsewhere(context, server) {
  const other = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<p>other'))
  await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve))
  const page = await context.newPage()
  await page.goto(`http://127.0.0.1:${other.address().port}/`)
  const came = await page.evaluate((url) => new Promise((resolve) => {
    const socket = new WebSocket(url.replace('http', 'ws') + '/v1/socket', 'abide.v1')
    socket.onopen = () => resolve('a socket')
    socket.onclose = () => resolve('nothing')
  }), server.url)
  await page.close()
  other.closeAllConnections()
  await new Promise((resolve) => other.close(resolve))
  return came
}

async function play(tally, server, context) {
  const admin = await server.admin()
  await server.json('PUT', '/v1/workflows/notes', { token: admin, type: 'application/yaml', body: WORKFLOW })
  const token = await server.user('alice')

  const page = await context.newPage()
  await page.goto(`${server.url}/docs`)
  const login = await page.evaluate(async (body) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch('/v1/sessions', { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: answer.status, token: (await answer.json()).token, cookie: document.cookie }
  }, { username: 'alice', password: PASSWORD, cookie: true })
  tally.check('the token is in the cookie alone', login.status === 201 && !login.token && login.cookie === '', JSON.stringify(login))

  // One EventSource, made once: whatever it does after a kill it does itself.
  await page.evaluate(() => {
    window.live = { events: [], opened: 0, resyncs: 0 }
    const source = new EventSource('/v1/events')
    source.onopen = () => { window.live.opened += 1 }
    source.onmessage = (event) => {
      const data = JSON.parse(event.data)
      window.live.events.push({ id: event.lastEventId, same: data.id === event.lastEventId, note: data.data.note ?? data.data.data?.note, type: data.type })
    }
    source.addEventListener('resync', () => { window.live.resyncs += 1 })
    window.live.source = source
  })
  await wait(page, () => window.live.opened === 1)
  for (let round = 0; round < ROUNDS; round += 1) {
    await take(server, token, `before ${round}`)
    const came = (note) => window.live.events.some((event) => event.type === 'note.taken' && event.note === note)
    await wait(page, came, `before ${round}`)
    // Cut off in the middle of what it is sent.
    await take(server, token, `cut ${round}`)
    await server.crashAndRestart()
    await take(server, token, `unheard ${round}`)
    await wait(page, came, `unheard ${round}`)
    await wait(page, (opened) => window.live.opened >= opened, round + 2)
  }
  const live = await page.evaluate(() => ({ ...window.live, source: undefined }))
  const seen = live.events.map((event) => event.id)
  const known = await logged(server, token, seen[0], seen.at(-1))
  tally.check('EventSource: each event once, in order', isDeepStrictEqual(seen, known), JSON.stringify({ seen, known }))
  tally.check('EventSource: ids are the events\'', live.events.every((event) => event.same))
  tally.check('EventSource: resumed by itself', live.opened >= ROUNDS + 1 && live.resyncs === 0, JSON.stringify(live))
  const notes = live.events.filter((event) => event.type === 'note.taken').map((event) => event.note)
  const all = Array.from({ length: ROUNDS }, (_, round) => [`before ${round}`, `cut ${round}`, `unheard ${round}`]).flat()
  tally.check('EventSource: nothing is missing', isDeepStrictEqual(notes, all), JSON.stringify(notes))

  const talk = await page.evaluate(() => new Promise((resolve, reject) => {
    const socket = new WebSocket(location.origin.replace('http', 'ws') + '/v1/socket', 'abide.v1')
    const seen = { answers: [], notes: [] }
    window.socket = socket
    socket.onclose = (event) => { window.socketClosed = event.code }
    socket.onerror = () => reject(new Error('the socket broke'))
    let number = 0
    const ask = (method, params) => {
      number += 1
      socket.send(JSON.stringify({ jsonrpc: '2.0', id: number, method, params }))
    }
    socket.onopen = () => ask('events.subscribe', {})
    socket.onmessage = (message) => {
      const said = JSON.parse(message.data)
      if (said.method === 'event') seen.notes.push(said.params.type)
      else seen.answers.push(said)
      if (said.error) resolve({ seen, protocol: socket.protocol })
      if (said.id === 1) ask('transactions.start', { workflow: 'notes' })
      if (said.id === 2) ask('transactions.submit', { id: said.result.id, step: 'ask', input: { note: 'socket' } })
      if (seen.answers.length === 3 && seen.notes.includes('abide.transaction.ended')) {
        resolve({ seen, protocol: socket.protocol })
      }
    }
  }))
  tally.check('WebSocket: the subprotocol is abide.v1', talk.protocol === 'abide.v1', talk.protocol)
  const answers = talk.seen.answers
  tally.check('WebSocket: methods are answered', answers.length === 3 && answers[2].result?.data.note === 'socket', JSON.stringify(answers))
  const order = ['abide.transaction.started', 'note.taken', 'abide.transaction.ended'].map((type) => talk.seen.notes.indexOf(type))
  tally.check('WebSocket: notifications come in order', order[0] >= 0 && order[0] < order[1] && order[1] < order[2], JSON.stringify(talk.seen.notes))

  tally.check('a page of elsewhere gets no socket', await fromElsewhere(context, server) === 'nothing')

  const out = await page.evaluate(async () => (await fetch('/v1/sessions/current', { method: 'DELETE' })).status)
  await wait(page, () => window.socketClosed !== undefined)
  tally.check('the logout closes the socket with 4401', out === 204 && await page.evaluate(() => window.socketClosed) === 4401)
  // Whoever is told 401 does not try again.
  await wait(page, () => window.live.source.readyState === EventSource.CLOSED)
  tally.check('the logout ends the stream', true)
}

export async function browser() {
  if (!existsSync(BROWSER)) throw new Error(`${BROWSER} is not there: install chromium, or name one in ABIDE_CHROMIUM`)
  const tally = new Tally('browser')
  const server = await new Server().start()
  const profile = mkdtempSync(join(tmpdir(), 'abide-chromium-'))
  // The pages of the server forbid scripts to connect anywhere; those of an application do not.
  const options = { executablePath: BROWSER, args: FLAGS, bypassCSP: true, proxy: undefined }
  let context
  try {
    context = await chromium.launchPersistentContext(profile, options)
    await play(tally, server, context)
  } finally {
    await context?.close()
    await server.stop()
    rmSync(profile, { recursive: true, force: true })
  }
  return tally
}
