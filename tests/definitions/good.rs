//! The definitions that come with the server.

use proptest::prelude::*;
use proptest::sample::Index;

use abide::engine::workflow::read;

use super::{documents, said};

#[test]
fn the_definitions_are_read_without_a_word() {
    let documents = documents("data/workflows");
    assert!(!documents.is_empty());
    for (path, text) in documents {
        assert_eq!(said(&text), "warnings only\n", "{}", path.display());
        let name = read(&text).unwrap().definition.name;
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), name.as_str());
    }
}

#[test]
fn a_definition_in_json_is_the_same() {
    for (path, text) in documents("data/workflows") {
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let json = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(said(&json), "warnings only\n", "{}", path.display());
        let (one, other) = (read(&text).unwrap(), read(&json).unwrap());
        assert_eq!(one.definition.steps.len(), other.definition.steps.len());
    }
}

#[test]
fn the_definitions_are_of_the_schema_for_editors() {
    let schema = abide::engine::workflow::language_schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for (path, text) in documents("data/workflows") {
        assert!(text.starts_with("# yaml-language-server: $schema="), "{}", path.display());
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let wrong: Vec<String> = schema
            .iter_errors(&value)
            .map(|error| format!("{} {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
        for (key, wrong) in [("nonsense", "1"), ("first", "3"), ("steps", "{}")] {
            let mut value = value.clone();
            value[key] = serde_json::from_str(wrong).unwrap();
            assert!(!schema.is_valid(&value), "{key}: {wrong}");
        }
    }
}

/// The schema is part of what callers rely on. With `BLESS=1` it is written down as it is now: look
/// at the difference.
#[test]
fn language_schema_is_the_one_that_is_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/definitions/language-schema.json");
    let schema = format!("{:#}\n", abide::engine::workflow::language_schema());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), schema);
}

/// With `BLESS=1` the rows are written into the document: look at the difference.
#[test]
fn language_document_has_the_effects_of_the_code() {
    const HEAD: &str = "| effect | does | undone by |\n|---|---|---|\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/workflows/LANGUAGE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(HEAD).unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let rows = abide::engine::workflow::effects_documentation();
    let generated = format!("{before}{HEAD}{rows}\n\n{after}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &generated).unwrap();
        return;
    }
    assert!(text == generated, "`BLESS=1 cargo test --test definitions` writes the table anew");
}

/// One change of a document.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Double(Index),
    Swap(Index, Index),
    Put(Index, &'static str),
    Cut(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let bit = prop::sample::select(vec![
        "=",
        ":",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "'",
        "\"",
        "#",
        "&a ",
        "*a ",
        "\n",
        "\t",
        "null",
        "12.5",
        "\u{1f600}",
        "stay",
        "end",
        "input.",
        "data.",
        "(",
        ")",
        "<<: ",
        "!!binary ",
        "|\n",
        "~",
        "?",
        ",",
        "%",
        "-1",
        "1e999",
    ]);
    prop_oneof![
        any::<Index>().prop_map(Change::Drop),
        any::<Index>().prop_map(Change::Double),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Change::Swap(one, other)),
        (any::<Index>(), bit).prop_map(|(at, bit)| Change::Put(at, bit)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
    ]
}

fn changed(text: &str, change: &Change) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    match change {
        Change::Drop(at) => {
            lines.remove(at.index(lines.len()));
        }
        Change::Double(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at]);
        }
        Change::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Change::Put(at, bit) => {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let mut text = text.to_owned();
            text.insert_str(places.get(at.index(places.len().max(1))).copied().unwrap_or(0), bit);
            return text;
        }
        Change::Cut(from, to) => {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let (from, to) = (places[from.index(places.len())], places[to.index(places.len())]);
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
            let to = (from..=to).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(from);
            return format!("{}{}", &text[..from], &text[to..]);
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a document is torn, the reader says where it is wrong and never falls over.
    #[test]
    fn torn_documents_are_read_or_told(
        which in any::<Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let documents = documents("data/workflows");
        let mut text = which.get(&documents).1.clone();
        for change in &changes {
            text = changed(&text, change);
        }
        let lines = u32::try_from(text.lines().count()).unwrap().max(1);
        match read(&text) {
            Ok(read) => prop_assert!(read.warnings.iter().all(|warning| warning.at.is_some())),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    let (line, column) = fault.at.expect("a place");
                    prop_assert!(line >= 1 && line <= lines + 1 && column >= 1, "{fault:?}");
                    prop_assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'));
                }
            }
        }
    }
}

#[test]
fn a_guard_and_a_challenge_need_only_their_code_and_id() {
    use abide::engine::workflow::{EffectKind, StepGuard, Template};

    let text = "abide: 1\nworkflow: plain\nfirst: a\nsteps:\n  a:\n    by: [owner]\n    \
                guard: [ { that: tx.owner != null, code: no-owner } ]\n    \
                do: [ { challenge: { id: pin } } ]\n    next: { end: done }\n";
    let definition = read(text).unwrap().definition;
    let step = &definition.steps[0];
    assert!(matches!(&step.guard[0], StepGuard::That { message, .. } if &**message == "no-owner"));
    let EffectKind::Challenge(challenge) = &step.effects[0].kind else { panic!("a challenge") };
    let shown =
        (challenge.digits, challenge.expires.to_string(), challenge.attempts, challenge.resend);
    assert_eq!(shown, (6, "5m".to_owned(), 3, 3));
    let empty =
        matches!(&challenge.binds, Template::Literal(binds) if *binds == serde_json::json!({}));
    assert!(empty && challenge.send.is_none());

    let schema = abide::engine::workflow::language_schema();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    assert!(schema.is_valid(&value), "{:?}", schema.iter_errors(&value).next());
}
