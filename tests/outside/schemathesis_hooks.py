"""Gives each request of schemathesis a living token: logouts, rotations and moved clocks, which
are among the requests, end the one before."""

import http.client
import json
import os
import re
import urllib.parse
import uuid

import schemathesis
from schemathesis.engine import observations

URL = urllib.parse.urlsplit(os.environ["ABIDE_URL"])
AS = os.environ["ABIDE_AS"]
KEY = os.environ["ABIDE_KEY"]

# Failed logins are among the requests, and have their address wait; these come from another one.
OTHER_ADDRESS = ("127.0.0.2", 0)


# It reads each text of an answer as a URL, and one that looks like one and is none ("http://[")
# ends its run; 4.32.5.
as_url = observations._same_origin_path


def as_url_or_none(value, origin):
    try:
        return as_url(value, origin)
    except ValueError:
        return None


observations._same_origin_path = as_url_or_none


def call(method, path, body=None, token=None):
    """The status and the value of an answer."""
    connection = http.client.HTTPConnection(URL.hostname, URL.port, source_address=OTHER_ADDRESS)
    headers = {"content-type": "application/json"} if body is not None else {}
    if token:
        headers["authorization"] = f"Bearer {token}"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    with connection.getresponse() as answer:
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def made(path, body, token=None):
    status, value = call("POST", path, body, token)
    if status != 201:
        raise RuntimeError(f"POST {path}: {status} {value}")
    return value


def alive(token):
    return call("GET", "/v1/sessions/current", token=token)[0] == 200


def login():
    if AS == "service":
        return KEY
    if AS == "admin":
        # One of its own each time: a wrong password in a request has the account wait.
        body = {"username": f"admin-{uuid.uuid4()}", "password": "the password of an administrator"}
        made("/v1/users", body | {"roles": ["abide:admin"]}, os.environ["ABIDE_ADMIN_KEY"])
        return made("/v1/sessions", body)["token"]
    return made("/v1/sessions", {"user": "alice", "on_behalf": True}, KEY)["token"]


def own_keys():
    if AS != "admin":
        return set()
    _, page = call("GET", "/v1/api-keys", token=os.environ["ABIDE_ADMIN_KEY"])
    return {key["id"] for key in page["items"]}


# A list shows them, and what a list shows is tried on: they are not to be revoked.
OWN_KEYS = own_keys()
NO_KEY = "key_01jd9x2k7m8n4p5q6r7s8t9v0w"


def whole(value):
    """`1.0` is an integer to JSON Schema; Abide wants integers written as such."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(each) for each in value]
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    return value


# Every server has gone through so many revisions when its tests begin.
REVISIONS = 5


@schemathesis.hook
def before_call(context, case, kwargs):
    """A well-formed key gets a value of its own, since a used one is refused by right (422); a
    condition that random revisions cannot meet is left out (412); a revision becomes one that is
    there (400). Malformed ones stay as they are."""
    case.body = whole(case.body)
    as_of = (case.query or {}).get("as_of")
    if re.fullmatch(r"[0-9]+", str(as_of), re.ASCII):
        case.query["as_of"] = int(as_of) % REVISIONS
    if case.method == "GET" and case.path.endswith("/events"):
        # A page: a stream has no end.
        case.headers = case.headers or {}
        case.headers["Accept"] = "application/json"
    if (case.path_parameters or {}).get("id") in OWN_KEYS:
        case.path_parameters["id"] = NO_KEY
    for name in list(case.headers or {}):
        value = case.headers[name]
        if name.lower() == "idempotency-key":
            if re.fullmatch(r"[!#-~][!-~]{0,254}", value):
                case.headers[name] = str(uuid.uuid4())
            elif re.fullmatch(r'"([!#-\[\]-~]|\\["\\]){1,255}"', value):
                case.headers[name] = f'"{uuid.uuid4()}"'
        if name.lower() == "if-match" and re.fullmatch(ENTITY_TAGS, value):
            del case.headers[name]
        # Of a change: whether the thing is there is no matter of the schema either.
        is_condition = name.lower() in ("if-match", "if-none-match")
        if is_condition and case.method != "GET" and value.strip() == "*":
            del case.headers[name]
    # A cursor that no page of this list gave is refused by right (422); any text is one by the schema.
    if isinstance((case.query or {}).get("cursor"), str):
        del case.query["cursor"]


# As the document has it.
ENTITY_TAGS = r'[\t ,]*((W/)?"[!#-~]*"[\t ]*(,[\t ,]*(W/)?"[!#-~]*"[\t ]*)*(,[\t ,]*)?)?'


# What of these a schema cannot say, so that input which is valid by it may not be: passwords that
# are tried first, calendars and time zones, addresses of other servers, and definitions.
BEYOND_SCHEMAS = {
    "POST /v1/users",
    "PUT /v1/users/me/password",
    "POST /v1/set-password",
    "POST /v1/schedules",
    "POST /v1/webhooks",
    "PUT /v1/workflows/{name}",
    "POST /v1/workflows/check",
}


NOT_THERE = {
    "unknown-user",
    "unknown-asset",
    "unknown-account",
    "unknown-profile",
    "unknown-workflow",
    "unknown-step",
}


@schemathesis.check
def valid_input_is_not_called_invalid(context, response, case):
    """422 is for what the state does not allow, if the document says that the input fits."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code == 422 and case.operation.label not in BEYOND_SCHEMAS:
        problem = response.json()
        faults = {fault["code"] for fault in problem.get("errors", [])}
        # A name of something that is not there is right by the schema.
        known = all(fault in NOT_THERE for fault in faults)
        assert problem["code"] != "invalid-input" or (faults and known), response.text


@schemathesis.auth(refresh_interval=None)
class LivingToken:
    token = None

    def get(self, case, context):
        if self.token is None or (AS != "service" and not alive(self.token)):
            self.token = login()
        return self.token

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"
