//! Bad documents, and what is said of them.

use std::fmt::Write as _;

use abide::engine::workflow::{DOCUMENT_BYTES_MAX, read};

use super::{documents, said};

/// With `BLESS=1` what is said now is written down as right: look at the difference.
#[test]
fn each_bad_document_gets_the_faults_that_are_written_beside_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let documents = documents("src/engine/workflow/faults");
    assert!(documents.len() >= 10, "the bad documents are gone");
    for (path, text) in documents {
        let said = said(&text);
        let beside = path.with_extension("txt");
        if bless {
            std::fs::write(&beside, &said).unwrap();
        }
        if std::fs::read_to_string(&beside).unwrap_or_default() != said {
            wrong.push(format!("{}:\n{said}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_document_is_bounded() {
    let text = format!("abide: 1\n# {}\n", "x".repeat(DOCUMENT_BYTES_MAX));
    assert_eq!(read(&text).unwrap_err()[0].code, "document-too-large");

    let deep = format!("abide: {}{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(read(&deep).unwrap_err()[0].code, "not-readable");

    let mut many = String::from("abide: 1\nworkflow: many\nfirst: s0\nsteps:\n");
    for number in 0..201 {
        writeln!(many, "  s{number}: {{ next: {{ end: done }} }}").unwrap();
    }
    let codes: Vec<_> = read(&many).unwrap_err().iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["too-many-steps"]);

    let wide = format!("abide: [{}]", "[],".repeat(70_000));
    assert_eq!(read(&wide).unwrap_err()[0].code, "not-readable");

    let effects = "      - emit: { type: a.b }\n".repeat(65);
    let busy = format!(
        "abide: 1\nworkflow: busy\nfirst: a\nsteps:\n  a:\n    do:\n{effects}    next: {{ end: done }}\n"
    );
    assert_eq!(read(&busy).unwrap_err()[0].code, "too-many");
}

#[test]
fn what_looks_like_an_anchor_or_holds_nothing_is_no_document() {
    for text in [
        "",
        "---\n",
        "# nothing\n",
        "[]",
        "12",
        "a: &x 1\nb: *x\n",
        "a: 1\n---\nb: 2\n",
        "\u{0}",
        "{",
    ] {
        let faults = read(text).unwrap_err();
        assert!(faults.iter().all(|fault| fault.at.is_some()), "{text:?}: {faults:?}");
        assert!(!faults.is_empty(), "{text:?}");
    }
}
