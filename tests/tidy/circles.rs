//! Import circles between the modules of a layer.
//!
//! A module is a file. A name that a `mod.rs` only passes on (`pub use`) belongs to the file that
//! defines it, so a facade makes no circle. Tests may import what they like.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::source::{Source, below, is_word};

/// Path of a module or of a name in it, from the root of the crate.
type ModulePath = Vec<String>;

/// One name that a file imports.
struct Import {
    /// The name in the file.
    name: String,
    /// Where it comes from.
    from: ModulePath,
    /// Whether the file passes it on.
    is_public: bool,
}

/// One file.
struct Module<'s> {
    source: &'s Source,
    /// Its code without tests.
    code: &'s str,
    imports: Vec<Import>,
    /// Paths that stand in its code outside of `use`.
    named: Vec<ModulePath>,
}

/// The modules of a layer.
struct Modules<'s>(BTreeMap<ModulePath, Module<'s>>);

/// Each import circle among `sources`, but for those that lead through one of the `excepted` folders.
pub(super) fn circles(sources: &[Source], excepted: &[&str]) -> Vec<Violation> {
    let modules = Modules::new(sources);
    let counts = |path: &ModulePath| !below(&modules.0[path].source.path, excepted);
    let edges: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = modules
        .0
        .keys()
        .filter(|path| counts(path))
        .map(|path| (path, modules.uses(path).into_iter().filter(|used| counts(used)).collect()))
        .collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for path in edges.keys().copied() {
        let Some(circle) = shortest_circle(&edges, path) else { continue };
        if !seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
            continue;
        }
        let names: Vec<_> = circle.iter().map(|path| path.join("::")).collect();
        let what = format!("an import circle: {} -> {}", names.join(" -> "), names[0]);
        found.push(Violation::new(&modules.0[path].source.path, 1, what));
    }
    found
}

/// The shortest way from a module over its imports back to itself.
fn shortest_circle<'m>(
    edges: &BTreeMap<&'m ModulePath, BTreeSet<&'m ModulePath>>,
    start: &'m ModulePath,
) -> Option<Vec<&'m ModulePath>> {
    let mut came_from: BTreeMap<&ModulePath, &ModulePath> = BTreeMap::new();
    let mut next = std::collections::VecDeque::from([start]);
    while let Some(path) = next.pop_front() {
        for used in &edges[path] {
            if *used == start {
                let mut circle = vec![path];
                while *circle.last()? != start {
                    circle.push(came_from[circle.last()?]);
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(used) {
                came_from.insert(used, path);
                next.push_back(used);
            }
        }
    }
    None
}

impl<'s> Modules<'s> {
    fn new(sources: &'s [Source]) -> Self {
        let is_test = |source: &&Source| {
            let parts = source.path.iter().map(|part| part.to_string_lossy().into_owned());
            !parts.into_iter().any(|part| part.starts_with("tests"))
        };
        let mut modules = BTreeMap::new();
        for source in sources.iter().filter(is_test) {
            let code = source.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let module = Module { source, code, imports: Vec::new(), named: Vec::new() };
            modules.insert(path_of(source), module);
        }
        let known: BTreeSet<ModulePath> = modules.keys().cloned().collect();
        for (path, module) in &mut modules {
            read(path, module, &known);
        }
        Self(modules)
    }

    /// The modules that a module uses.
    fn uses(&self, path: &ModulePath) -> BTreeSet<&ModulePath> {
        let module = &self.0[path];
        let mut used = BTreeSet::new();
        let private = module.imports.iter().filter(|import| !import.is_public);
        let named = module.named.iter();
        for import in private.clone().map(|import| &import.from).chain(named) {
            used.extend(self.definition(import, 0));
        }
        // What a file names through a module that it imports: `ledger::post`.
        for import in private.filter(|import| self.0.contains_key(&import.from)) {
            let prefix = format!("{}::", import.name);
            for (at, _) in module.code.match_indices(&prefix) {
                if !module.code[..at].ends_with(|c| is_word(c) || c == ':') {
                    let mut named = import.from.clone();
                    named.extend(segments(&module.code[at + prefix.len()..]));
                    used.extend(self.definition(&named, 0));
                }
            }
        }
        used.remove(path);
        used
    }

    /// The module that defines what a path names; `None` for a module as such, and for what lies
    /// elsewhere.
    fn definition(&self, path: &ModulePath, depth: usize) -> Option<&ModulePath> {
        let length = (1..path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        if self.0.contains_key(path) || depth > 8 {
            return None;
        }
        let (module, name) = (path[..length].to_vec(), &path[length]);
        let (key, module) = self.0.get_key_value(&module)?;
        match module.imports.iter().find(|import| import.name == *name && import.from != *path) {
            Some(import) => {
                let mut from = import.from.clone();
                from.extend_from_slice(&path[length + 1..]);
                self.definition(&from, depth + 1)
            }
            None => Some(key),
        }
    }
}

/// `src/engine/core/mod.rs` is `engine::core`.
fn path_of(source: &Source) -> ModulePath {
    let below = source.path.strip_prefix("src").unwrap_or(&source.path).with_extension("");
    let mut path: ModulePath =
        below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// Reads what a file imports and names.
fn read(path: &ModulePath, module: &mut Module<'_>, known: &BTreeSet<ModulePath>) {
    let code = module.code;
    let mut uses: Vec<(usize, usize)> = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let begin = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = code[begin..at].trim();
        if before.is_empty() || before == "pub" || before.starts_with("pub(") {
            let end = code[at..].find(';').map_or(code.len(), |end| at + end);
            let is_public = !before.is_empty();
            let tree: String = code[at + 4..end].split_whitespace().collect::<Vec<_>>().join(" ");
            leaves(&tree, &mut Vec::new(), &mut |names, name| {
                if let Some(from) = absolute(path, names, known) {
                    module.imports.push(Import { name, from, is_public });
                }
            });
            uses.push((at, end));
        }
    }
    for head in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(head) {
            let is_part = code[..at].ends_with(|c| is_word(c) || c == ':');
            if is_part || uses.iter().any(|(begin, end)| (*begin..*end).contains(&at)) {
                continue;
            }
            module.named.extend(absolute(path, &segments(&code[at..]), known));
        }
    }
}

/// The names of a path that code begins with: `a::b::C(` is `a`, `b`, `C`.
fn segments(code: &str) -> Vec<String> {
    let end = code.find(|c| !is_word(c) && c != ':').unwrap_or(code.len());
    let names = code[..end].split("::").map(str::to_owned);
    names.filter(|name| !name.is_empty()).collect()
}

/// Calls `found` with each path of a `use` tree and the name that it has in the file.
fn leaves(tree: &str, before: &mut Vec<String>, found: &mut impl FnMut(&[String], String)) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let (path, alias) =
            tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let mut names = before.clone();
        names.extend(segments(path.trim()));
        if names.len() > before.len() && names.last().is_some_and(|last| last == "self") {
            names.pop();
        }
        if let Some(last) = names.last() {
            let name = alias.map_or_else(|| last.clone(), |alias| alias.trim().to_owned());
            found(&names, name);
        }
        return;
    };
    let length = before.len();
    before.extend(segments(head.trim()));
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut begin) = (0, 0);
    for (at, character) in group.char_indices().chain([(group.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                leaves(&group[begin..at], before, found);
                begin = (at + 1).min(group.len());
            }
            _ => {}
        }
    }
    before.truncate(length);
}

