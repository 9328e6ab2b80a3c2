// The real binary, started on a directory of its own, and a tally of what was found.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export const ADMIN_PASSWORD = 'the-administrator-of-these-tests'

/** A running `abide serve --dev`. */
export class Server {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'abide-outside-'))
    this.log = ''
    this.agent = new Agent({ keepAlive: true, maxSockets: 32 })
  }

  /** Starts, and resolves when it listens. */
  async start() {
    const environment = { ...process.env, ABIDE_ADMIN_PASSWORD: ADMIN_PASSWORD }
    delete environment.ABIDE_BIN
    const data = join(this.directory, 'db')
    const listen = this.url ? this.url.replace('http://', '') : '127.0.0.1:0'
    const args = ['serve', '--dev', '--data', data, '--listen', listen]
    this.child = spawn(process.env.ABIDE_BIN, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    this.ended = new Promise((resolve) => this.child.once('exit', resolve))
    this.child.stderr.on('data', (chunk) => { this.log = (this.log + chunk).slice(-20000) })
    const lines = createInterface({ input: this.child.stdout })
    this.url = await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        const found = /^abide listening on (http:\S+)$/.exec(line)
        if (found) resolve(found[1])
      })
      this.child.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${this.log}`)))
    })
    return this
  }

  /** kill -9, and a start on the same data and port. */
  async crashAndRestart() {
    this.child.kill('SIGKILL')
    await this.ended
    await this.start()
  }

  async stop() {
    this.child.kill('SIGTERM')
    await this.ended
    this.agent.destroy()
    rmSync(this.directory, { recursive: true, force: true })
  }

  /** One request. `body` is text, bytes or a value for JSON. Resolves to {status, headers, text}. */
  call(method, path, { token, type = 'application/json', body, headers = {} } = {}) {
    const sent = { ...headers }
    if (token) sent.authorization = `Bearer ${token}`
    let bytes
    if (body !== undefined) {
      bytes = typeof body === 'string' || Buffer.isBuffer(body) ? Buffer.from(body) : Buffer.from(JSON.stringify(body))
      if (type) sent['content-type'] = type
      sent['content-length'] = bytes.length
    }
    return new Promise((resolve, reject) => {
      const outgoing = request(this.url + path, { method, headers: sent, agent: this.agent }, (answer) => {
        const chunks = []
        answer.on('data', (chunk) => chunks.push(chunk))
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          resolve({ status: answer.statusCode, headers: answer.headers, text })
        })
        answer.on('error', reject)
      })
      outgoing.on('error', reject)
      outgoing.end(bytes)
    })
  }

  async json(method, path, options) {
    const answer = await this.call(method, path, options)
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`)
    return answer.text === '' ? undefined : JSON.parse(answer.text)
  }

  /** A user's token. */
  async user(username) {
    const body = { username, password: `the long password of ${username}` }
    await this.json('POST', '/v1/users', { body })
    return (await this.json('POST', '/v1/sessions', { body })).token
  }

  async admin() {
    const body = { username: 'admin', password: ADMIN_PASSWORD }
    return (await this.json('POST', '/v1/sessions', { body })).token
  }

  /** An API key's secret. */
  async service(name, more = {}) {
    const body = { name, ...more }
    return (await this.json('POST', '/v1/api-keys', { token: await this.admin(), body })).key
  }
}

/** Counts; prints each failure as it comes. */
export class Tally {
  constructor(suite) {
    this.suite = suite
    this.passed = 0
    this.failed = 0
  }

  check(name, right, seen = '') {
    if (right) {
      this.passed += 1
    } else {
      this.failed += 1
      console.log(`FAILED ${this.suite}: ${name}: ${String(seen).slice(0, 600)}`)
    }
  }
}

/** Runs the jobs with so many at a time. */
export async function inParallel(width, jobs) {
  const queue = [...jobs]
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) await job()
  }
  await Promise.all(Array.from({ length: width }, worker))
}
