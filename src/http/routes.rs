//! The route table: every route, and the callers that it admits.
//!
//! A line without its `Access` does not compile. The dispatch, the OpenAPI document, the
//! authorization matrix and the names in the metrics are made from this table.

use super::route::{Access, Handler, Route, Verb};
use super::{
    accounts, api_keys, assets, bulk, callbacks, chain, data, docs, events, external_sessions,
    holds, hooks, inbox, introspection, operators, pages, password_links, schedules, server_info,
    sessions, transactions, transfers, users, values, webhooks, websocket, workflows,
};

macro_rules! routes {
    ($($method:ident $pattern:literal $access:ident $kind:ident $module:ident::$handler:ident $operation:ident;)+) => {
        &[$(Route {
            method: verb!($method),
            pattern: $pattern,
            label: concat!(stringify!($method), " ", $pattern),
            access: Access::$access,
            handler: handler!($kind $module::$handler),
            operation: &$module::$operation,
        },)+]
    };
}

macro_rules! verb {
    (GET) => {
        Verb::Get
    };
    (POST) => {
        Verb::Post
    };
    (PUT) => {
        Verb::Put
    };
    (PATCH) => {
        Verb::Patch
    };
    (DELETE) => {
        Verb::Delete
    };
}

macro_rules! handler {
    (sync $module:ident::$handler:ident) => {
        Handler::Sync($module::$handler)
    };
    (read $module:ident::$handler:ident) => {
        Handler::Read($module::$handler)
    };
    (static $module:ident::$handler:ident) => {
        Handler::Static($module::$handler)
    };
    (command $module:ident::$handler:ident) => {
        Handler::Command($module::$handler)
    };
    (async $module:ident::$handler:ident) => {
        Handler::Async(|request| Box::pin($module::$handler(request)))
    };
}

