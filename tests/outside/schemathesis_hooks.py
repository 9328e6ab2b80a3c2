"""Gives each request of schemathesis a living token: logouts, rotations and moved clocks, which
are among the requests, end the one before."""

import json
import os
import re
import threading
import urllib.error
import urllib.request
import uuid

import schemathesis

URL = os.environ["ABIDE_URL"]
AS = os.environ["ABIDE_AS"]
LOCK = threading.Lock()
TOKEN = {}


def post(path, body, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def alive(token):
    headers = {"authorization": f"Bearer {token}"}
    request = urllib.request.Request(URL + "/v1/sessions/current", headers=headers)
    try:
        with urllib.request.urlopen(request):
            return True
    except urllib.error.HTTPError:
        return False


def login():
    if AS == "service":
        return os.environ["ABIDE_KEY"]
    if AS == "admin":
        body = {"username": "admin", "password": os.environ["ABIDE_ADMIN"]}
        return post("/v1/sessions", body)["token"]
    # No password to hash, so it is quick.
    body = {"user": "alice", "on_behalf": True}
    return post("/v1/sessions", body, os.environ["ABIDE_KEY"])["token"]


# Failed logins are among the requests, and make the address wait; these were made before.
RESERVE = [login() for _ in range(12)] if AS != "service" else []


@schemathesis.hook
def before_call(context, case, kwargs):
    """A well-formed key gets a value of its own, since a used one is refused by right (422); a
    condition that random revisions cannot meet is left out (412). An empty list of tags is none
    (RFC 9110, section 5.6.1). Malformed ones stay as they are."""
    for name in list(case.headers or {}):
        value = case.headers[name]
        if name.lower() == "idempotency-key" and re.fullmatch(r"[!-~]{1,255}", value):
            if not value.startswith('"'):
                case.headers[name] = str(uuid.uuid4())
        if name.lower() in ("if-match", "if-none-match") and re.fullmatch(r'\s*|(W/)?"[!-~]*".*', value):
            del case.headers[name]


@schemathesis.auth(refresh_interval=None)
class LivingToken:
    def get(self, case, context):
        if AS == "service":
            return os.environ["ABIDE_KEY"]
        # One for each thread: a logout in one must not pull the token from under another.
        me = threading.get_ident()
        with LOCK:
            token = TOKEN.get(me)
        if token is None or not alive(token):
            with LOCK:
                token = RESERVE.pop() if RESERVE else None
            if token is None or not alive(token):
                token = login()
            with LOCK:
                TOKEN[me] = token
        return token

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"
