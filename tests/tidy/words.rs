//! Words that do not belong in the code, and why.

use std::path::Path;

use super::Violation;
use super::source::{Source, below, is_word, places};

/// The one file that may hold unsafe code: a system call that sled needs corrected.
const UNSAFE_FILE: &str = "src/store/sync.rs";

/// The one test file that may: it records every operation on files by standing in for the C
/// library's.
const UNSAFE_TEST_FILE: &str = "tests/store/recorder.rs";

/// A kill at a random moment is no guess at how long something takes.
const RANDOM_MOMENTS: &str = "tests/store/kill.rs";

/// Words, where they are ruled out, where they are right after all, and why.
struct Rule {
    words: &'static [&'static str],
    folders: &'static [&'static str],
    except: fn(&Path) -> bool,
    why: &'static str,
}

const NOWHERE: fn(&Path) -> bool = |_| false;

const RULES: [Rule; 9] = [
    Rule {
        words: &["unsafe", "unsafe_code"],
        folders: &["src", "tests", "benches"],
        except: |path| [UNSAFE_FILE, UNSAFE_TEST_FILE].map(Path::new).contains(&path),
        why: "unsafe code has one place, src/store/sync.rs",
    },
    Rule {
        words: &[
            "async",
            ".await",
            "tokio::",
            "Instant",
            "SystemTime",
            "now(",
            "getrandom",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
        ],
        folders: &["src/types", "src/engine", "src/records"],
        except: NOWHERE,
        why: "this layer is pure: time, randomness and bytes come in as arguments",
    },
    Rule {
        words: &["HashMap", "HashSet"],
        folders: &["src/engine"],
        except: NOWHERE,
        why: "its order differs from run to run, and a decision must not; use the B-tree's",
    },
    Rule {
        words: &["sleep(", "sleep_until(", "park_timeout("],
        folders: &["tests", "benches"],
        except: |path| {
            path.file_name().is_some_and(|name| name == "wait.rs")
                || path == Path::new(RANDOM_MOMENTS)
        },
        why: "wait on a fact; the pause between two looks at it lives in a file named wait.rs",
    },
    Rule {
        words: &["println!", "print!", "eprintln!", "eprint!", "dbg!"],
        folders: &["src"],
        except: NOWHERE,
        why: "panics when the other side is gone or its disk is full; write and mind the result",
    },
    Rule {
        words: &["env::var(", "env::var_os(", "env::vars(", "env::args(", "env::args_os("],
        folders: &["src"],
        except: |path| path.starts_with("src/cli") || path == Path::new("src/main.rs"),
        why: "only cli reads the environment, and main hands it the arguments",
    },
    Rule {
        words: &["Arc<Mutex<HashMap<", "Arc<RwLock<HashMap<", "Arc<Mutex<BTreeMap<"],
        folders: &["src"],
        except: NOWHERE,
        why: "a map behind a lock is no database",
    },
    Rule {
        words: &["mpsc::channel()", "unbounded_channel(", "mpsc::channel::<"],
        folders: &["src"],
        except: NOWHERE,
        why: "every queue is bounded",
    },
    Rule {
        words: &["#[ignore]"],
        folders: &["src", "tests"],
        except: NOWHERE,
        why: "a test that does not run says why: #[ignore = \"...\"]",
    },
];

/// Every breach of the table above.
pub(super) fn ruled_out(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in &RULES {
        if below(&source.path, rule.folders) && !(rule.except)(&source.path) {
            found.extend(rule.words.iter().flat_map(|word| source.find(word, rule.why)));
        }
    }
    found
}

/// Names that say nothing about what they name. `Service` is a word of tower's, which `http` may
/// use for what it hands to hyper.
const EMPTY: [&str; 8] =
    ["Manager", "Helper", "Helpers", "Util", "Utils", "Service", "Misc", "Common"];

/// Types, traits and modules that are named after nothing.
pub(super) fn empty_names(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for keyword in ["struct", "enum", "trait", "mod", "type"] {
        for at in places(&source.code, keyword) {
            let rest = source.code[at + keyword.len()..].trim_start();
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            let empty = EMPTY.iter().any(|word| {
                name.ends_with(word) || (keyword == "mod" && name == word.to_lowercase())
            });
            let tower = name.ends_with("Service") && source.layer() == Some("http");
            if empty && !tower {
                let line = super::source::line(&source.code, at);
                let what = format!("`{name}` does not say what it is");
                found.push(Violation::new(&source.path, line, what));
            }
        }
    }
    found
}

/// Marks of unfinished work, in comments too. Put together here, so that this file has none.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

/// Every mark of unfinished work in any text.
pub(super) fn unfinished(path: &Path, text: &str) -> Vec<Violation> {
    let found = UNFINISHED.iter().flat_map(|word| {
        let places = places(text, word);
        places.map(move |at| {
            Violation::new(path, super::source::line(text, at), format!("`{word}`: finish it"))
        })
    });
    found.collect()
}

#[test]
fn self_test_each_word_is_found_where_it_is_ruled_out() {
    for rule in &RULES {
        for (word, folder) in
            rule.words.iter().flat_map(|w| rule.folders.iter().map(move |f| (w, f)))
        {
            let path = format!("{folder}/sample.rs");
            let text = format!("//! Sample.\nfn f() {{ {word} x }}\n");
            let found = ruled_out(&Source::new(path.into(), text));
            assert!(found.iter().any(|one| one.line == 2), "{word} in {folder}");
            let comment = format!("//! Sample.\n// {word} x\n");
            let path = format!("{folder}/sample.rs");
            assert_eq!(ruled_out(&Source::new(path.into(), comment)), [], "{word} in a comment");
        }
    }
}

#[test]
fn self_test_the_exceptions_are_no_wider_than_they_say() {
    let found = |path: &str, text: &str| ruled_out(&Source::new(path.into(), text.into())).len();
    assert_eq!(found(UNSAFE_FILE, "unsafe {}"), 0);
    assert_eq!(found("src/store/other.rs", "unsafe {}"), 1);
    assert_eq!(found("tests/api/wait.rs", "sleep(x)"), 0);
    assert_eq!(found("tests/api/waits.rs", "sleep(x)"), 1);
    assert_eq!(found("src/app/clock.rs", "SystemTime::now()"), 0);
    assert_eq!(found("src/engine/a.rs", "fn known(nowhere: u8) {}"), 0);
}

#[test]
fn self_test_an_empty_name_is_found() {
    let found = |text: &str| empty_names(&Source::new("src/app/a.rs".into(), text.into())).len();
    assert_eq!(found("pub struct SessionManager;"), 1);
    assert_eq!(found("mod utils;"), 1);
    assert_eq!(found("trait UserService {}"), 1);
    assert_eq!(found("struct Session; impl Service<R> for Session {}"), 0);
}

#[test]
fn self_test_unfinished_work_is_found() {
    for word in UNFINISHED {
        assert_eq!(unfinished(Path::new("a.md"), &format!("x\n{word} y\n")).len(), 1, "{word}");
    }
}
