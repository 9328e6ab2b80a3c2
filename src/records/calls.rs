//! Calls to other services as bytes: structs that are frozen with their version.

use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::tx::json;
use super::value::word;
use crate::engine::{Call, CallState, HttpRequestSpec, Purpose, RecordKey};
use crate::types::{Span, Time};

#[derive(Serialize, Deserialize)]
pub(super) struct AskV1 {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    timeout: u64,
    attempts: u32,
    first: u64,
    factor: u32,
    max: u64,
    refused: Vec<u16>,
    callback: Option<u64>,
}

#[derive(Serialize, Deserialize)]
enum PurposeV1 {
    Do(u32),
    Undo,
    Send,
}

#[derive(Serialize, Deserialize)]
enum CallStateV1 {
    Due(u64),
    Out(u64),
    Later(u64),
    Kept(String),
    Done,
    Refused,
    Unknown,
    Dropped,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CallV1 {
    number: u32,
    step: String,
    key: String,
    purpose: PurposeV1,
    challenge: Option<String>,
    ask: AskV1,
    attempts: u32,
    unknown: bool,
    state: CallStateV1,
    last: Option<String>,
}

/// The answer to a call, beside the calls.
#[derive(Serialize, Deserialize)]
pub(super) struct CallAnswerV1 {
    pub(super) number: u32,
    pub(super) status: u16,
    pub(super) body: String,
}

impl From<&HttpRequestSpec> for AskV1 {
    fn from(ask: &HttpRequestSpec) -> Self {
        let header = |(name, value): &(std::sync::Arc<str>, std::sync::Arc<str>)| {
            (name.to_string(), value.to_string())
        };
        Self {
            method: ask.method.to_string(),
            url: ask.url.to_string(),
            headers: ask.headers.iter().map(header).collect(),
            body: ask.body.as_deref().map(str::to_owned),
            timeout: ask.timeout.ms(),
            attempts: ask.attempts,
            first: ask.first.ms(),
            factor: ask.factor,
            max: ask.max.ms(),
            refused: ask.refused.clone(),
            callback: ask.callback.map(Span::ms),
        }
    }
}

impl From<AskV1> for HttpRequestSpec {
    fn from(ask: AskV1) -> Self {
        Self {
            method: ask.method.into(),
            url: ask.url.into(),
            headers: ask.headers.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
            body: ask.body.map(Into::into),
            timeout: Span::from_ms(ask.timeout),
            attempts: ask.attempts,
            first: Span::from_ms(ask.first),
            factor: ask.factor,
            max: Span::from_ms(ask.max),
            refused: ask.refused,
            callback: ask.callback.map(Span::from_ms),
        }
    }
}

impl From<&Call> for CallV1 {
    fn from(call: &Call) -> Self {
        Self {
            number: call.number,
            step: call.step.to_string(),
            key: call.key.to_string(),
            purpose: match call.purpose {
                Purpose::Do { place } => PurposeV1::Do(place),
                Purpose::Undo => PurposeV1::Undo,
                Purpose::Send => PurposeV1::Send,
            },
            challenge: call.challenge.as_deref().map(str::to_owned),
            ask: (&call.ask).into(),
            attempts: call.attempts,
            unknown: call.unknown,
            state: match &call.state {
                CallState::Due(at) => CallStateV1::Due(at.ms()),
                CallState::Out(since) => CallStateV1::Out(since.ms()),
                CallState::Later(until) => CallStateV1::Later(until.ms()),
                CallState::Kept(response) => CallStateV1::Kept(response.to_string()),
                CallState::Done => CallStateV1::Done,
                CallState::Refused => CallStateV1::Refused,
                CallState::Unknown => CallStateV1::Unknown,
                CallState::Dropped => CallStateV1::Dropped,
            },
            last: call.last.as_deref().map(str::to_owned),
        }
    }
}

impl CallV1 {
    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Call, DecodeError> {
        Ok(Call {
            number: self.number,
            step: word(fact, &self.step)?,
            key: self.key.into(),
            purpose: match self.purpose {
                PurposeV1::Do(place) => Purpose::Do { place },
                PurposeV1::Undo => Purpose::Undo,
                PurposeV1::Send => Purpose::Send,
            },
            challenge: self.challenge.map(Into::into),
            ask: self.ask.into(),
            attempts: self.attempts,
            unknown: self.unknown,
            state: match self.state {
                CallStateV1::Due(at) => CallState::Due(Time::from_ms(at)),
                CallStateV1::Out(since) => CallState::Out(Time::from_ms(since)),
                CallStateV1::Later(until) => CallState::Later(Time::from_ms(until)),
                CallStateV1::Kept(response) => CallState::Kept(json(fact, &response)?),
                CallStateV1::Done => CallState::Done,
                CallStateV1::Refused => CallState::Refused,
                CallStateV1::Unknown => CallState::Unknown,
                CallStateV1::Dropped => CallState::Dropped,
            },
            last: self.last.map(Into::into),
            answer: None,
        })
    }
}
