//! Diagrams of a definition: Mermaid for documents, and SVG.

mod layout;
mod svg;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::{ExitKind, StepExit, ways};
use super::definition::{
    AllowedActor, Definition, Quorum, StepDefinition, StepKind, StepTarget, Template, WaitCondition,
};

pub use svg::svg;

/// Maximum length of a condition on an arrow, in characters; the definition has the full text.
const LABEL_CHARACTERS_MAX: usize = 44;

/// Node of the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Drawn<'d> {
    Start,
    Step(usize),
    Fork(usize),
    Join(usize),
    End(&'d str),
    Cancel(&'d str),
}

/// An arrow.
#[derive(Debug)]
struct Arrow {
    from: usize,
    to: usize,
    label: String,
    out: ExitKind,
}

/// Graph of a definition, in an order that depends on the definition alone.
#[derive(Debug)]
struct Graph<'d> {
    definition: &'d Definition,
    nodes: Vec<Drawn<'d>>,
    numbers: BTreeMap<Drawn<'d>, usize>,
    arrows: Vec<Arrow>,
    /// Steps that may open again without being left.
    stays: Vec<(usize, ExitKind)>,
}

impl<'d> Graph<'d> {
    fn of(definition: &'d Definition) -> Self {
        let mut graph = Self {
            definition,
            nodes: Vec::new(),
            numbers: BTreeMap::new(),
            arrows: Vec::new(),
            stays: Vec::new(),
        };
        let start = graph.number(Drawn::Start);
        for number in 0..definition.steps.len() {
            graph.number(Drawn::Step(number));
        }
        if let Some(first) = definition.index.get(&definition.first) {
            let first = graph.number(Drawn::Step(*first));
            graph.arrow(start, first, String::new(), ExitKind::Next);
        }
        let around = super::check::around(definition);
        for (number, step) in definition.steps.iter().enumerate() {
            let from = graph.number(Drawn::Step(number));
            for way in ways(step) {
                let label = label(step, &way);
                graph.follow(from, way.target, &label, way.out);
            }
            if step.next.is_none()
                && let Some((all, _)) =
                    around.get(step.name.as_str()).and_then(|around| around.last())
            {
                let join = graph.number(Drawn::Join(*all));
                graph.arrow(from, join, String::new(), ExitKind::Next);
            }
        }
        for (number, all) in definition.alls.iter().enumerate() {
            let join = graph.number(Drawn::Join(number));
            if let Some(next) = &all.next {
                graph.follow(join, next, "", ExitKind::Next);
                continue;
            }
            let outer = all.branches.first().and_then(|name| {
                let around = around.get(name.as_str())?;
                around.iter().rev().nth(1).copied()
            });
            if let Some((outer, _)) = outer {
                let outer = graph.number(Drawn::Join(outer));
                graph.arrow(join, outer, String::new(), ExitKind::Next);
            }
        }
        graph
    }

    fn number(&mut self, drawn: Drawn<'d>) -> usize {
        *self.numbers.entry(drawn).or_insert_with(|| {
            self.nodes.push(drawn);
            self.nodes.len() - 1
        })
    }

    fn arrow(&mut self, from: usize, to: usize, label: String, out: ExitKind) {
        let known = self
            .arrows
            .iter_mut()
            .find(|arrow| (arrow.from, arrow.to, arrow.out) == (from, to, out));
        match known {
            Some(known) if known.label == label => {}
            Some(known) if known.label.is_empty() || label.is_empty() => known.label.clear(),
            Some(known) => {
                known.label.push_str(", or ");
                known.label.push_str(&label);
            }
            None => self.arrows.push(Arrow { from, to, label, out }),
        }
    }

    fn follow(&mut self, from: usize, target: &'d StepTarget, label: &str, out: ExitKind) {
        match target {
            StepTarget::Step(name) => self.lead(from, name, label, out),
            StepTarget::Any(names) => {
                for name in names {
                    self.lead(from, name, label, out);
                }
            }
            StepTarget::All(number) => {
                let fork = self.number(Drawn::Fork(*number));
                self.arrow(from, fork, label.to_owned(), out);
                let branches =
                    self.definition.alls.get(*number).map_or(&[][..], |all| &all.branches);
                for name in branches {
                    self.lead(fork, name, "", ExitKind::Next);
                }
            }
            StepTarget::Stay => self.stays.push((from, out)),
            StepTarget::End(name) => {
                let end = self.number(Drawn::End(name));
                self.arrow(from, end, label.to_owned(), out);
            }
            StepTarget::Cancel(code) => {
                let cancel = self.number(Drawn::Cancel(code));
                self.arrow(from, cancel, label.to_owned(), out);
            }
            StepTarget::When(choices) => {
                for (when, target) in choices {
                    let when = match when {
                        Some(when) => shortened(when.source(), LABEL_CHARACTERS_MAX),
                        None if choices.len() > 1 => "else".to_owned(),
                        None => String::new(),
                    };
                    let label = match (label.is_empty(), when.is_empty()) {
                        (true, _) => when,
                        (_, true) => label.to_owned(),
                        _ => format!("{label}: {when}"),
                    };
                    self.follow(from, target, &label, out);
                }
            }
        }
    }

