//! Writer for JSON objects as text: the data of events. Each event of each commit needs one, and
//! building a tree of values for it took as long as the decision.

use serde::Serialize;

/// A JSON object that is written as text, key by key.
pub(in crate::engine) struct ObjectText {
    text: Vec<u8>,
}

impl ObjectText {
    /// Starts an object.
    pub(in crate::engine) fn new() -> Self {
        let mut text = Vec::with_capacity(256);
        text.push(b'{');
        Self { text }
    }

    /// Adds a key, which must need no escaping, and its value.
    pub(in crate::engine) fn put(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
        let begun = self.text.len();
        // Values of events have only string keys, so serialization cannot fail.
        if serde_json::to_writer(&mut self.text, value).is_err() {
            self.text.truncate(begun);
            self.text.extend_from_slice(b"null");
        }
    }

    /// Returns the text of the finished object.
    pub(in crate::engine) fn into_text(mut self) -> String {
        self.text.push(b'}');
        // The JSON writer emits UTF-8.
        String::from_utf8(self.text).unwrap_or_default()
    }
}

/// Builds an [`ObjectText`] from keys and values, like `json!`.
macro_rules! object_text {
    ({ $($key:literal: $value:expr),* $(,)? }) => {{
        #[allow(unused_mut, reason = "one without keys")]
        let mut object = $crate::engine::core::json_text::ObjectText::new();
        $(object.put($key, &$value);)*
        object
    }};
}
pub(in crate::engine) use object_text;
