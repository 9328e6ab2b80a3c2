//! The OpenAPI 3.1 document, made from the route table and the types that the handlers use.
//!
//! Everything that follows from a route's row (who may call it, whether it changes something,
//! whether it takes a body, a condition, an Idempotency-Key) is written here once, for every route
//! alike.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::input::Media;
use super::operation::{Condition, ResponseSpec};
use super::pages;
use super::problem::{self, Code, ProblemDocument};
use super::route::{Access, Route};
use crate::engine::{Rules, StoredKey};
use crate::types::{
    AccountId, AssetCode, HoldId, HookName, JobId, KeyId, ScheduleId, SessionId, StepName,
    TransferId, TxId, Username, ValueName, WebhookId, WorkflowName,
};

const DESCRIPTION: &str = "Sessions and users that survive restarts, kill -9 and power cuts.\n\n\
    Each operation says in `x-abide-who` who may call it. Every refusal is a problem document \
    (RFC 9457) whose `code` has a page under /problems/. Unknown fields, unknown query parameters \
    and wrong types are refused. Times are RFC 3339 in UTC; an ETag begins with the revision of the thing.";

const TAGS: &[(&str, &str)] = &[
    ("sessions", "Opening, showing, renewing and ending sessions, and their data."),
    ("users", "The own user, and what administrators do with users."),
    ("by-key", "A session store for another framework, which makes the keys itself."),
    (
        "api-keys",
        "The credentials of services. An API key is a program and no person: it may do what its roles say and open sessions on behalf of the users that its patterns name, but it has no session, no password and no data of its own, and a step with a quorum does not count it.",
    ),
    ("gateways", "What gateways and other services ask about a token."),
    ("operations", "What operators and clients ask about the server itself."),
    ("workflows", "Publishing and reading definitions of workflows."),
    ("transactions", "Starting transactions, submitting their steps, and looking at them."),
    ("live", "Events: streams, a WebSocket, and histories."),
    ("values", "Reference values that workflows read."),
    ("accounts", "Accounts of the ledger, with their balances and entries."),
    ("transfers", "Moving amounts between accounts."),
    ("holds", "Reserving amounts, and capturing or releasing them."),
    ("assets", "What amounts are counted in, and whether the ledger adds up."),
    ("bulk", "Operations on many transactions at once."),
    ("schedules", "Transactions that start by the calendar."),
    ("webhooks", "Events delivered to other services."),
    ("hooks", "Signed messages of other services."),
    ("development", "Calls that exist with `--dev` only."),
    ("pages", "Pages for people, and this document."),
];

mod examples;

/// The document of these routes on a server with these rules.
pub(super) fn document<'r>(routes: impl Iterator<Item = &'r Route>, rules: &Rules) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let operation = operation(route, &mut schemas);
        let method = route.method.as_str().to_lowercase();
        paths.entry(route.pattern).or_default().insert(method, operation);
    }
    let tags = TAGS.iter().map(|(name, text)| json!({ "name": name, "description": text }));
    let mut document = json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Abide",
            "version": "1",
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(rules),
            "headers": headers(),
            "parameters": parameters(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A session's token (`abs_...`) or an API key (`abk_...`).",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "abide",
                    "description": "A session's token; `__Host-abide` under TLS. A change by \
                                    cookie must be same-origin.",
                },
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The API key as the password, whatever the name.",
                },
            },
        },
    });
    bound_integers(&mut document);
    examples::complete(&mut document);
    document
}

/// A format of integers has a largest one, which JSON Schema's `format` alone does not say.
fn bound_integers(document: &mut Value) {
    match document {
        Value::Object(object) => {
            let largest = match object.get("format").and_then(Value::as_str) {
                Some("uint16") => Some(u64::from(u16::MAX)),
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint" | "uint64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(largest) = largest {
                object.entry("maximum").or_insert_with(|| largest.into());
            }
            object.values_mut().for_each(bound_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_integers),
        _ => {}
    }
}

/// Schemas of types as input and as output; the words of the API are the same in both.
struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        let mut schemas = Self {
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        };
        schemas.given.subschema_for::<ProblemDocument<'_>>();
        schemas
    }

    fn into_definitions(mut self, rules: &Rules) -> Map<String, Value> {
        let mut definitions = self.taken.take_definitions(true);
        for definition in definitions.values_mut() {
            tighten(definition, rules);
        }
        definitions.extend(self.given.take_definitions(true));
        definitions
    }
}

