//! JSON-RPC 2.0 as the WebSocket speaks it: requests, their parameters, and errors.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The errors of JSON-RPC 2.0, and the one that carries a problem.
pub(super) mod error {
    pub(in super::super) const PARSE: i32 = -32700;
    pub(in super::super) const INVALID_REQUEST: i32 = -32600;
    pub(in super::super) const NO_METHOD: i32 = -32601;
    pub(in super::super) const INVALID_PARAMS: i32 = -32602;
    pub(in super::super) const PROBLEM: i32 = -32000;
}

/// A request of JSON-RPC 2.0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RpcRequest {
    pub(super) jsonrpc: String,
    pub(super) method: String,
    #[serde(default)]
    pub(super) params: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) id: Option<Value>,
}

/// Deserializes a member that is present, also if it is `null`.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Error of a method.
pub(super) struct RpcError {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) data: Option<Value>,
    /// True if it never was a request to the API, so that the API's rates have not counted it.
    pub(super) is_malformed: bool,
}

impl RpcError {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, is_malformed: true }
    }

    pub(super) fn problem(body: &[u8]) -> Self {
        let data: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = data["title"].as_str().unwrap_or("refused").to_owned();
        Self { code: error::PROBLEM, message, data: Some(data), is_malformed: false }
    }
}

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// Members that may accompany a change. Each method names them itself: flattened, they would let
/// unknown ones pass.
#[derive(Default)]
pub(super) struct ChangeConditions {
    pub(super) idempotency_key: Option<String>,
    pub(super) if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthenticateParams {
    pub(super) token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchDataParams {
    pub(super) patch: Value,
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
    #[serde(default)]
    pub(super) if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartParams {
    pub(super) workflow: String,
    #[serde(default)]
    pub(super) input: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) reference: Option<String>,
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
    #[serde(default)]
    pub(super) if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransactionParams {
    pub(super) id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitParams {
    pub(super) id: String,
    pub(super) step: String,
    #[serde(default)]
    pub(super) input: Option<Value>,
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
    #[serde(default)]
    pub(super) if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelParams {
    pub(super) id: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
    #[serde(default)]
    pub(super) if_match: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeParams {
    #[serde(default)]
    pub(super) after: Option<String>,
}

/// The parameters of a method, by name.
pub(super) fn read<T: DeserializeOwned>(params: Value) -> Result<T, RpcError> {
    let params = if params.is_null() { json!({}) } else { params };
    if !params.is_object() {
        return Err(RpcError::new(error::INVALID_PARAMS, "parameters are given by name"));
    }
    serde_json::from_value(params)
        .map_err(|error| RpcError::new(error::INVALID_PARAMS, error.to_string()))
}

/// Returns a name as a segment of a path; a name that could be more than that names nothing.
pub(super) fn segment(name: &str) -> Result<&str, RpcError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if !name.is_empty() && name.len() <= 128 && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(RpcError::new(error::INVALID_PARAMS, "a name has letters, digits, `-`, `_`, `.` and `:`"))
}

pub(super) fn failed(id: &Value, fault: RpcError) -> Value {
    let mut error = json!({ "code": fault.code, "message": fault.message });
    if let Some(data) = fault.data {
        error["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}
