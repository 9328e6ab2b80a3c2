//! Description of an operation: what a route takes and answers, as data beside its handler.
//!
//! The OpenAPI document, the check of query parameters, the rate limits and the reader of bodies
//! use it. Schemas come from the types; the 304 of a conditional read and the problems of every
//! route of a kind are added by [`super::openapi`].

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::input::Media;
use super::problem::Code;

/// Function that describes a type in JSON Schema.
pub type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

/// Maximum number of responses of one operation beside its problems.
const RESPONSES_MAX: usize = 3;

/// Maximum number of media types of one body.
const MEDIA_MAX: usize = 3;

/// Parameters, body and responses of a route, in words and types.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Unique id of the operation.
    pub id: &'static str,
    /// Group that the operation belongs to.
    pub tag: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Further text for people; may be empty.
    pub text: &'static str,
    /// Query parameters; the server refuses any other.
    pub query: &'static [Parameter],
    /// Request headers that only this operation reads.
    pub headers: &'static [Parameter],
    /// Examples of the body in its first media type: a title and JSON.
    pub examples: &'static [(&'static str, &'static str)],
    /// Conditions on revisions that the operation takes.
    pub condition: Condition,
    /// True if the operation takes an Idempotency-Key.
    pub idempotency: bool,
    /// True if the media type of the response depends on `Accept`.
    pub negotiated: bool,
    /// Rate limit beside those of addresses and actors.
    pub limit: Limit,
    /// True if an API key may also come as the password of Basic authentication.
    pub basic: bool,
    /// Request body; `None`: the operation takes none.
    pub body: Option<BodySpec>,
    responses: [Option<ResponseSpec>; RESPONSES_MAX],
    /// Problems that do not follow from the other fields.
    pub problems: &'static [Code],
}

/// Rate limit of an operation beside those of addresses and actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No further limit.
    None,
    /// Limit of operations that hash a password, for each address.
    Logins,
    /// Limit of passwords that are proved in a session, for each user: failed logins from the same
    /// address do not lock the user out.
    Passwords,
    /// Limit of logins or of anonymous sessions, depending on the body.
    Sessions,
}

/// Conditions on revisions (RFC 9110, section 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No condition; a change refuses both headers.
    None,
    /// `If-Match` and `If-None-Match`, on a change of something that has a revision.
    IfMatch,
    /// `If-None-Match`, on a read.
    IfNoneMatch,
}

/// A query parameter or a request header.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Name of the parameter.
    pub name: &'static str,
    /// Meaning, for people.
    pub text: &'static str,
    /// Type of the value.
    pub schema: SchemaFn,
}

/// A request body.
#[derive(Clone, Copy, Debug)]
pub struct BodySpec {
    content: [Option<(Media, SchemaFn)>; MEDIA_MAX],
    /// Example in the first media type, as JSON.
    pub example: &'static str,
    /// True if the body may be absent, which means `{}`.
    pub is_optional: bool,
}

impl BodySpec {
    /// Returns the media types that are taken, with the type of each.
    pub fn content(self) -> impl Iterator<Item = (Media, SchemaFn)> + Clone {
        self.content.into_iter().flatten()
    }
}

/// A response that is no problem.
#[derive(Clone, Copy, Debug)]
pub struct ResponseSpec {
    /// Status.
    pub status: u16,
    /// Meaning, for people.
    pub text: &'static str,
    /// Body: media type, type, and an example as JSON (empty: none).
    pub body: Option<(&'static str, SchemaFn, &'static str)>,
    /// Headers of this response.
    pub headers: &'static [&'static str],
    /// True if the response carries the revision as an `ETag`.
    pub has_etag: bool,
    /// Follow-up operations: an id, its parameter, and the runtime expression (OpenAPI 3.1, section
    /// 4.8.20.3) of its value.
    pub links: &'static [(&'static str, &'static str, &'static str)],
}

/// Response of a conditional read to a caller that has the current representation.
pub const NOT_MODIFIED: ResponseSpec = ResponseSpec {
    status: 304,
    text: "The caller has it already.",
    body: None,
    headers: &[],
    has_etag: true,
    links: &[],
};

