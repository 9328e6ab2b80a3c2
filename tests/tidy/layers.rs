//! Layers, and the rooms of outside crates.

use super::Violation;
use super::source::{Source, is_word, line, places};

/// A module may use only those before it in this list.
pub(super) const LAYERS: [&str; 8] =
    ["types", "engine", "store", "records", "outbound", "app", "http", "cli"];

/// Outside crates that only some layers may know: what stands behind a seam stays behind it.
const ROOMS: [(&str, &[&str]); 12] = [
    ("sled", &["store"]),
    ("crc32c", &["store"]),
    ("bincode", &["store", "records"]),
    ("argon2", &["app"]),
    ("warp", &["http", "cli"]),
    ("hyper", &["http", "outbound"]),
    ("hyper_util", &["http", "outbound"]),
    ("http_body_util", &["http", "outbound"]),
    ("tower_service", &["http"]),
    ("tokio_rustls", &["http", "outbound"]),
    ("clap", &["cli"]),
    ("toml", &["cli"]),
];

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|known| *known == layer)
}

/// Files below `src` that lie in no layer.
pub(super) fn outside(source: &Source) -> Vec<Violation> {
    let layer = source.layer().unwrap_or_default();
    if rank(layer).is_some() || layer == "lib" || layer == "main" {
        return Vec::new();
    }
    let what = format!("`{layer}` is no layer; the layers are {}", LAYERS.join(", "));
    vec![Violation::new(&source.path, 1, what)]
}

/// Uses of a layer by one before it, and uses by the binary of more than its composition root.
pub(super) fn upward_uses(source: &Source) -> Vec<Violation> {
    let layer = source.layer().unwrap_or_default();
    let own = match layer {
        "lib" => return Vec::new(),
        "main" => None,
        layer => rank(layer),
    };
    let mut found = Vec::new();
    for (at, used) in used_modules(source) {
        let allowed = match (own, rank(&used)) {
            (Some(own), Some(used)) => used <= own,
            (None, Some(_)) => used == "cli",
            // Not a layer: a macro or something re-exported; the compiler knows.
            (_, None) => true,
        };
        if !allowed {
            let what = format!("`{layer}` may not use `{used}`, which comes after it");
            found.push(Violation::new(&source.path, line(&source.code, at), what));
        }
    }
    found
}

/// The modules at the root of the crate that a file names, each with where.
fn used_modules(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let mut roots = Vec::new();
    for name in ["crate::", "abide::"] {
        roots.extend(places(code, name).map(|at| at + name.len()));
    }
    // `super::` from a file at depth n reaches the root of the crate after n of them.
    let depth = source.path.components().count().saturating_sub(2);
    let depth = if source.path.ends_with("mod.rs") { depth } else { depth + 1 };
    for at in places(code, "super::") {
        let chain = code[at..].split("super::").skip(1).take_while(|rest| rest.is_empty()).count();
        let ups = chain + 1;
        if !code[..at].ends_with("super::") && ups >= depth {
            roots.push(at + ups * "super::".len());
        }
    }
    let mut used = Vec::new();
    for at in roots {
        used.extend(first_names(&code[at..]).into_iter().map(|name| (at, name)));
    }
    used
}

/// The first names of what follows a `crate::`: one, or each of a `{group}`.
fn first_names(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = code.strip_prefix('{') else { return vec![word(code)] };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut fresh = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            character if fresh && is_word(character) => {
                names.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// Uses of an outside crate by a layer that should not know it.
pub(super) fn crates_in_wrong_rooms(source: &Source) -> Vec<Violation> {
    let layer = source.layer().unwrap_or_default();
    let mut found = Vec::new();
    for (name, rooms) in ROOMS {
        if !rooms.contains(&layer) {
            let why = format!("only {} may know it", rooms.join(" and "));
            found.extend(source.find(&format!("{name}::"), &why));
        }
    }
    found
}

#[cfg(test)]
fn sample(path: &str, text: &str) -> Source {
    Source::new(path.into(), text.into())
}

#[test]
fn self_test_an_upward_use_is_found() {
    let broken = [
        ("src/engine/a.rs", "use crate::store::Store;"),
        ("src/engine/a.rs", "use crate::{types::Id, app};"),
        ("src/engine/a.rs", "use crate::{\n    types::{Id, Time},\n    records::Key,\n};"),
        ("src/engine/a.rs", "fn f() { crate::http::problem() }"),
        ("src/engine/a.rs", "use super::super::app::Executor;"),
        ("src/engine/mod.rs", "use super::app::Executor;"),
        ("src/engine.rs", "use super::app::Executor;"),
        ("src/types/a.rs", "use crate::engine::decide;"),
        ("src/main.rs", "fn main() { abide::store::open() }"),
    ];
    for (path, text) in broken {
        assert_eq!(upward_uses(&sample(path, text)).len(), 1, "{path}: {text}");
    }
    let right = [
        ("src/engine/a.rs", "use crate::types::Id;"),
        ("src/engine/a.rs", "use crate::{engine::b, types};"),
        ("src/engine/a.rs", "// use crate::store::Store;"),
        ("src/http/a.rs", "use super::app::Route;"),
        ("src/cli/mod.rs", "use crate::{http, app, store};"),
        ("src/main.rs", "fn main() { abide::cli::main() }"),
    ];
    for (path, text) in right {
        assert_eq!(upward_uses(&sample(path, text)), [], "{path}: {text}");
    }
}

#[test]
fn self_test_a_file_outside_the_layers_is_found() {
    assert_eq!(outside(&sample("src/utils/a.rs", "")).len(), 1);
    assert_eq!(outside(&sample("src/helpers.rs", "")).len(), 1);
    assert_eq!(outside(&sample("src/app/mod.rs", "")), []);
    assert_eq!(outside(&sample("src/lib.rs", "")), []);
}

#[test]
fn self_test_a_crate_in_a_wrong_room_is_found() {
    let text = "use sled::Tree;";
    assert_eq!(crates_in_wrong_rooms(&sample("src/app/a.rs", text)).len(), 1);
    assert_eq!(crates_in_wrong_rooms(&sample("src/store/a.rs", text)), []);
    assert_eq!(crates_in_wrong_rooms(&sample("src/app/a.rs", "// sled::Tree")), []);
}