/// Adds the constraints of the configuration to the schema of an input.
fn tighten(definition: &mut Value, rules: &Rules) {
    let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for schema in properties.values_mut() {
        if schema.get(NEW_PASSWORD).is_some() {
            schema["minLength"] = rules.password_chars_min.into();
        }
    }
    if rules.profiles.is_empty() {
        properties.remove("profile");
    } else if let Some(profile) = properties.get_mut("profile") {
        let names: Vec<_> = rules.profiles.keys().map(|name| Some(name.as_str())).collect();
        *profile = json!({ "enum": names, "description": "The session's time-outs." });
    }
}

/// Marks a password that must be good, since it is to be set.
pub(super) const NEW_PASSWORD: &str = "x-abide-new-password";

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let doc = route.operation;
    let mut description = vec![route.access.words()];
    if !doc.text.is_empty() {
        description.push(doc.text);
    }
    let mut operation = json!({
        "operationId": doc.id,
        "tags": [doc.tag],
        "summary": doc.summary,
        "description": description.join("\n\n"),
        "x-abide-who": route.access.as_str(),
        "security": security(route),
        "parameters": operation_parameters(route, schemas),
        "responses": responses(route, schemas),
    });
    if let Some(body) = doc.body {
        let mut content = Map::new();
        for (at, (media, schema)) in body.content().enumerate() {
            let mut entry = json!({ "schema": schema(&mut schemas.taken) });
            if at == 0 && doc.examples.is_empty() {
                entry["example"] = example(body.example);
            } else if at == 0 {
                entry["examples"] = numbered(doc.examples);
            }
            content.insert(media.as_str().to_owned(), entry);
        }
        operation["requestBody"] = json!({ "required": !body.is_optional, "content": content });
    }
    operation
}

/// Examples by number, so that they keep their order.
fn numbered(examples: &[(&str, &str)]) -> Value {
    let one = |(at, (summary, text)): (usize, &(&str, &str))| {
        ((at + 1).to_string(), json!({ "summary": summary, "value": example(text) }))
    };
    Value::Object(examples.iter().enumerate().map(one).collect())
}

fn security(route: &Route) -> Value {
    let mut ways = match route.access {
        Access::Anyone => return json!([]),
        Access::Caller => vec![json!({})],
        _ => Vec::new(),
    };
    ways.push(json!({ "bearer": [] }));
    if !matches!(route.access, Access::Service) {
        ways.push(json!({ "cookie": [] }));
    }
    if route.operation.basic {
        ways.push(json!({ "basic": [] }));
    }
    Value::Array(ways)
}