    fn lead(&mut self, from: usize, name: &crate::types::StepName, label: &str, out: ExitKind) {
        if let Some(number) = self.definition.index.get(name) {
            let to = self.number(Drawn::Step(*number));
            self.arrow(from, to, label.to_owned(), out);
        }
    }

    fn step(&self, node: usize) -> Option<&'d StepDefinition> {
        match self.nodes.get(node) {
            Some(Drawn::Step(number)) => self.definition.steps.get(*number),
            _ => None,
        }
    }
}

/// Returns the label of an exit's arrow.
fn label(step: &StepDefinition, way: &StepExit<'_>) -> String {
    match way.out {
        ExitKind::Next => String::new(),
        ExitKind::Timeout => step
            .timeout
            .as_ref()
            .map_or_else(String::new, |timeout| format!("after {}", told(&timeout.after))),
        ExitKind::Refused => "refused".to_owned(),
        ExitKind::Exhausted => "wrong codes".to_owned(),
        ExitKind::Expiry => "hold expired".to_owned(),
        ExitKind::Failed => "failed".to_owned(),
    }
}

/// Returns a template as text, for people.
fn told(template: &Template) -> String {
    match template {
        Template::Literal(serde_json::Value::String(text)) => shortened(text, LABEL_CHARACTERS_MAX),
        Template::Literal(value) => value.to_string(),
        Template::Expr(expr) => shortened(expr.source(), LABEL_CHARACTERS_MAX),
        Template::Object(_) | Template::List(_) => String::new(),
    }
}

/// Returns in one line what a step waits for.
fn waits_for(step: &StepDefinition) -> String {
    let line = match &step.kind {
        StepKind::Automatic => "automatic".to_owned(),
        StepKind::Wait(WaitCondition::For(span)) => format!("waits {}", told(span)),
        StepKind::Wait(WaitCondition::Until(time)) => format!("waits until {}", told(time)),
        StepKind::Call(request) => format!("{} {}", request.method, told(&request.url)),
        StepKind::Client { by, .. } => by.iter().map(called).collect::<Vec<_>>().join(", "),
    };
    match &step.quorum {
        Some(Quorum::Fixed(count)) if *count > 1 => format!("{line}, {count} of them"),
        Some(Quorum::Expr(_)) => format!("{line}, one or more of them"),
        _ => line,
    }
}

fn called(by: &AllowedActor) -> String {
    match by {
        AllowedActor::Owner => "owner".to_owned(),
        AllowedActor::Anyone => "anyone".to_owned(),
        AllowedActor::User => "signed-in user".to_owned(),
        AllowedActor::Role(role) => role.to_string(),
        AllowedActor::Named(expr) => shortened(expr.source(), LABEL_CHARACTERS_MAX),
        AllowedActor::ApiKey => "service".to_owned(),
        AllowedActor::Hook(name) => format!("hook {name}"),
        AllowedActor::Workflow(name) => format!("workflow {name}"),
    }
}

/// Returns a text in one line of at most `most` characters.
fn shortened(text: &str, most: usize) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let mut characters = line.chars();
    let start: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() { format!("{}…", start.trim_end()) } else { start }
}

