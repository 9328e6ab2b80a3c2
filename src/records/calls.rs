//! Forms of calls to other services.

use super::form::{Json, Text, record_enums, record_structs};
use crate::engine::{CallPurpose, CallState, HttpRequestSpec, ServiceCall};

record_structs! {
    struct HttpRequestSpecV1: HttpRequestSpec {
        method: Text,
        url: Text,
        headers: Vec<(Text, Text)>,
        body: Option<Text>,
        timeout: u64,
        attempts: u32,
        first: u64,
        factor: u32,
        max: u64,
        refused: Vec<u16>,
        callback: Option<u64>,
    }

    struct CallV1: ServiceCall {
        number: u32,
        step: Text,
        key: Text,
        purpose: PurposeV1,
        challenge: Option<Text>,
        ask: HttpRequestSpecV1,
        attempts: u32,
        unknown: bool,
        state: CallStateV1,
        last: Option<Text>,
        .. answer = None
    }
}

record_enums! {
    enum PurposeV1: CallPurpose {
        Do { place: u32 },
        Undo,
        Send,
    }

    enum CallStateV1: CallState {
        Due(at: u64),
        InFlight(since: u64),
        AwaitingCallback(until: u64),
        AnswerHeld(response: Json),
        Done,
        Refused,
        Unknown,
        Dropped,
    }
}

/// The answer to a call, stored beside the calls.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct CallAnswerV1 {
    pub(super) number: u32,
    pub(super) status: u16,
    pub(super) body: Text,
}