fn operation_parameters(route: &Route, schemas: &mut Schemas) -> Vec<Value> {
    let doc = route.operation;
    let in_path = route.pattern.split('/').filter_map(|segment| {
        segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'))
    });
    let mut all: Vec<Value> = Vec::new();
    for name in in_path {
        let schema = path_parameter(route, name, &mut schemas.taken);
        all.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    for parameter in doc.query {
        let schema = (parameter.schema)(&mut schemas.taken);
        all.push(json!({
            "name": parameter.name,
            "in": "query",
            "description": parameter.text,
            "schema": schema,
        }));
    }
    for header in doc.headers {
        let schema = (header.schema)(&mut schemas.taken);
        all.push(json!({
            "name": header.name,
            "in": "header",
            "description": header.text,
            "schema": schema,
        }));
    }
    let shared = |name: &str| json!({ "$ref": format!("#/components/parameters/{name}") });
    match doc.condition {
        Condition::None => {}
        Condition::IfMatch => all.extend([shared("If-Match"), shared("If-None-Match-Change")]),
        Condition::IfNoneMatch => all.push(shared("If-None-Match")),
    }
    if doc.idempotency {
        all.push(shared("Idempotency-Key"));
    }
    all
}

fn path_parameter(route: &Route, name: &str, generator: &mut SchemaGenerator) -> Value {
    let schema = match (route.operation.tag, name) {
        ("sessions", "id") => generator.subschema_for::<SessionId>(),
        ("api-keys", "id") => generator.subschema_for::<KeyId>(),
        ("accounts", "id") => generator.subschema_for::<AccountId>(),
        ("transfers", "id") => generator.subschema_for::<TransferId>(),
        ("holds", "id") => generator.subschema_for::<HoldId>(),
        ("bulk", "id") => generator.subschema_for::<JobId>(),
        ("webhooks", "id") => generator.subschema_for::<WebhookId>(),
        ("webhooks", "n") => generator.subschema_for::<u64>(),
        ("schedules", "id") => generator.subschema_for::<ScheduleId>(),
        ("hooks", "name") => generator.subschema_for::<HookName>(),
        ("transactions", "id") => generator.subschema_for::<TxId>(),
        ("values", _) => generator.subschema_for::<ValueName>(),
        ("workflows", "name") => generator.subschema_for::<WorkflowName>(),
        (_, "step") => generator.subschema_for::<StepName>(),
        ("assets", "code") => generator.subschema_for::<AssetCode>(),
        (_, "username") => generator.subschema_for::<Username>(),
        (_, "code") => pages::codes(generator),
        // The bound counts bytes of UTF-8, which a schema cannot.
        _ => {
            let bytes_max = StoredKey::BYTES_MAX;
            return json!({ "type": "string", "minLength": 1, "maxLength": bytes_max });
        }
    };
    schema.to_value()
}

fn responses(route: &Route, schemas: &mut Schemas) -> Value {
    let mut all = Map::new();
    for answer in route.operation.responses() {
        let mut one = response(&answer, schemas);
        // The same answer in another media type.
        if let Some(Value::Object(other)) = all.get_mut(&answer.status.to_string())
            && let Some(Value::Object(content)) = one.get_mut("content")
            && let Some(Value::Object(contents)) = other.get_mut("content")
        {
            contents.append(content);
            continue;
        }
        all.insert(answer.status.to_string(), one);
    }
    let mut by_status: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for code in problems(route) {
        by_status.entry(code.status().as_u16()).or_default().insert(code.as_str());
    }
    for (status, codes) in by_status {
        let listed: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
        let mut carried = vec!["X-Request-Id"];
        match status {
            401 => carried.push("WWW-Authenticate"),
            412 => carried.push("ETag"),
            429 | 503 => carried.push("Retry-After"),
            _ => {}
        }
        let response = json!({
            "description": listed.join(", "),
            "headers": header_references(&carried),
            "content": { problem::MEDIA_TYPE: { "schema": {
                "allOf": [{ "$ref": "#/components/schemas/Problem" }],
                "properties": { "status": { "const": status }, "code": { "enum": codes } },
            } } },
        });
        all.insert(status.to_string(), response);
    }
    Value::Object(all)
}

fn response(answer: &ResponseSpec, schemas: &mut Schemas) -> Value {
    let mut carried = vec!["X-Request-Id"];
    carried.extend(answer.headers);
    carried.extend(answer.has_etag.then_some("ETag"));
    let mut response = json!({
        "description": answer.text,
        "headers": header_references(&carried),
    });
    if let Some((media, schema, text)) = answer.body {
        let mut content = json!({ "schema": schema(&mut schemas.given) });
        if !text.is_empty() {
            content["example"] = example(text);
        }
        response["content"] = json!({ media: content });
    }
    let links = answer.links.iter().map(|(operation, parameter, expression)| {
        let link = json!({
            "operationId": operation,
            "parameters": { *parameter: *expression },
        });
        ((*operation).to_owned(), link)
    });
    let links: Map<String, Value> = links.collect();
    if !links.is_empty() {
        response["links"] = Value::Object(links);
    }
    response
}

/// All problems that a route can answer with.
fn problems(route: &Route) -> Vec<Code> {
    let doc = route.operation;
    let mut codes = vec![Code::BadRequest, Code::InvalidParameter, Code::RateLimited];
    codes.extend([Code::Internal, Code::HeadersTooLarge, Code::TargetTooLong]);
    codes.extend(doc.problems);
    let mut when = |condition: bool, more: &[Code]| {
        if condition {
            codes.extend(more);
        }
    };
    let changes = !route.method.is_safe();
    when(route.access.reads_token(), &[Code::Unauthenticated, Code::Stopping, Code::Busy]);
    when(!route.access.is_open() && route.access != Access::Actor, &[Code::NotAllowed]);
    when(changes && route.access.reads_token(), &[Code::CrossSite]);
    when(changes, &[Code::InvalidIdempotencyKey, Code::IdempotencyKeyNotSupported]);
    when(changes, &[Code::Busy, Code::Stopping, Code::NoRoom]);
    when(doc.idempotency, &[Code::IdempotencyKeyReused, Code::AnswerGone]);
    when(doc.condition == Condition::IfMatch, &[Code::RevisionMismatch]);
    let takes_none = changes && doc.condition == Condition::None;
    when(takes_none, &[Code::ConditionNotSupported]);
    if let Some(body) = doc.body {
        let json = body.content().any(|(media, _)| media != Media::Form);
        when(json, &[Code::InvalidJson]);
        when(true, &[Code::RequestTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType]);
        when(true, &[Code::InvalidInput]);
    }
    codes
}

fn header_references(names: &[&str]) -> Value {
    let references = names.iter().map(|name| {
        ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
    });
    Value::Object(references.collect())
}

fn headers() -> Value {
    let header =
        |text: &str, kind: &str| json!({ "description": text, "schema": { "type": kind } });
    json!({
        "X-Request-Id": header("The request's id, as in the server's log.", "string"),
        "ETag": header(
            "The revision as a strong entity tag; where what is shown depends on more (the reader, the \
             time), with a digest behind it.",
            "string",
        ),
        "Location": header("Where the new thing is.", "string"),
        "Set-Cookie": header("The session cookie, when the token comes or goes by it.", "string"),
        "Clear-Site-Data": header("Has browsers forget what pages have stored.", "string"),
        "Retry-After": header("After how many seconds it is worth to try again.", "string"),
        "WWW-Authenticate": header("How to authenticate.", "string"),
        "X-Abide-User": header("The user's name.", "string"),
        "X-Abide-Roles": header("The user's roles, separated by commas.", "string"),
    })
}

/// Pattern that [`super::input::idempotency_key`] reads: visible ASCII, bare or as a quoted string.
const IDEMPOTENCY_KEY: &str = r#"^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#;

/// Pattern that [`super::headers::Tags`] reads: `*`, or a list that may have empty elements.
const ENTITY_TAGS: &str =
    r#"^(\*|[\t ,]*((W/)?"[!#-~]*"[\t ]*(,[\t ,]*(W/)?"[!#-~]*"[\t ]*)*(,[\t ,]*)?)?)$"#;

fn parameters() -> Value {
    json!({
        "If-Match": {
            "name": "If-Match",
            "in": "header",
            "description": "Only if the thing is still at the revision of one of these ETags, whatever else \
                            they cover; `*`: only if there is one. Else 412.",
            "schema": { "type": "string", "pattern": ENTITY_TAGS },
        },
        "If-None-Match": {
            "name": "If-None-Match",
            "in": "header",
            "description": "304 if the answer would be the one that had this ETag.",
            "schema": { "type": "string", "pattern": ENTITY_TAGS },
        },
        "If-None-Match-Change": {
            "name": "If-None-Match",
            "in": "header",
            "description": "`*`: only if there is nothing yet; else 412.",
            "schema": { "type": "string", "pattern": ENTITY_TAGS },
        },
        "Idempotency-Key": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A key of the caller's choice, kept for 24 hours: the same request with \
                            it takes effect once and gets the first answer again.",
            "schema": { "type": "string", "pattern": IDEMPOTENCY_KEY },
        },
    })
}

