//! Times and durations of expressions: parsing, formatting, calendars.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ZonedDateTime};

use super::value::{EvalHalt, failed};
use crate::types::{Span, Time};

/// 0001-01-01T00:00:00Z.
const FIRST_MS: i64 = -62_135_596_800_000;
/// The last time that RFC 3339 can write.
const LAST_MS: i64 = Time::MAX.ms().cast_signed();
/// Maximum duration: ten thousand years.
const SPAN_MS_MAX: i64 = 10_000 * 366 * 86_400_000;

/// Time zones bundled with the binary: the same on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Refuses a time outside of the years 1 to 9999.
pub(super) fn time_within(ms: Option<i64>) -> Result<i64, EvalHalt> {
    ms.filter(|ms| (FIRST_MS..=LAST_MS).contains(ms))
        .ok_or_else(|| failed("the time lies outside of the years 1 to 9999"))
}

/// Refuses a duration over the maximum.
pub(super) fn span_within(ms: Option<i64>) -> Result<i64, EvalHalt> {
    ms.filter(|ms| (-SPAN_MS_MAX..=SPAN_MS_MAX).contains(ms))
        .ok_or_else(|| failed("the duration is longer than ten thousand years"))
}

/// Formats a time as RFC 3339 in UTC with milliseconds.
pub(super) fn time_text(ms: i64) -> String {
    match u64::try_from(ms) {
        Ok(ms) => Time::from_ms(ms).to_string(),
        Err(_) => stamp(ms).map_or_else(|_| String::new(), |stamp| format!("{stamp:.3}")),
    }
}

/// Parses RFC 3339.
pub(super) fn time_of(text: &str) -> Result<i64, EvalHalt> {
    let stamp: Timestamp = text
        .parse()
        .map_err(|_| failed(format!("{} is not a time like 2026-11-24T10:35:00Z", quoted(text))))?;
    time_within(Some(stamp.as_millisecond()))
}

/// Formats a duration as a whole number and a unit, as definitions write it.
pub(super) fn span_text(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", Span::from_ms(ms.unsigned_abs()))
}

/// Parses numbers with units of d, h, m, s, ms, us and ns: `1h30m`, `1.5s`, `-2m`.
pub(super) fn span_of(text: &str) -> Result<i64, EvalHalt> {
    let wrong = || failed(format!("{} is not a duration like 1h30m", quoted(text)));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, tail) = rest.split_at(digits);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(tail.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", tail),
        };
        if whole.len() + fraction.len() == 0 || whole.len() > 15 || fraction.len() > 9 {
            return Err(wrong());
        }
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(letters);
        let unit: i128 = match unit {
            "d" => 86_400_000_000_000,
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return Err(wrong()),
        };
        let count: i128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        nanos += count * unit / scale;
        rest = tail;
    }
    span_within(i64::try_from(sign * nanos / 1_000_000).ok())
}

/// Adds a calendar duration to a time in a time zone: `P1M`, `-P18Y`, `PT36H`.
pub(super) fn later(ms: i64, span: &str, zone: Option<&str>) -> Result<i64, EvalHalt> {
    let span = calendar_span(span)?;
    let zoned = zoned(ms, zone)?;
    let later = zoned.checked_add(span);
    time_within(later.ok().map(|later| later.timestamp().as_millisecond()))
}

/// Parses a duration in ISO 8601.
pub(super) fn calendar_span(text: &str) -> Result<jiff::Span, EvalHalt> {
    let wrong =
        || failed(format!("{} is not a duration like P1M or PT12H (ISO 8601)", quoted(text)));
    if !text.trim_start_matches(['-', '+']).starts_with('P') {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// Returns a time in a time zone; without a zone in UTC.
pub(super) fn zoned(ms: i64, zone: Option<&str>) -> Result<ZonedDateTime, EvalHalt> {
    Ok(stamp(ms)?.to_zoned_datetime(zone.map_or(Ok(TimeZone::UTC), zone_of)?))
}

/// Returns the time zone with this name, if there is one.
pub(in crate::engine) fn zone_named(name: &str) -> Option<TimeZone> {
    zone_of(name).ok()
}

/// Returns a time zone by its name, or by its offset from UTC: `Europe/Berlin`, `+02:00`.
pub(super) fn zone_of(name: &str) -> Result<TimeZone, EvalHalt> {
    let unknown = || failed(format!("{} is not a time zone like Europe/Berlin", quoted(name)));
    let (sign, digits) = match name.as_bytes() {
        [b'-', ..] => (-1, &name[1..]),
        [b'+', ..] => (1, &name[1..]),
        [b'0'..=b'9', ..] => (1, name),
        _ => return ZONES.get(name).map_err(|_| unknown()),
    };
    let (hours, minutes) = digits.split_once(':').ok_or_else(unknown)?;
    let part = |text: &str, max: i32| -> Result<i32, EvalHalt> {
        let valid = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &i32| valid && *number <= max).ok_or_else(unknown)
    };
    let seconds: i32 = part(hours, 14)? * 3600 + part(minutes, 59)? * 60;
    let offset = jiff::tz::Offset::from_seconds(sign * seconds).map_err(|_| unknown())?;
    Ok(TimeZone::fixed(offset))
}

fn stamp(ms: i64) -> Result<Timestamp, EvalHalt> {
    Timestamp::from_millisecond(ms)
        .map_err(|_| failed("the time lies outside of the years 1 to 9999"))
}

/// Quotes a text for a message, shortened if it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("\"{}...\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}
