//! Progress on a terminal, and figures for people.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `steps` that shows the present step; quiet in a pipe.
pub(crate) fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>4} {bar:24} {pos}/{len} {msg}");
    let bar = ProgressBar::new(steps).with_style(style.expect("a template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// `1234567` as `1 234 567`.
pub(crate) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Microseconds as milliseconds.
pub(crate) fn ms(us: u64) -> String {
    format!("{:.2}", us as f64 / 1000.0)
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Prints a measurement against its bar. Returns whether it holds.
pub(crate) fn verdict(what: &str, measured: f64, at_least: f64) -> bool {
    let held = measured >= at_least;
    let word = if held { "ok    " } else { "MISSED" };
    println!("{word} {what}: {measured:.2}, at least {at_least:.2}");
    held
}

/// The same where less is better.
pub(crate) fn verdict_most(what: &str, measured: f64, at_most: f64) -> bool {
    let held = measured <= at_most;
    let word = if held { "ok    " } else { "MISSED" };
    println!("{word} {what}: {measured:.2}, at most {at_most:.2}");
    held
}
