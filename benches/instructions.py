#!/usr/bin/env python3
"""Counts the server's user instructions for each kind of request, under callgrind.

    benches/instructions.py BINARY [BINARY ...] [--data DIR] [--only NAME] [--rounds N]

Each binary serves eight connections that send requests one after the other, all eight at once.
Counts are repeatable within a few percent whatever else the machine does, so two builds are
compared by them and not by the wall clock. `--data` starts the (one) binary on a copy of an existing
directory, to see what many stored records cost. Needs valgrind and Python 3.11.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

CONNECTIONS = 8
PASSWORD = "a bank on one node"
WORKFLOW = os.path.join(os.path.dirname(__file__), "../src/cli/bench/steps.yaml")


class Client:
    """One connection that is kept alive."""

    def __init__(self, port):
        self.port, self.token = port, None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def call(self, method, path, body=None, key=None, media="application/json"):
        head = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
        if self.token:
            head.append(f"authorization: Bearer {self.token}")
        if key:
            head.append(f"idempotency-key: {key}")
        data = b"" if body is None else body.encode()
        if body is not None:
            head += [f"content-type: {media}", f"content-length: {len(data)}"]
        self.writer.write("\r\n".join(head + ["", ""]).encode() + data)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", answer)
        content = await self.reader.readexactly(int(length[1])) if length else b""
        status = int(answer.split(" ", 2)[1])
        if not 200 <= status < 300:
            raise SystemExit(f"{method} {path}: {status} {content.decode()}")
        return json.loads(content) if content.startswith(b"{") else content


async def log_in(port, name, password):
    client = await Client(port).open()
    body = json.dumps({"username": name, "password": password})
    client.token = (await client.call("POST", "/v1/sessions", body))["token"]
    return client


async def noop(client, number, rounds):
    for _ in range(rounds):
        await client.call("GET", "/livez")
    return rounds


async def session_data(client, number, rounds):
    for at in range(rounds):
        await client.call("PUT", "/v1/sessions/current/data", json.dumps({"a": at}))
    return rounds


async def keyed_data(client, number, rounds):
    for at in range(rounds):
        key = f"k-{os.urandom(8).hex()}"
        await client.call("PUT", "/v1/sessions/current/data", json.dumps({"a": at}), key=key)
    return rounds


async def starts(client, number, rounds):
    client.open_transactions = []
    for _ in range(rounds):
        started = await client.call("POST", "/v1/workflows/bench-steps/transactions", "{}")
        client.open_transactions.append(started["id"])
    return rounds


async def steps(client, number, rounds):
    for tx in client.open_transactions:
        for step in ("one", "two", "three", "four"):
            path = f"/v1/transactions/{tx}/steps/{step}"
            await client.call("POST", path, '{"value": "a value"}', key=step)
    return 4 * rounds


KINDS = [
    ("no-op", noop),
    ("session data", session_data),
    ("session data, new key", keyed_data),
    ("start", starts),
    ("step", steps),
]


async def idle(pid):
    """Waits until the server has merged what it found in its journal."""
    spent, quiet = 0, 0
    while quiet < 3:
        await asyncio.sleep(2)
        with open(f"/proc/{pid}/stat") as stat:
            now = sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))
        quiet = quiet + 1 if now - spent < 10 else 0
        spent = now


async def measured(binary, data, copied, only, rounds):
    environment = dict(os.environ, ABIDE_ADMIN_PASSWORD=PASSWORD)
    counts_at = os.path.join(os.path.dirname(data), "callgrind.out")
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-instr=no"]
    command += [f"--callgrind-out-file={counts_at}", binary, "serve", "--dev", "--data", data]
    command += ["--listen", "127.0.0.1:0"]
    with open(os.path.join(os.path.dirname(data), "log"), "w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        said = server.stdout.readline().decode()
        port = int(said.rsplit(":", 1)[1])
        admin = await log_in(port, "admin", PASSWORD)
        with open(WORKFLOW) as document:
            text = document.read()
        await admin.call("PUT", "/v1/workflows/bench-steps", text, media="application/yaml")
        if not os.path.exists(data + ".users"):
            for number in range(CONNECTIONS):
                user = json.dumps({"username": f"bench-{number}", "password": PASSWORD})
                await admin.call("POST", "/v1/users", user)
            open(data + ".users", "w").close()
        clients = [await log_in(port, f"bench-{number}", PASSWORD) for number in range(CONNECTIONS)]

        def control(*arguments):
            output = ["callgrind_control", *arguments, str(server.pid)]
            subprocess.run(output, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        async def all_of(kind, count):
            work = (kind(client, number, count) for number, client in enumerate(clients))
            return sum(await asyncio.gather(*work))

        if copied:
            await idle(server.pid)
        result = {}
        for name, kind in KINDS:
            if only and only not in name and not (only == "step" and name == "start"):
                continue
            if kind is not steps:
                await all_of(kind, max(4, rounds // 10))
            elif not only:
                await all_of(starts, rounds)
            control("-z")
            control("-i", "on")
            requests = await all_of(kind, rounds)
            control("-i", "off")
            control("-d", name.replace(" ", "-"))
            dumps = [name for name in os.listdir(os.path.dirname(data)) if "callgrind.out." in name]
            newest = max(dumps, key=lambda name: int(name.rsplit(".", 1)[1]))
            with open(os.path.join(os.path.dirname(data), newest)) as dump:
                total = next(line for line in dump if line.startswith("totals:"))
            result[name] = int(total.split()[1]) / requests
        return result
    finally:
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binaries", nargs="+")
    parser.add_argument("--data", help="a data directory to copy; its users bench-0 to bench-7 are made")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=100, help="rounds of each connection")
    chosen = parser.parse_args()
    rows = {}
    for binary in chosen.binaries:
        with tempfile.TemporaryDirectory() as directory:
            data = os.path.join(directory, "data")
            if chosen.data:
                shutil.copytree(chosen.data, data)
            rows[binary] = asyncio.run(measured(binary, data, bool(chosen.data), chosen.only, chosen.rounds))
    width = max(len(name) for name, _ in KINDS)
    print(" " * width, *(f"{os.path.basename(binary):>16}" for binary in rows))
    for name, _ in KINDS:
        if any(name in row for row in rows.values()):
            print(f"{name:<{width}}", *(f"{row.get(name, 0):>16,.0f}" for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
