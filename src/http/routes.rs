//! The table of contents: every route, and who may call it.
//!
//! A line without its `Who` does not compile. The dispatch, the OpenAPI document, the matrix of
//! who may call what and the names in the metrics are made from this table.

use super::route::{Handler, Route, Verb, Who};
use super::{accounts, assets, holds, live, transactions, transfers, values, webhooks, workflows};
use super::{
    bulk, by_key, callbacks, chain, data, docs, hooks, inbox, keys, links, operators, ops, pages,
    schedules, sessions, socket, tokens, users,
};

macro_rules! routes {
    ($($method:ident $pattern:literal $who:ident $when:ident $room:ident::$handler:ident $doc:ident;)+) => {
        &[$(Route {
            method: verb!($method),
            pattern: $pattern,
            label: concat!(stringify!($method), " ", $pattern),
            who: Who::$who,
            handler: handler!($when $room::$handler),
            doc: &$room::$doc,
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
    (now $room:ident::$handler:ident) => {
        Handler::Now($room::$handler)
    };
    (read $room:ident::$handler:ident) => {
        Handler::Read($room::$handler)
    };
    (page $room:ident::$handler:ident) => {
        Handler::Page($room::$handler)
    };
    (act $room:ident::$handler:ident) => {
        Handler::Act($room::$handler)
    };
    (later $room:ident::$handler:ident) => {
        Handler::Later(|call| Box::pin($room::$handler(call)))
    };
}

/// The routes of every server.
pub(super) static ROUTES: &[Route] = routes! {
    GET    "/livez"                                Anyone         page  ops::live                 LIVE;
    GET    "/readyz"                               Anyone         now   ops::ready                READY;
    GET    "/metrics"                              Auditor        page  ops::metrics              METRICS;
    GET    "/openapi.json"                         Anyone         page  ops::openapi              OPENAPI;
    GET    "/asyncapi.json"                        Anyone         page  ops::asyncapi             ASYNCAPI;
    GET    "/docs"                                 Anyone         page  docs::guide               GUIDE_PAGE;
    GET    "/docs/workflows"                       Anyone         page  docs::language            LANGUAGE_PAGE;
    GET    "/docs/events"                          Anyone         page  docs::events              EVENTS_PAGE;
    GET    "/docs/reference"                       Anyone         page  docs::reference           REFERENCE_PAGE;
    GET    "/problems/{code}"                      Anyone         now   pages::problem            PROBLEM;
    GET    "/set-password"                         Anyone         page  links::show               SHOW;
    GET    "/assets/style.css"                     Anyone         page  pages::style              STYLE;
    GET    "/assets/set-password.js"               Anyone         page  links::script             SCRIPT;
    GET    "/v1/capabilities"                      Anyone         now   ops::capabilities         CAPABILITIES;
    GET    "/v1/admin/status"                      Admin          now   ops::status               STATUS;
    GET    "/v1/admin/chain"                       Admin          now   chain::head               HEAD;
    GET    "/v1/admin/chain/transactions/{id}"     Admin          later chain::proof              PROOF;

    POST   "/v1/sessions"                          Caller         later sessions::open            OPEN;
    GET    "/v1/sessions"                          Session        read  sessions::list            LIST;
    DELETE "/v1/sessions"                          Session        later sessions::end_all         END_ALL;
    GET    "/v1/sessions/current"                  Session        now   sessions::current         CURRENT;
    DELETE "/v1/sessions/current"                  Session        later sessions::logout          LOGOUT;
    POST   "/v1/sessions/current/rotate"           Session        later sessions::rotate          ROTATE;
    POST   "/v1/sessions/current/elevate"          User           later sessions::elevate         ELEVATE;
    GET    "/v1/sessions/current/data"             Session        now   data::session_data        GET_SESSION_DATA;
    PUT    "/v1/sessions/current/data"             Session        later data::change_session_data PUT_SESSION_DATA;
    PATCH  "/v1/sessions/current/data"             Session        later data::change_session_data PATCH_SESSION_DATA;
    GET    "/v1/sessions/current/facts"            Session        now   sessions::facts           FACTS;
    GET    "/v1/sessions/{id}"                     Session        now   sessions::show            SHOW;
    DELETE "/v1/sessions/{id}"                     Session        later sessions::end             END;
    PATCH  "/v1/sessions/{id}/facts"               Service        later sessions::change_facts    CHANGE_FACTS;
    GET    "/v1/sessions/by-key/{key}"             Service        later by_key::get               GET;
    PUT    "/v1/sessions/by-key/{key}"             Service        later by_key::put               PUT;
    DELETE "/v1/sessions/by-key/{key}"             Service        later by_key::delete            DELETE;

    POST   "/v1/users"                             Caller         later users::register           REGISTER;
    GET    "/v1/users"                             Auditor        read  users::list               LIST;
    GET    "/v1/users/me"                          User           now   users::me                 ME;
    PUT    "/v1/users/me/password"                 User           later users::password           PASSWORD;
    GET    "/v1/users/me/data"                     User           now   data::user_data           GET_USER_DATA;
    PUT    "/v1/users/me/data"                     User           later data::change_user_data    PUT_USER_DATA;
    PATCH  "/v1/users/me/data"                     User           later data::change_user_data    PATCH_USER_DATA;
    GET    "/v1/users/{username}"                  Auditor        now   users::show               SHOW;
    PATCH  "/v1/users/{username}"                  Admin          later users::change             CHANGE;
    DELETE "/v1/users/{username}"                  Admin          later users::delete             DELETE;
    POST   "/v1/users/{username}/password-reset"   AdminOrService later users::reset              RESET;
    POST   "/v1/set-password"                      Anyone         later links::use_link           USE;

    POST   "/v1/api-keys"                          Admin          later keys::create              CREATE;
    GET    "/v1/api-keys"                          Auditor        read  keys::list                LIST;
    DELETE "/v1/api-keys/{id}"                     Admin          later keys::revoke              REVOKE;
    PUT    "/v1/workflows/{name}"                  Publisher      later workflows::publish        PUBLISH;
    POST   "/v1/workflows/check"                   Publisher      later workflows::check          CHECK;
    GET    "/v1/workflows"                         Actor          read  workflows::list           LIST;
    GET    "/v1/workflows/{name}"                  Actor          now   workflows::show           SHOW;
    GET    "/v1/workflows/{name}/versions/{n}"     Actor          now   workflows::show_version   SHOW_VERSION;
    GET    "/v1/workflows/{name}/diagram"          Actor          read  workflows::diagram        DIAGRAM;
    GET    "/schemas/workflow.json"                Anyone         now   workflows::language       LANGUAGE;
    DELETE "/v1/workflows/{name}"                  Publisher      later workflows::retire         RETIRE;
    PUT    "/v1/values/{set}/{key}"                PublisherOrService later values::put           PUT;
    PUT    "/v1/values/{set}"                      PublisherOrService later values::change_set    CHANGE_SET;
    GET    "/v1/values/{set}"                      Caller         read  values::list              LIST;
    GET    "/v1/values/{set}/{key}"                Caller         now   values::get               GET;
    DELETE "/v1/values/{set}/{key}"                PublisherOrService later values::delete        DELETE;

    POST   "/v1/workflows/{name}/transactions"     Actor          act   transactions::start       START;
    GET    "/v1/transactions"                      Actor          read  transactions::list        LIST;
    GET    "/v1/transactions/{id}"                 Actor          later transactions::show        SHOW;
    GET    "/v1/transactions/{id}/history"         Actor          read  live::history             HISTORY;
    GET    "/v1/transactions/{id}/events"          Actor          later live::of_transaction      OF_TRANSACTION;
    GET    "/v1/events"                            Actor          later live::events              EVENTS;
    GET    "/v1/socket"                            Caller         later socket::open              OPEN;
    POST   "/v1/transactions/{id}/steps/{step}"    Actor          act   transactions::submit      SUBMIT;
    POST   "/v1/transactions/{id}/steps/{step}/claim" Actor       act   transactions::claim       CLAIM;
    DELETE "/v1/transactions/{id}/steps/{step}/claim" Actor       act   transactions::release     RELEASE;
    POST   "/v1/transactions/{id}/challenges/{name}/resend" Actor act   transactions::resend      RESEND;
    POST   "/v1/inbox/claim"                       Actor          later inbox::claim              CLAIM;
    POST   "/v1/transactions/{id}/cancel"          Actor          act   transactions::cancel      CANCEL;
    POST   "/v1/transactions/{id}/retry"           Operator       act   transactions::retry       RETRY;
    POST   "/v1/callbacks/{token}"                 Anyone         later callbacks::answer        ANSWER;
    POST   "/v1/transactions/{id}/skip"            Operator       act   transactions::skip        SKIP;
    POST   "/v1/transactions/{id}/replace"         Operator       act   operators::replace        REPLACE;
    POST   "/v1/transactions/{id}/pause"           Operator       act   operators::pause          PAUSE;
    POST   "/v1/transactions/{id}/resume"          Operator       act   operators::resume         RESUME;
    POST   "/v1/transactions/{id}/migrate"         Operator       act   operators::migrate        MIGRATE;
    POST   "/v1/transactions/bulk"                 Operator       later bulk::begin               BEGIN;
    GET    "/v1/transactions/bulk/{id}"            Operator       now   bulk::show                SHOW;

    POST   "/v1/schedules"                         Admin          later schedules::create         CREATE;
    GET    "/v1/schedules"                         Auditor        read  schedules::list           LIST;
    GET    "/v1/schedules/{id}"                    Auditor        now   schedules::show           SHOW;
    DELETE "/v1/schedules/{id}"                    Admin          later schedules::delete         DELETE;

    POST   "/v1/webhooks"                          Admin          later webhooks::create          CREATE;
    GET    "/v1/webhooks"                          Auditor        read  webhooks::list            LIST;
    GET    "/v1/webhooks/{id}"                     Auditor        now   webhooks::show            SHOW;
    DELETE "/v1/webhooks/{id}"                     Admin          later webhooks::delete          DELETE;
    POST   "/v1/webhooks/{id}/rotate"              Admin          later webhooks::rotate          ROTATE;
    GET    "/v1/webhooks/{id}/dead-letters"        Auditor        read  webhooks::letters         LETTERS;
    POST   "/v1/webhooks/{id}/dead-letters/{n}/replay" Admin      later webhooks::replay          REPLAY;
    POST   "/v1/webhooks/{id}/dead-letters/replay" Admin          later webhooks::replay_all      REPLAY_ALL;
    POST   "/v1/webhooks/{id}/resume"              Admin          later webhooks::resume          RESUME;

    POST   "/v1/hooks/{name}"                      Anyone         later hooks::deliver            DELIVER;

    POST   "/v1/introspect"                        Service        now   tokens::introspect        INTROSPECT;
    PUT    "/v1/assets/{code}"                     AdminOrService later assets::put               PUT;
    GET    "/v1/assets"                            Actor          read  assets::list              LIST;
    GET    "/v1/assets/{code}"                     Actor          now   assets::show              SHOW;
    GET    "/v1/ledger/check"                      AuditorOrService read assets::check             CHECK;
    POST   "/v1/accounts"                          AdminOrService later accounts::open            OPEN;
    GET    "/v1/accounts"                          Actor          read  accounts::list            LIST;
    GET    "/v1/accounts/{id}"                     Actor          now   accounts::show            SHOW;
    PATCH  "/v1/accounts/{id}"                     AdminOrService later accounts::change          CHANGE;
    POST   "/v1/accounts/{id}/close"               AdminOrService later accounts::close           CLOSE;
    GET    "/v1/accounts/{id}/entries"             Actor          read  accounts::entries         ENTRIES;
    POST   "/v1/transfers"                         AdminOrService later transfers::post           POST;
    GET    "/v1/transfers/{id}"                    Actor          now   transfers::show           SHOW;
    POST   "/v1/transfers/{id}/reverse"            AdminOrService later transfers::reverse        REVERSE;
    POST   "/v1/transfers/reverse"                 AdminOrService later transfers::reverse_all    REVERSE_ALL;
    POST   "/v1/holds"                             AdminOrService later holds::place              PLACE;
    GET    "/v1/holds/{id}"                        Actor          now   holds::show               SHOW;
    POST   "/v1/holds/{id}/capture"                AdminOrService later holds::capture            CAPTURE;
    POST   "/v1/holds/{id}/void"                   AdminOrService later holds::void               VOID;

    GET    "/v1/auth/verify"                       Actor          now   tokens::verify            VERIFY;
};

/// The routes that are there for development only.
pub(super) static DEV_ROUTES: &[Route] = routes! {
    POST   "/v1/dev/clock"                         Admin          later ops::clock                CLOCK;
    GET    "/v1/dev/challenges/{id}"               Admin          now   transactions::codes       CODES;
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{DEV_ROUTES, ROUTES};
    use crate::http::input::Media;
    use crate::http::route::Condition;
    use crate::http::trie::PARAMETERS_MAX;
    use crate::types::{JobId, SessionId, TransferId, TxId, Username, WorkflowName};

    /// A name that stands in paths where a word of the API may stand too could be made and then not
    /// be reached: the words are reserved, or are no names.
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
            let (label, doc) = (route.label, route.doc);
            assert!(labels.insert(label), "{label} is there twice");
            assert!(ids.insert(doc.id), "{label}: the operation id {} is there twice", doc.id);
            assert!(!doc.id.is_empty() && !doc.tag.is_empty(), "{label} has no name");
            assert!(!doc.summary.is_empty() && !doc.answers.is_empty(), "{label} says nothing");
            assert!(route.pattern.matches('{').count() <= PARAMETERS_MAX, "{label}");
            assert!(!(doc.idempotency && route.method.is_safe()), "{label}: a read needs no key");
            let reads = doc.condition == Condition::IfNoneMatch;
            let changes = doc.condition == Condition::IfMatch;
            assert!(!reads || route.method.is_safe(), "{label}");
            assert!(!changes || !route.method.is_safe(), "{label}");
            if let Some(body) = doc.body {
                assert!(!body.content.is_empty() && !body.example.is_empty(), "{label}");
                let form = body.content.iter().any(|(media, _)| *media == Media::Form);
                assert_eq!(form, label == "POST /v1/introspect", "{label}: forms are for one call");
            }
        }
    }
}
