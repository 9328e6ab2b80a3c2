//! Recurring times: a cron expression, by the calendar of a time zone.
//!
//! The rules for changes of the clocks are those of Vixie cron. An expression whose minute or hour
//! begins with `*` follows the local clock: times that the clocks skip do not happen, and an hour
//! that occurs twice counts twice. Any other expression names fixed times, and each happens once:
//! skipped times happen right after the change, and in an hour that occurs twice the first
//! occurrence counts. Fixed times that coincide follow each other by a millisecond, so that each is
//! a separate time.

mod fields;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};

use self::fields::{Fields, next_month};
use crate::engine::expression::zone_named;
use crate::types::Time;

/// Maximum length of an expression, in bytes.
const BYTES_MAX: usize = 256;

/// Maximum number of years that are searched for the next time: a fifth Monday of February comes
/// after at most 40.
const YEARS_MAX: i16 = 50;

/// Cron expression of five fields in a time zone.
pub struct Cron {
    fields: Fields,
    zone: TimeZone,
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cron")
    }
}

/// Fault of a cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronFault {
    /// The expression is invalid; the text says why.
    Expression(String),
    /// There is no such time zone.
    Zone,
    /// The expression has no time in the next years, like 30 February.
    Never,
}

impl Cron {
    /// Parses an expression of five fields and the name of a time zone.
    ///
    /// # Errors
    /// [`CronFault`]
    pub fn new(text: &str, zone: &str, after: Time) -> Result<Self, CronFault> {
        let zone = zone_named(zone).ok_or(CronFault::Zone)?;
        if text.len() > BYTES_MAX {
            let what = format!("must have at most {BYTES_MAX} characters");
            return Err(CronFault::Expression(what));
        }
        let fields = Fields::parse(text).map_err(CronFault::Expression)?;
        let cron = Self { fields, zone };
        cron.next(after).ok_or(CronFault::Never)?;
        Ok(cron)
    }

    /// Returns the first time after this one.
    #[must_use]
    pub fn next(&self, after: Time) -> Option<Time> {
        let after = i64::try_from(after.ms()).ok()?;
        let local = self.zone.to_datetime(Timestamp::from_millisecond(after).ok()?).date();
        // If the clocks went back over midnight, yesterday's times may still come.
        let mut date = local.yesterday().ok()?;
        let last = date.year().checked_add(YEARS_MAX)?;
        while date.year() <= last {
            if !self.fields.match_month(date) {
                date = next_month(date)?;
                continue;
            }
            if self.fields.match_date(date)
                && let Some(found) = self.first_on(date, after)
            {
                return Some(Time::from_ms(found.try_into().ok()?));
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// Returns the first time after `after` that belongs to this date, or to the date before or
    /// after.
    fn first_on(&self, date: Date, after: i64) -> Option<i64> {
        let (from, to) = (date.checked_sub(1.day()).ok()?, date.checked_add(2.days()).ok()?);
        let from_ms = self.zone.to_timestamp(from.at(0, 0, 0, 0)).ok()?;
        let to_ms = self.zone.to_timestamp(to.at(0, 0, 0, 0)).ok()?;
        let change = self.zone.following(from_ms).next().map(|change| change.timestamp());
        if change.is_none_or(|change| change > to_ms) {
            // The clocks do not change near this date, as is true of nearly all dates.
            let midnight = self.zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_millisecond();
            let mut times = self.fields.times().map(|(hour, minute)| {
                midnight + (i64::from(hour) * 60 + i64::from(minute)) * 60_000
            });
            return times.find(|time| *time > after);
        }
        let near = [from, date, date.tomorrow().ok()?];
        let matching = near.into_iter().filter(|date| self.fields.match_date(*date));
        let mut times = Vec::new();
        for date in matching {
            for (hour, minute) in self.fields.times() {
                self.instants(date, hour, minute, &mut times)?;
            }
        }
        times.sort_unstable();
        let mut last = i64::MIN;
        for time in times {
            last = if time > last { time } else { last + 1 };
            if last > after {
                return Some(last);
            }
        }
        None
    }

    /// Adds the instants at which the local clock shows this time, or the instant that replaces a
    /// skipped time.
    fn instants(&self, date: Date, hour: i8, minute: i8, into: &mut Vec<i64>) -> Option<()> {
        let shown = date.at(hour, minute, 0, 0);
        let by = |offset: jiff::tz::Offset| offset.to_timestamp(shown).ok();
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => into.push(by(offset)?.as_millisecond()),
            AmbiguousOffset::Gap { .. } if self.fields.is_wildcard => {}
            // The offset after the gap would place it before the change.
            AmbiguousOffset::Gap { after, .. } => {
                let change = self.zone.following(by(after)?).next()?.timestamp();
                into.push(change.as_millisecond());
            }
            AmbiguousOffset::Fold { before, after } => {
                into.push(by(before)?.as_millisecond());
                if self.fields.is_wildcard {
                    into.push(by(after)?.as_millisecond());
                }
            }
        }
        Some(())
    }
}
