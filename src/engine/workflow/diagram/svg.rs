//! A definition as SVG: self-contained, without script, for light and dark.

use std::fmt::Write as _;

use super::layout::{Sizes, lay};
use super::{Drawn, Graph, shortened, waits_for};
use crate::engine::workflow::check::ExitKind;
use crate::engine::workflow::definition::{Definition, StepKind};

/// Margin around the diagram.
const MARGIN: f64 = 16.0;
/// Width of a letter in a title, and in other text; both are generous estimates, because fonts
/// differ.
const TITLE_LETTER: f64 = 7.6;
const SMALL_LETTER: f64 = 6.3;
const TITLE_LINE: f64 = 18.0;
const SMALL_LINE: f64 = 15.0;
/// Maximum number of letters in a line of a title, and of the text below it.
const TITLE_LETTERS_MAX: usize = 34;
const SMALL_LETTERS_MAX: usize = 46;

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;\
font-size:11.5px;fill:#4b5563;text-anchor:middle;dominant-baseline:central}\
.t{font-size:13.5px;font-weight:600;fill:#111827}\
.box{fill:#eff6ff;stroke:#2563eb;stroke-width:1.5}\
.automatic{fill:#f3f4f6;stroke:#6b7280}\
.waits{fill:#fefce8;stroke:#a16207}\
.pivot{stroke:#7c3aed;stroke-width:3}\
.ended{fill:#dcfce7;stroke:#15803d}\
.cancelled{fill:#fee2e2;stroke:#b91c1c}\
.bar{fill:#374151;stroke:none}\
.way{fill:none;stroke:#6b7280;stroke-width:1.4}\
.dashed{stroke-dasharray:5 4}\
.head{fill:#6b7280;stroke:none}\
.label{fill:#374151;stroke:#fff;stroke-width:4px;paint-order:stroke}\
.no{fill:#b91c1c}\
@media (prefers-color-scheme:dark){\
text{fill:#9ca3af}.t{fill:#f3f4f6}\
.box{fill:#172554;stroke:#60a5fa}\
.automatic{fill:#1f2937;stroke:#9ca3af}\
.waits{fill:#362f0a;stroke:#eab308}\
.pivot{stroke:#a78bfa}\
.ended{fill:#052e16;stroke:#4ade80}\
.cancelled{fill:#450a0a;stroke:#f87171}\
.bar{fill:#d1d5db}\
.way{stroke:#9ca3af}.head{fill:#9ca3af}\
.label{fill:#d1d5db;stroke:#0d1117}.no{fill:#fca5a5}\
}";

/// One line in a box.
struct Line {
    text: String,
    class: &'static str,
    height: f64,
}

/// A box with its lines.
struct Card {
    lines: Vec<Line>,
    class: &'static str,
    /// Radius of its corners.
    round: f64,
    width: f64,
    height: f64,
}

/// Returns a definition as SVG.
#[must_use]
pub fn svg(definition: &Definition) -> String {
    let graph = Graph::of(definition);
    // An exit that cancels after a failure is a line in its box; otherwise a few ends would be
    // connected to everything.
    let noted = |from: usize, to: usize, out: ExitKind| {
        from == to || out != ExitKind::Next && matches!(graph.nodes[to], Drawn::Cancel(_))
    };
    let arrows: Vec<_> = graph.arrows.iter().filter(|a| !noted(a.from, a.to, a.out)).collect();
    let drawn: Vec<usize> = (0..graph.nodes.len())
        .filter(|node| {
            matches!(graph.nodes[*node], Drawn::Start | Drawn::Step(_))
                || arrows.iter().any(|arrow| arrow.from == *node || arrow.to == *node)
        })
        .collect();
    let place = |node: usize| drawn.iter().position(|other| *other == node).unwrap_or(0);
    let cards: Vec<Card> = drawn.iter().map(|node| card(&graph, *node, &noted)).collect();
    let sizes = Sizes {
        boxes: cards.iter().map(|card| (card.width, card.height)).collect(),
        arrows: arrows
            .iter()
            .map(|arrow| {
                (place(arrow.from), place(arrow.to), width(&arrow.label, SMALL_LETTER, 6.0))
            })
            .collect(),
        line: SMALL_LINE,
    };
    let laid = lay(&sizes);
    let mut out = String::new();
    let title = definition.title.as_deref().unwrap_or(definition.name.as_str());
    let (whole_width, whole_height) = (laid.width + 2.0 * MARGIN, laid.height + 2.0 * MARGIN);
    add(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole_width:.0}\" \
             height=\"{whole_height:.0}\" viewBox=\"{:.0} {:.0} {whole_width:.0} \
             {whole_height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n",
            -MARGIN,
            -MARGIN,
            escaped(title)
        ),
    );
    for (arrow, (points, label)) in arrows.iter().zip(&laid.arrows) {
        let dashed = if arrow.out == ExitKind::Next { "" } else { " dashed" };
        way(&mut out, points, dashed);
        if let Some((x, y)) = label {
            let text = escaped(&arrow.label);
            add(
                &mut out,
                format_args!("<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"),
            );
        }
    }
    for (card, (x, y)) in cards.iter().zip(&laid.boxes) {
        put(&mut out, card, *x, *y);
    }
    out.push_str("</svg>\n");
    out
}

/// Appends formatted text; writing to a string does not fail.
fn add(out: &mut String, what: std::fmt::Arguments<'_>) {
    if out.write_fmt(what).is_err() {
        out.clear();
    }
}

fn width(text: &str, letter: f64, more: f64) -> f64 {
    if text.is_empty() {
        return 0.0;
    }
    // Letters beyond Latin are about twice as wide.
    let letters: u32 = text.chars().map(|c| if u32::from(c) < 0x2000 { 1 } else { 2 }).sum();
    f64::from(letters) * letter + more
}

fn card(graph: &Graph<'_>, node: usize, noted: &dyn Fn(usize, usize, ExitKind) -> bool) -> Card {
    let small = |text: String, class| Line { text, class, height: SMALL_LINE };
    let mut lines = Vec::new();
    let (class, round) = match graph.nodes[node] {
        Drawn::Start => {
            return Card { lines, class: "bar", round: 7.0, width: 14.0, height: 14.0 };
        }
        Drawn::Fork(_) | Drawn::Join(_) => {
            return Card { lines, class: "bar", round: 3.0, width: 90.0, height: 6.0 };
        }
        Drawn::End(name) => {
            lines.push(small(name.to_owned(), "t"));
            ("box ended", 16.0)
        }
        Drawn::Cancel(code) => {
            lines.push(small(code.to_owned(), "t"));
            ("box cancelled", 3.0)
        }
        Drawn::Step(_) => match graph.step(node) {
            None => ("box", 6.0),
            Some(step) => {
                let title = step.title.as_deref().unwrap_or(step.name.as_str());
                for text in wrapped(title, TITLE_LETTERS_MAX) {
                    lines.push(Line { text, class: "t", height: TITLE_LINE });
                }
                let line = format!("{} · {}", step.name, waits_for(step));
                lines.push(small(shortened(&line, SMALL_LETTERS_MAX), "s"));
                match (&step.kind, step.pivot) {
                    (StepKind::Automatic, false) => ("box automatic", 14.0),
                    (StepKind::Automatic, true) => ("box automatic pivot", 14.0),
                    (StepKind::Wait(_), _) | (StepKind::Call(_), false) => ("box waits", 14.0),
                    (StepKind::Call(_), true) => ("box pivot", 14.0),
                    (StepKind::Client { .. }, true) => ("box pivot", 6.0),
                    (StepKind::Client { .. }, false) => ("box", 6.0),
                }
            }
        },
    };
    if graph.step(node).is_some_and(|step| step.pivot) {
        lines.push(small("no way back after this".to_owned(), "s"));
    }
    for arrow in graph.arrows.iter().filter(|arrow| arrow.from == node) {
        if !noted(arrow.from, arrow.to, arrow.out) {
            continue;
        }
        let line = match graph.nodes[arrow.to] {
            Drawn::Cancel(code) => format!("{}: cancelled, {code}", arrow.label),
            _ if arrow.label.is_empty() => "again".to_owned(),
            _ => format!("{}: again", arrow.label),
        };
        lines.push(small(shortened(&line, SMALL_LETTERS_MAX), "s no"));
    }
    if graph.stays.iter().any(|(at, _)| *at == node) {
        lines.push(small("opens again".to_owned(), "s"));
    }
    let wide = lines
        .iter()
        .map(|line| {
            let letter = if line.class == "t" { TITLE_LETTER } else { SMALL_LETTER };
            width(&line.text, letter, 24.0)
        })
        .fold(60.0, f64::max);
    let height = lines.iter().map(|line| line.height).sum::<f64>() + 14.0;
    Card { lines, class, round, width: wide, height }
}

/// Wraps a text into lines of at most `most` letters.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in shortened(text, 3 * most).split_whitespace() {
        let word = shortened(word, most);
        let full = lines
            .last()
            .is_some_and(|l| !l.is_empty() && l.chars().count() + word.chars().count() >= most);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines
}

fn put(out: &mut String, card: &Card, x: f64, y: f64) {
    let (left, top) = (x - card.width / 2.0, y - card.height / 2.0);
    let Card { class, round, width, height, .. } = card;
    add(
        out,
        format_args!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"{round:.0}\"/>\n"
        ),
    );
    let mut line_top = top + 7.0;
    for line in &card.lines {
        let middle = line_top + line.height / 2.0;
        let (class, text) = (line.class, escaped(&line.text));
        add(
            out,
            format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{middle:.1}\">{text}</text>\n"),
        );
        line_top += line.height;
    }
}

/// Draws an arrow: curves between layers, straight lines through them.
fn way(out: &mut String, points: &[(f64, f64)], dashed: &str) {
    let (Some((x, y)), Some((end_x, end_y))) = (points.first(), points.last()) else { return };
    add(out, format_args!("<path class=\"way{dashed}\" d=\"M{x:.1} {y:.1}"));
    for pair in points.windows(2) {
        let ((from_x, from_y), (to_x, to_y)) = (pair[0], pair[1]);
        if (from_x - to_x).abs() < 0.5 {
            add(out, format_args!("L{to_x:.1} {to_y:.1}"));
        } else {
            let half = f64::midpoint(from_y, to_y);
            add(
                out,
                format_args!("C{from_x:.1} {half:.1} {to_x:.1} {half:.1} {to_x:.1} {to_y:.1}"),
            );
        }
    }
    let up = points.len() > 1 && points[points.len() - 2].1 > *end_y;
    let back = if up { 8.0 } else { -8.0 };
    add(
        out,
        format_args!(
            "\"/>\n<path class=\"head\" d=\"M{end_x:.1} {end_y:.1}L{:.1} {:.1}L{:.1} {:.1}Z\"/>\n",
            end_x - 4.0,
            end_y + back,
            end_x + 4.0,
            end_y + back
        ),
    );
}

/// Escapes a text for XML; characters that XML does not allow are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => {}
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