/// Returns a definition as a Mermaid flow chart.
#[must_use]
pub fn mermaid(definition: &Definition) -> String {
    let graph = Graph::of(definition);
    let mut lines = vec!["flowchart TD".to_owned()];
    for (number, node) in graph.nodes.iter().enumerate() {
        let (open, text, close, class) = match node {
            Drawn::Start => ("((", " ".to_owned(), "))", "start"),
            Drawn::Step(_) => {
                let Some(step) = graph.step(number) else { continue };
                let title = step.title.as_deref().unwrap_or(step.name.as_str());
                let again = graph.stays.iter().any(|(at, _)| *at == number);
                let again = if again { "<br/><i>opens again</i>" } else { "" };
                let text = format!(
                    "<b>{}</b><br/>{} · {}{again}",
                    quoted(&shortened(title, 80)),
                    quoted(step.name.as_str()),
                    quoted(&waits_for(step))
                );
                match (&step.kind, step.pivot) {
                    (StepKind::Automatic, false) => ("([", text, "])", "automatic"),
                    (StepKind::Automatic, true) => ("([", text, "])", "pivot"),
                    (StepKind::Call(_), false) => ("[[", text, "]]", "waits"),
                    (StepKind::Wait(_), _) => ("{{", text, "}}", "waits"),
                    (_, true) => ("[", text, "]", "pivot"),
                    (_, false) => ("[", text, "]", "client"),
                }
            }
            Drawn::Fork(_) => ("[[", "all of".to_owned(), "]]", "bar"),
            Drawn::Join(_) => ("[[", "all done".to_owned(), "]]", "bar"),
            Drawn::End(name) => ("(((", quoted(name), ")))", "ended"),
            Drawn::Cancel(code) => ("[/", quoted(code), "/]", "cancelled"),
        };
        lines.push(format!("  n{number}{open}\"{text}\"{close}:::{class}"));
    }
    for Arrow { from, to, label, out } in &graph.arrows {
        let is_taken = matches!(out, ExitKind::Next);
        let mut line = String::new();
        let arrow = if is_taken { "-->" } else { "-.->" };
        let written = if label.is_empty() {
            write!(line, "  n{from} {arrow} n{to}")
        } else {
            write!(line, "  n{from} {arrow}|\"{}\"| n{to}", quoted(label))
        };
        if written.is_ok() {
            lines.push(line);
        }
    }
    lines.extend(
        [
            "classDef client fill:#dbeafe,stroke:#2563eb,color:#111827",
            "classDef automatic fill:#f3f4f6,stroke:#6b7280,color:#111827",
            "classDef waits fill:#fef9c3,stroke:#a16207,color:#111827",
            "classDef pivot fill:#ede9fe,stroke:#6d28d9,stroke-width:3px,color:#111827",
            "classDef ended fill:#dcfce7,stroke:#15803d,color:#111827",
            "classDef cancelled fill:#fee2e2,stroke:#b91c1c,color:#111827",
            "classDef bar fill:#e5e7eb,stroke:#374151,color:#111827",
            "classDef start fill:#374151,stroke:#374151",
        ]
        .map(|line| format!("  {line}")),
    );
    lines.push(String::new());
    lines.join("\n")
}

/// Returns a text for a quoted label of Mermaid: every character that could be syntax is written as
/// an entity.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| {
            let plain = c.is_alphanumeric() || " .,:;()[]+-*/=_!?…·@{}".contains(c);
            if plain { c.to_string() } else { format!("#{};", u32::from(c)) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::engine::workflow::read;

    const HOSTILE: &str = r#"
abide: 1
workflow: hostile
first: a
steps:
  a:
    title: '"]; click a href "javascript:alert(1)" <script>alert(1)</script> & `x` | end'
    by: ["user:=data.x"]
    timeout: { after: '=data.y == "</text><script>" ? "1h" : "2h"', next: b }
    next:
      - { when: 'data.x == "]]><script>"', next: { all: [b, c], next: { end: done } } }
      - { next: { cancel: no } }
  b: { by: [owner], next: d }
  c: { wait: { for: 1m } }
  d: { by: [owner] }
data: { x: a, y: b }
"#;

    #[test]
    fn nothing_of_a_definition_is_taken_for_the_language_of_the_picture() {
        // `timeout` leads into a branch: a fault that the diagram must tolerate.
        let text = HOSTILE.replace("next: b }\n    next:", "next: { cancel: slept } }\n    next:");
        let definition = read(&text).unwrap().definition;
        let drawn = mermaid(&definition);
        assert!(!drawn.contains("<script") && !drawn.contains("\"]; click"), "{drawn}");
        assert!(drawn.contains("#34;#93;; click") || drawn.contains("#34;]; click"), "{drawn}");
        let drawn = svg(&definition);
        assert!(!drawn.contains("<script") && drawn.contains("&lt;script"), "{drawn}");
        assert!(!drawn.contains("]]>"), "{drawn}");
        assert_eq!(drawn, svg(&definition));
    }
}