impl Operation {
    /// Begins the description of an operation.
    #[must_use]
    pub const fn new(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            text: "",
            query: &[],
            headers: &[],
            examples: &[],
            condition: Condition::None,
            idempotency: false,
            negotiated: false,
            limit: Limit::None,
            basic: false,
            body: None,
            responses: [None; RESPONSES_MAX],
            problems: &[],
        }
    }

    /// Adds a text for people.
    #[must_use]
    pub const fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// Sets the query parameters.
    #[must_use]
    pub const fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    /// Sets the request headers that only this operation reads.
    #[must_use]
    pub const fn request_headers(self, headers: &'static [Parameter]) -> Self {
        Self { headers, ..self }
    }

    /// Takes `If-Match` and `If-None-Match`: the operation changes something that has a revision.
    #[must_use]
    pub const fn if_match(self) -> Self {
        Self { condition: Condition::IfMatch, ..self }
    }

    /// Takes `If-None-Match`; the document adds the 304.
    #[must_use]
    pub const fn if_none_match(self) -> Self {
        Self { condition: Condition::IfNoneMatch, ..self }
    }

    /// Takes an Idempotency-Key.
    #[must_use]
    pub const fn idempotent(self) -> Self {
        Self { idempotency: true, ..self }
    }

    /// Chooses the media type of the response by `Accept`.
    #[must_use]
    pub const fn negotiated(self) -> Self {
        Self { negotiated: true, ..self }
    }

    /// Counts against a rate limit beside those of addresses and actors.
    #[must_use]
    pub const fn limit(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }

    /// Takes an API key as the password of Basic authentication, too.
    #[must_use]
    pub const fn basic(self) -> Self {
        Self { basic: true, ..self }
    }

    /// Takes a `T` as JSON; `example` is one.
    #[must_use]
    pub const fn body<T: JsonSchema>(self, example: &'static str) -> Self {
        self.body_of(Media::Json, SchemaGenerator::subschema_for::<T>, example)
    }

    /// Takes a `T` as a merge patch (RFC 7396), whether it is called so or only JSON.
    #[must_use]
    pub const fn merge_patch<T: JsonSchema>(self, example: &'static str) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.body_of(Media::MergePatch, schema, example).or_body_of(Media::Json, schema)
    }

    /// Takes a body of this media type and schema.
    #[must_use]
    pub const fn body_of(self, media: Media, schema: SchemaFn, example: &'static str) -> Self {
        let content = [Some((media, schema)), None, None];
        Self { body: Some(BodySpec { content, example, is_optional: false }), ..self }
    }

    /// Takes the body in a further media type, too.
    #[must_use]
    pub const fn or_body_of(mut self, media: Media, schema: SchemaFn) -> Self {
        if let Some(body) = &mut self.body {
            let mut at = 0;
            while body.content[at].is_some() {
                at += 1;
            }
            body.content[at] = Some((media, schema));
        }
        self
    }

    /// Sets several examples of the body, each with a title.
    #[must_use]
    pub const fn examples(self, examples: &'static [(&'static str, &'static str)]) -> Self {
        Self { examples, ..self }
    }

    /// Lets the body be absent.
    #[must_use]
    pub const fn body_optional(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.is_optional = true;
        }
        self
    }

    /// Adds a response with a `T` as JSON; an empty `example` is made from the type.
    #[must_use]
    pub const fn json<T: JsonSchema>(
        self,
        status: u16,
        text: &'static str,
        example: &'static str,
    ) -> Self {
        self.json_of(status, text, SchemaGenerator::subschema_for::<T>, example)
    }

    /// Adds a response with JSON of this schema.
    #[must_use]
    pub const fn json_of(
        self,
        status: u16,
        text: &'static str,
        schema: SchemaFn,
        example: &'static str,
    ) -> Self {
        self.response(status, text, Some(("application/json", schema, example)))
    }

    /// Adds a response in this media type.
    #[must_use]
    pub const fn media(self, status: u16, text: &'static str, media: &'static str) -> Self {
        self.response(status, text, Some((media, super::schemas::text, "")))
    }

    /// Adds a response without a body.
    #[must_use]
    pub const fn empty(self, status: u16, text: &'static str) -> Self {
        self.response(status, text, None)
    }

    const fn response(
        mut self,
        status: u16,
        text: &'static str,
        body: Option<(&'static str, SchemaFn, &'static str)>,
    ) -> Self {
        let at = self.response_count();
        self.responses[at] =
            Some(ResponseSpec { status, text, body, headers: &[], has_etag: false, links: &[] });
        self
    }

    const fn response_count(&self) -> usize {
        let mut count = 0;
        while count < RESPONSES_MAX && self.responses[count].is_some() {
            count += 1;
        }
        count
    }

    /// Gives the last response an `ETag`.
    #[must_use]
    pub const fn etag(mut self) -> Self {
        let last = self.response_count() - 1;
        if let Some(response) = &mut self.responses[last] {
            response.has_etag = true;
        }
        self
    }

    /// Gives the last response these headers.
    #[must_use]
    pub const fn with(mut self, headers: &'static [&'static str]) -> Self {
        let last = self.response_count() - 1;
        if let Some(response) = &mut self.responses[last] {
            response.headers = headers;
        }
        self
    }

    /// Gives the last response its follow-up operations.
    #[must_use]
    pub const fn links(
        mut self,
        links: &'static [(&'static str, &'static str, &'static str)],
    ) -> Self {
        let last = self.response_count() - 1;
        if let Some(response) = &mut self.responses[last] {
            response.links = links;
        }
        self
    }

    /// Sets the problems that do not follow from the rest.
    #[must_use]
    pub const fn problems(self, problems: &'static [Code]) -> Self {
        Self { problems, ..self }
    }

    /// Returns the same description under another id and summary.
    #[must_use]
    pub const fn named(self, id: &'static str, summary: &'static str) -> Self {
        Self { id, summary, ..self }
    }

    /// Returns the responses that are no problems, with the 304 of a conditional read.
    pub fn responses(&self) -> impl Iterator<Item = ResponseSpec> {
        let is_conditional = self.condition == Condition::IfNoneMatch;
        let mut responses = self.responses;
        for response in responses.iter_mut().flatten() {
            response.has_etag |= is_conditional;
        }
        responses.into_iter().flatten().chain(is_conditional.then_some(NOT_MODIFIED))
    }
}
