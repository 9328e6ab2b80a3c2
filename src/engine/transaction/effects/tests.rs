#![allow(clippy::unwrap_used, reason = "tests")]

use super::EFFECTS;

/// With `BLESS=1` the rows are written into the document: look at the difference.
#[test]
fn effects_table_of_the_documentation_is_the_one_of_the_code() {
    const HEAD: &str = "| effect | does | undone by |\n|---|---|---|\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/workflows/LANGUAGE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(HEAD).unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let rows: Vec<_> = EFFECTS.iter().map(|effect| effect.syntax.documentation()).collect();
    let generated = format!("{before}{HEAD}{}\n\n{after}", rows.join("\n"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &generated).unwrap();
    } else {
        assert!(text == generated, "`BLESS=1 cargo test effects` writes the table anew");
    }
}