/// The routes of every server.
pub(super) static ROUTES: &[Route] = routes! {
    GET    "/livez"                                           Anyone             static  server_info::live                 LIVE;
    GET    "/readyz"                                          Anyone             sync    server_info::ready                READY;
    GET    "/metrics"                                         Auditor            static  server_info::metrics              METRICS;
    GET    "/openapi.json"                                    Anyone             static  server_info::openapi              OPENAPI;
    GET    "/asyncapi.json"                                   Anyone             static  server_info::asyncapi             ASYNCAPI;
    GET    "/docs"                                            Anyone             static  docs::guide                       GUIDE_PAGE;
    GET    "/docs/workflows"                                  Anyone             static  docs::language                    LANGUAGE_PAGE;
    GET    "/docs/events"                                     Anyone             static  docs::events                      EVENTS_PAGE;
    GET    "/docs/reference"                                  Anyone             static  docs::reference                   REFERENCE_PAGE;
    GET    "/problems/{code}"                                 Anyone             sync    pages::problem                    PROBLEM;
    GET    "/set-password"                                    Anyone             static  password_links::show              SHOW;
    GET    "/assets/style.css"                                Anyone             static  pages::style                      STYLE;
    GET    "/assets/set-password.js"                          Anyone             static  password_links::script            SCRIPT;
    GET    "/v1/capabilities"                                 Anyone             sync    server_info::capabilities         CAPABILITIES;
    GET    "/v1/admin/status"                                 Admin              sync    server_info::status               STATUS;
    GET    "/v1/admin/chain"                                  Admin              sync    chain::head                       HEAD;
    GET    "/v1/admin/chain/transactions/{id}"                Admin              async   chain::proof                      PROOF;

    POST   "/v1/sessions"                                     Caller             async   sessions::open                    OPEN;
    GET    "/v1/sessions"                                     Session            read    sessions::list                    LIST;
    DELETE "/v1/sessions"                                     Session            async   sessions::end_all                 END_ALL;
    GET    "/v1/sessions/current"                             Session            sync    sessions::current                 CURRENT;
    DELETE "/v1/sessions/current"                             Session            async   sessions::logout                  LOGOUT;
    POST   "/v1/sessions/current/rotate"                      Session            async   sessions::rotate                  ROTATE;
    POST   "/v1/sessions/current/elevate"                     User               async   sessions::elevate                 ELEVATE;
    GET    "/v1/sessions/current/data"                        Session            sync    data::session_data                GET_SESSION_DATA;
    PUT    "/v1/sessions/current/data"                        Session            async   data::change_session_data         PUT_SESSION_DATA;
    PATCH  "/v1/sessions/current/data"                        Session            async   data::change_session_data         PATCH_SESSION_DATA;
    GET    "/v1/sessions/current/facts"                       Session            sync    sessions::facts                   FACTS;
    GET    "/v1/sessions/{id}"                                Session            sync    sessions::show                    SHOW;
    DELETE "/v1/sessions/{id}"                                Session            async   sessions::end                     END;
    PATCH  "/v1/sessions/{id}/facts"                          Service            async   sessions::change_facts            CHANGE_FACTS;
    GET    "/v1/sessions/by-key/{key}"                        Service            async   external_sessions::get            GET;
    PUT    "/v1/sessions/by-key/{key}"                        Service            async   external_sessions::put            PUT;
    DELETE "/v1/sessions/by-key/{key}"                        Service            async   external_sessions::delete         DELETE;

    POST   "/v1/users"                                        Caller             async   users::register                   REGISTER;
    GET    "/v1/users"                                        Auditor            read    users::list                       LIST;
    GET    "/v1/users/me"                                     User               sync    users::me                         ME;
    PUT    "/v1/users/me/password"                            User               async   users::password                   PASSWORD;
    GET    "/v1/users/me/data"                                User               sync    data::user_data                   GET_USER_DATA;
    PUT    "/v1/users/me/data"                                User               async   data::change_user_data            PUT_USER_DATA;
    PATCH  "/v1/users/me/data"                                User               async   data::change_user_data            PATCH_USER_DATA;
    GET    "/v1/users/{username}"                             Auditor            sync    users::show                       SHOW;
    PATCH  "/v1/users/{username}"                             Admin              async   users::change                     CHANGE;
    DELETE "/v1/users/{username}"                             Admin              async   users::delete                     DELETE;
    POST   "/v1/users/{username}/password-reset"              AdminOrService     async   users::reset                      RESET;
    POST   "/v1/set-password"                                 Anyone             async   password_links::use_link          USE;

    POST   "/v1/api-keys"                                     Admin              async   api_keys::create                  CREATE;
    GET    "/v1/api-keys"                                     Auditor            read    api_keys::list                    LIST;
    DELETE "/v1/api-keys/{id}"                                Admin              async   api_keys::revoke                  REVOKE;
    PUT    "/v1/workflows/{name}"                             Publisher          async   workflows::publish                PUBLISH;
    POST   "/v1/workflows/check"                              Publisher          async   workflows::check                  CHECK;
    GET    "/v1/workflows"                                    Actor              read    workflows::list                   LIST;
    GET    "/v1/workflows/{name}"                             Actor              sync    workflows::show                   SHOW;
    GET    "/v1/workflows/{name}/versions/{n}"                Actor              sync    workflows::show_version           SHOW_VERSION;
    GET    "/v1/workflows/{name}/diagram"                     Actor              read    workflows::diagram                DIAGRAM;
    GET    "/schemas/workflow.json"                           Anyone             sync    workflows::language               LANGUAGE;
    DELETE "/v1/workflows/{name}"                             Publisher          async   workflows::retire                 RETIRE;
    PUT    "/v1/values/{set}/{key}"                           PublisherOrService async   values::put                       PUT;
    PUT    "/v1/values/{set}"                                 PublisherOrService async   values::change_set                CHANGE_SET;
    GET    "/v1/values/{set}"                                 Caller             read    values::list                      LIST;
    GET    "/v1/values/{set}/{key}"                           Caller             sync    values::get                       GET;
    DELETE "/v1/values/{set}/{key}"                           PublisherOrService async   values::delete                    DELETE;

    POST   "/v1/workflows/{name}/transactions"                Actor              command transactions::start               START;
    GET    "/v1/transactions"                                 Actor              read    transactions::list                LIST;
    GET    "/v1/transactions/{id}"                            Actor              async   transactions::show                SHOW;
    GET    "/v1/transactions/{id}/history"                    Actor              read    events::history                   HISTORY;
    GET    "/v1/transactions/{id}/events"                     Actor              async   events::of_transaction            OF_TRANSACTION;
    GET    "/v1/events"                                       Actor              async   events::events                    EVENTS;
    GET    "/v1/socket"                                       Caller             async   websocket::open                   OPEN;
    POST   "/v1/transactions/{id}/steps/{step}"               Actor              command transactions::submit              SUBMIT;
    POST   "/v1/transactions/{id}/steps/{step}/claim"         Actor              command transactions::claim               CLAIM;
    DELETE "/v1/transactions/{id}/steps/{step}/claim"         Actor              command transactions::release             RELEASE;
    POST   "/v1/transactions/{id}/challenges/{name}/resend"   Actor              command transactions::resend              RESEND;
    POST   "/v1/inbox/claim"                                  Actor              async   inbox::claim                      CLAIM;
    POST   "/v1/transactions/{id}/cancel"                     Actor              command transactions::cancel              CANCEL;
    POST   "/v1/transactions/{id}/retry"                      Operator           command transactions::retry               RETRY;
    POST   "/v1/callbacks/{token}"                            Anyone             async   callbacks::answer                 ANSWER;
    POST   "/v1/transactions/{id}/skip"                       Operator           command transactions::skip                SKIP;
    POST   "/v1/transactions/{id}/replace"                    Operator           command operators::replace                REPLACE;
    POST   "/v1/transactions/{id}/pause"                      Operator           command operators::pause                  PAUSE;
    POST   "/v1/transactions/{id}/resume"                     Operator           command operators::resume                 RESUME;
    POST   "/v1/transactions/{id}/migrate"                    Operator           command operators::migrate                MIGRATE;
    POST   "/v1/transactions/bulk"                            Operator           async   bulk::begin                       BEGIN;
    GET    "/v1/transactions/bulk/{id}"                       Operator           sync    bulk::show                        SHOW;

    POST   "/v1/schedules"                                    Admin              async   schedules::create                 CREATE;
    GET    "/v1/schedules"                                    Auditor            read    schedules::list                   LIST;
    GET    "/v1/schedules/{id}"                               Auditor            sync    schedules::show                   SHOW;
    DELETE "/v1/schedules/{id}"                               Admin              async   schedules::delete                 DELETE;

    POST   "/v1/webhooks"                                     Admin              async   webhooks::create                  CREATE;
    GET    "/v1/webhooks"                                     Auditor            read    webhooks::list                    LIST;
    GET    "/v1/webhooks/{id}"                                Auditor            sync    webhooks::show                    SHOW;
    DELETE "/v1/webhooks/{id}"                                Admin              async   webhooks::delete                  DELETE;
    POST   "/v1/webhooks/{id}/rotate"                         Admin              async   webhooks::rotate                  ROTATE;
    GET    "/v1/webhooks/{id}/dead-letters"                   Auditor            read    webhooks::letters                 LETTERS;
    POST   "/v1/webhooks/{id}/dead-letters/{n}/replay"        Admin              async   webhooks::replay                  REPLAY;
    POST   "/v1/webhooks/{id}/dead-letters/replay"            Admin              async   webhooks::replay_all              REPLAY_ALL;
    POST   "/v1/webhooks/{id}/resume"                         Admin              async   webhooks::resume                  RESUME;

    POST   "/v1/hooks/{name}"                                 Anyone             async   hooks::deliver                    DELIVER;

    POST   "/v1/introspect"                                   Service            sync    introspection::introspect         INTROSPECT;
    PUT    "/v1/assets/{code}"                                AdminOrService     async   assets::put                       PUT;
    GET    "/v1/assets"                                       Actor              read    assets::list                      LIST;
    GET    "/v1/assets/{code}"                                Actor              sync    assets::show                      SHOW;
    GET    "/v1/ledger/check"                                 AuditorOrService   read    assets::check                     CHECK;
    POST   "/v1/accounts"                                     AdminOrService     async   accounts::open                    OPEN;
    GET    "/v1/accounts"                                     Actor              read    accounts::list                    LIST;
    GET    "/v1/accounts/{id}"                                Actor              sync    accounts::show                    SHOW;
    PATCH  "/v1/accounts/{id}"                                AdminOrService     async   accounts::change                  CHANGE;
    POST   "/v1/accounts/{id}/close"                          AdminOrService     async   accounts::close                   CLOSE;
    GET    "/v1/accounts/{id}/entries"                        Actor              read    accounts::entries                 ENTRIES;
    POST   "/v1/transfers"                                    AdminOrService     async   transfers::post                   POST;
    GET    "/v1/transfers/{id}"                               Actor              sync    transfers::show                   SHOW;
    POST   "/v1/transfers/{id}/reverse"                       AdminOrService     async   transfers::reverse                REVERSE;
    POST   "/v1/transfers/reverse"                            AdminOrService     async   transfers::reverse_all            REVERSE_ALL;
    POST   "/v1/holds"                                        AdminOrService     async   holds::place                      PLACE;
    GET    "/v1/holds/{id}"                                   Actor              sync    holds::show                       SHOW;
    POST   "/v1/holds/{id}/capture"                           AdminOrService     async   holds::capture                    CAPTURE;
    POST   "/v1/holds/{id}/void"                              AdminOrService     async   holds::void                       VOID;

    GET    "/v1/auth/verify"                                  Actor              sync    introspection::verify             VERIFY;
};