/// The table's examples are JSON; a test reads each.
fn example(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use serde_json::Value;

    use super::{NEW_PASSWORD, document, problems};
    use crate::engine::Rules;
    use crate::http::problem::Code;
    use crate::http::route::Access;
    use crate::http::routes::{DEV_ROUTES, ROUTES};

    fn all() -> Value {
        document(ROUTES.iter().chain(DEV_ROUTES), &Rules::default())
    }

    #[test]
    fn every_route_is_in_the_document_with_its_row() {
        let document = all();
        for route in ROUTES.iter().chain(DEV_ROUTES) {
            let method = route.method.as_str().to_lowercase();
            let operation = &document["paths"][route.pattern][method];
            assert_eq!(operation["x-abide-who"], route.access.as_str(), "{}", route.label);
            assert!(Access::ALL.contains(&route.access));
            assert!(operation["responses"].as_object().is_some_and(|all| all.len() > 1));
        }
    }

    #[test]
    fn the_document_says_what_the_configuration_says() {
        let document = all();
        let schemas = &document["components"]["schemas"];
        let fields = [
            ("RegisterRequest", "password"),
            ("ChangePasswordRequest", "new"),
            ("SetPasswordRequest", "password"),
        ];
        for (name, field) in fields {
            let schema = &schemas[name]["properties"][field];
            assert_eq!(schema["minLength"], 12, "{name}: {NEW_PASSWORD} is lost");
        }
        assert!(schemas["LoginRequest"]["properties"].get("profile").is_none());
        assert!(schemas["SessionResponse"]["properties"].get("profile").is_some());
    }

    /// Two types of one name would get a number behind it.
    #[test]
    fn every_schema_has_a_name_of_its_own() {
        let document = all();
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(
                !name.ends_with(|end: char| end.is_ascii_digit()),
                "{name}: two types share a name"
            );
        }
    }

    #[test]
    fn every_tag_of_a_route_is_described() {
        let document = all();
        let tags = document["tags"].as_array().unwrap();
        for route in ROUTES.iter().chain(DEV_ROUTES) {
            let is_there = tags.iter().any(|tag| tag["name"] == route.operation.tag);
            assert!(
                is_there,
                "{}: the tag {:?} is not described",
                route.label, route.operation.tag
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    fields.values().for_each(|field| walk(field, document));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
                _ => {}
            }
        }
        let document = all();
        walk(&document, &document);
    }

    #[test]
    fn every_example_is_json() {
        for route in ROUTES.iter().chain(DEV_ROUTES) {
            let bodies = route.operation.body.map(|body| body.example);
            let more = route.operation.examples.iter().map(|(_, text)| *text);
            let answers = route.operation.responses().filter_map(|answer| answer.body);
            for text in bodies.into_iter().chain(more).chain(answers.map(|(_, _, text)| text)) {
                let read: Result<Value, _> = serde_json::from_str(text);
                assert!(text.is_empty() || read.is_ok(), "{}: {text}", route.label);
            }
        }
    }

    #[test]
    fn every_code_is_some_routes_or_the_transports() {
        let mut sent: Vec<Code> = vec![Code::NotFound, Code::MethodNotAllowed];
        sent.push(Code::MethodNotImplemented);
        sent.push(Code::ElevationNeeded);
        // Codes with which the effects of a workflow are refused.
        sent.push(Code::NotYourAccount);
        for route in ROUTES.iter().chain(DEV_ROUTES) {
            sent.extend(problems(route));
        }
        for code in Code::ALL {
            assert!(sent.contains(code), "{} is in the table and nowhere sent", code.as_str());
        }
    }
}
