//! JSON text as a part of an answer, written as it is read: no value is made of it, which could
//! take a hundred times as much memory as the text.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

/// JSON text that is written unchanged as a part of a larger document.
pub(super) struct RawJson<'a>(pub(super) &'a str);

impl Serialize for RawJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Source::new(&mut serde_json::Deserializer::from_str(self.0)).serialize(to)
    }
}

/// Adapter that reads a deserializer once, while it is serialized.
struct Source<D>(RefCell<Option<D>>);

impl<D> Source<D> {
    const fn new(from: D) -> Self {
        Self(RefCell::new(Some(from)))
    }
}

impl<'de, D: Deserializer<'de>> Serialize for Source<D> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let from = self.0.borrow_mut().take();
        let from = from.ok_or_else(|| ser::Error::custom("it was written already"))?;
        from.deserialize_any(To(to)).map_err(ser::Error::custom)
    }
}

/// Writes what it is shown.
struct To<S>(S);

impl<'de, S: Serializer> Visitor<'de> for To<S> {
    type Value = S::Ok;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<S::Ok, E> {
        self.0.serialize_bool(value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<S::Ok, E> {
        self.0.serialize_i64(value).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<S::Ok, E> {
        self.0.serialize_u64(value).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<S::Ok, E> {
        self.0.serialize_f64(value).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<S::Ok, E> {
        self.0.serialize_str(value).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<S::Ok, E> {
        self.0.serialize_unit().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<S::Ok, A::Error> {
        let mut to = self.0.serialize_seq(None).map_err(de::Error::custom)?;
        while let Some(()) = from.next_element_seed(Element(&mut to))? {}
        to.end().map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<S::Ok, A::Error> {
        let mut to = self.0.serialize_map(None).map_err(de::Error::custom)?;
        while let Some(key) = from.next_key::<String>()? {
            to.serialize_key(&key).map_err(de::Error::custom)?;
            from.next_value_seed(Member(&mut to))?;
        }
        to.end().map_err(de::Error::custom)
    }
}

/// The next element of a list that is written.
struct Element<'a, S>(&'a mut S);

impl<'de, S: SerializeSeq> DeserializeSeed<'de> for Element<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.serialize_element(&Source::new(from)).map_err(de::Error::custom)
    }
}

/// The value of the next member of an object that is written.
struct Member<'a, S>(&'a mut S);

impl<'de, S: SerializeMap> DeserializeSeed<'de> for Member<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.serialize_value(&Source::new(from)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_is_written_as_it_is_read() {
        for text in [
            "null",
            "{}",
            "[]",
            "[1,-2,3.5,18446744073709551615,true,false,null]",
            r#"{"b":[{"a":"\"\\\n\u0001é"},[[]]],"a":{"":1e300}}"#,
        ] {
            let written = serde_json::to_string(&RawJson(text)).unwrap_or_default();
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            assert_eq!(read(&written), read(text), "{text}");
        }
        assert!(serde_json::to_string(&RawJson("[1,")).is_err());
    }
}
