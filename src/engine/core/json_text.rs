//! What the log keeps of an event: a JSON object that is written as text at once. It is written
//! for each event of each commit, and a tree of values for it cost as much as the decision.

use serde::Serialize;

/// A JSON object on its way to be text.
pub(in crate::engine) struct Told {
    text: Vec<u8>,
}

impl Told {
    /// Nothing yet.
    pub(in crate::engine) fn new() -> Self {
        let mut text = Vec::with_capacity(256);
        text.push(b'{');
        Self { text }
    }

    /// Adds a key, which needs no escape, and its value.
    pub(in crate::engine) fn put(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
        let begun = self.text.len();
        // Whatever is told has texts as keys, so it can be written.
        if serde_json::to_writer(&mut self.text, value).is_err() {
            self.text.truncate(begun);
            self.text.extend_from_slice(b"null");
        }
    }

    /// The text.
    pub(in crate::engine) fn into_text(mut self) -> String {
        self.text.push(b'}');
        // JSON is written as UTF-8.
        String::from_utf8(self.text).unwrap_or_default()
    }
}

/// A [`Told`] with these keys, as `json!` would have them.
macro_rules! told {
    ({ $($key:literal: $value:expr),* $(,)? }) => {{
        #[allow(unused_mut, reason = "one without keys")]
        let mut told = $crate::engine::core::json_text::Told::new();
        $(told.put($key, &$value);)*
        told
    }};
}
pub(in crate::engine) use told;