/// The routes that are there for development only.
pub(super) static DEV_ROUTES: &[Route] = routes! {
    POST   "/v1/dev/clock"                                    Admin              async   server_info::clock                CLOCK;
    GET    "/v1/dev/challenges/{id}"                          Admin              sync    transactions::codes               CODES;
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{DEV_ROUTES, ROUTES};
    use crate::http::input::Media;
    use crate::http::operation::Condition;
    use crate::http::router::PARAMETERS_MAX;
    use crate::types::{JobId, SessionId, TransferId, TxId, Username, WorkflowName};

    /// A name in a path where a word of the API may be too could be made and then not be reached:
    /// the words are reserved, or are no names.
    #[test]
    fn words_of_paths_are_no_names() {
        let patterns: Vec<Vec<&str>> = ROUTES
            .iter()
            .chain(DEV_ROUTES)
            .map(|route| route.pattern.split('/').collect())
            .collect();
        let mut found = HashSet::new();
        for pattern in &patterns {
            for (at, part) in pattern.iter().enumerate().filter(|(_, part)| part.starts_with('{')) {
                let beside = patterns.iter().filter(|other| other.get(..at) == pattern.get(..at));
                let words = beside.filter_map(|other| other.get(at));
                for word in words.filter(|word| !word.starts_with('{')) {
                    found.insert((pattern[..at].join("/"), *part, *word));
                }
            }
        }
        for (before, part, word) in found {
            let is_safe = match (before.as_str(), part) {
                ("/v1/users", "{username}") => Username::RESERVED.contains(&word),
                ("/v1/workflows", "{name}") => WorkflowName::RESERVED.contains(&word),
                ("/v1/transfers", "{id}") => TransferId::RESERVED.contains(&word),
                ("/v1/sessions", "{id}") => word.parse::<SessionId>().is_err(),
                ("/v1/transactions", "{id}") => word.parse::<TxId>().is_err(),
                ("/v1/transactions/bulk", "{id}") => word.parse::<JobId>().is_err(),
                ("/v1/webhooks/{id}/dead-letters", "{n}") => word.parse::<u64>().is_err(),
                _ => false,
            };
            assert!(
                is_safe,
                "{before}/{part}: `{word}` must be reserved where such names are made"
            );
        }
    }

    #[test]
    fn every_route_is_one_and_says_what_it_takes_and_answers() {
        let (mut labels, mut ids) = (HashSet::new(), HashSet::new());
        for route in ROUTES.iter().chain(DEV_ROUTES) {
            let (label, operation) = (route.label, route.operation);
            assert!(labels.insert(label), "{label} is there twice");
            assert!(
                ids.insert(operation.id),
                "{label}: the operation id {} is there twice",
                operation.id
            );
            assert!(!operation.id.is_empty() && !operation.tag.is_empty(), "{label} has no name");
            assert!(
                !operation.summary.is_empty() && operation.responses().next().is_some(),
                "{label} says nothing"
            );
            assert!(route.pattern.matches('{').count() <= PARAMETERS_MAX, "{label}");
            assert!(
                !(operation.idempotency && route.method.is_safe()),
                "{label}: a read needs no key"
            );
            let reads = operation.condition == Condition::IfNoneMatch;
            let changes = operation.condition == Condition::IfMatch;
            assert!(!reads || route.method.is_safe(), "{label}");
            assert!(!changes || !route.method.is_safe(), "{label}");
            if let Some(body) = operation.body {
                assert!(body.content().next().is_some() && !body.example.is_empty(), "{label}");
                let form = body.content().any(|(media, _)| media == Media::Form);
                assert_eq!(form, label == "POST /v1/introspect", "{label}: forms are for one call");
            }
        }
    }
}
