//! Times that come again: a cron expression, by the calendar of a zone.
//!
//! The rules for nights in which the clocks change are those of Vixie cron. An expression whose
//! minute or hour begins with `*` goes by the clock on the wall: what the clocks leave out does not
//! happen, and an hour that comes twice counts twice. Any other expression names fixed times, and
//! each happens once: what the clocks leave out happens when they have changed, and of an hour that
//! comes twice the first counts. Of fixed times that fall together, each comes a millisecond after
//! the one before, so that each is a time of its own.

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

/// Longest expression, in bytes.
const BYTES_MAX: usize = 256;

/// How many years ahead a time is looked for: a fifth Monday of February comes after 40 at most.
const YEARS_MAX: i16 = 50;

/// Five fields of a cron expression in a time zone.
pub struct Cron {
    fields: Fields,
    zone: TimeZone,
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cron")
    }
}

/// Why something is no time that comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronFault {
    /// The expression is none, in words.
    Expression(String),
    /// There is no such zone.
    Zone,
    /// There is no such time in the next years, like 30 February.
    Never,
}

impl Cron {
    /// Reads an expression of five fields and the name of a zone.
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

    /// The first time after this one.
    #[must_use]
    pub fn next(&self, after: Time) -> Option<Time> {
        let after = i64::try_from(after.ms()).ok()?;
        let local = self.zone.to_datetime(Timestamp::from_millisecond(after).ok()?).date();
        // Where the clocks were set back over midnight, yesterday's times may still come.
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

    /// The first time after `after` of a date that matches, or of those beside it.
    fn first_on(&self, date: Date, after: i64) -> Option<i64> {
        let (from, to) = (date.checked_sub(1.day()).ok()?, date.checked_add(2.days()).ok()?);
        let from_ms = self.zone.to_timestamp(from.at(0, 0, 0, 0)).ok()?;
        let to_ms = self.zone.to_timestamp(to.at(0, 0, 0, 0)).ok()?;
        let change = self.zone.following(from_ms).next().map(|change| change.timestamp());
        if change.is_none_or(|change| change > to_ms) {
            // No clock is changed near this date, as on nearly all.
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

    /// When the clock on the wall shows this, or what stands for it.
    fn instants(&self, date: Date, hour: i8, minute: i8, into: &mut Vec<i64>) -> Option<()> {
        let shown = date.at(hour, minute, 0, 0);
        let by = |offset: jiff::tz::Offset| offset.to_timestamp(shown).ok();
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => into.push(by(offset)?.as_millisecond()),
            AmbiguousOffset::Gap { .. } if self.fields.is_wildcard => {}
            // By the offset after the gap, it would have been before it.
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