/// A path from the root of the crate; `None`: it leads into another crate.
fn absolute(
    module: &ModulePath,
    names: &[String],
    known: &BTreeSet<ModulePath>,
) -> Option<ModulePath> {
    let (first, rest) = names.split_first()?;
    let mut path = match first.as_str() {
        "crate" => return Some(rest.to_vec()),
        "self" | "super" => module.clone(),
        name => {
            let child = [module.as_slice(), &[name.to_owned()]].concat();
            return known.contains(&child).then(|| [child.as_slice(), rest].concat());
        }
    };
    let ups = names.iter().take_while(|name| *name == "super").count();
    path.truncate(path.len().checked_sub(ups)?);
    path.extend_from_slice(&names[ups.max(1)..]);
    Some(path)
}

#[cfg(test)]
fn sample(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path.into(), (*text).to_owned())).collect()
}

#[test]
fn self_test_an_import_circle_is_found() {
    let circle = [
        ("src/engine/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;"),
        ("src/engine/a.rs", "use super::B;\npub struct A;"),
    ];
    for back in [
        "use crate::engine::A;",
        "use super::{A, C};",
        "use super::a;\nfn f() { a::A::new() }",
        "fn f() { crate::engine::a::A::new() }",
    ] {
        let files = [&circle[..], &[("src/engine/b.rs", back)]].concat();
        let found = circles(&sample(&files), &[]);
        assert_eq!(found.len(), 1, "{back}");
        assert!(found[0].what.contains("engine::a -> engine::b -> engine::a"), "{found:?}");
        assert_eq!(circles(&sample(&files), &["src/engine/a.rs"]), []);
    }
}

#[test]
fn self_test_a_facade_and_a_test_make_no_circle() {
    let files = [
        ("src/engine/mod.rs", "mod a;\nmod b;\npub use a::{A, LIMIT as MAX};\npub use b::B;"),
        ("src/engine/a.rs", "use super::B;\npub struct A;"),
        (
            "src/engine/b.rs",
            "use crate::types::Id;\n#[cfg(test)]\nmod tests {\n    use super::super::A;\n}",
        ),
        ("src/engine/tests/mod.rs", "use super::*;"),
    ];
    assert_eq!(circles(&sample(&files), &[]), []);
}
