//! Times that come again: a cron expression, by the calendar of a zone.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::expr::zone_named;
use crate::types::Time;

/// Longest expression, in bytes.
const BYTES_MAX: usize = 256;

/// When the clocks are set back, times of an hour come twice and count once; so many times are
/// looked at until one is found that has not been.
const REPEATS_MAX: usize = 24 * 60;

/// Five fields of a cron expression in a time zone.
pub struct Cron {
    fields: cronexpr::Crontab,
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
        let wrong = |what: &str| CronFault::Expression(what.to_owned());
        if text.len() > BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        if text.split_ascii_whitespace().count() != 5 {
            return Err(wrong(
                "it has five fields: minute, hour, day of month, month, day of week",
            ));
        }
        // The zone is ours: the fields are looked for in the zone's own time, as if that were UTC.
        let fields = cronexpr::parse_crontab(&format!("{text} UTC"))
            .map_err(|_| wrong("a field of it cannot be read"))?;
        let cron = Self { fields, zone };
        cron.next(after).ok_or(CronFault::Never)?;
        Ok(cron)
    }

    /// The first time after this one. A time that a zone leaves out is the one as much later; one
    /// that comes twice is the first of them.
    #[must_use]
    pub fn next(&self, after: Time) -> Option<Time> {
        let stamp = Timestamp::from_millisecond(after.ms().try_into().ok()?).ok()?;
        let local = self.zone.to_datetime(stamp);
        let mut shown = TimeZone::UTC.to_timestamp(local).ok()?.as_millisecond();
        for _ in 0..REPEATS_MAX {
            let from = cronexpr::MakeTimestamp::from_millisecond(shown).ok()?;
            shown = self.fields.find_next(from).ok()?.timestamp().as_millisecond();
            let local = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(shown).ok()?);
            let at = self.zone.to_timestamp(local).ok()?.as_millisecond();
            let at = Time::from_ms(at.try_into().ok()?);
            if at > after {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn times(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let from: Time = from.parse().unwrap();
        let cron = Cron::new(text, zone, from).unwrap();
        std::iter::successors(cron.next(from), |at| cron.next(*at))
            .take(count)
            .map(|at| at.to_string())
            .collect()
    }

    #[test]
    fn it_follows_the_calendar_of_its_zone() {
        assert_eq!(
            times("30 9 1 * *", "Europe/Berlin", "2030-03-01T08:30:00Z", 2),
            ["2030-04-01T07:30:00.000Z", "2030-05-01T07:30:00.000Z"]
        );
        assert_eq!(
            times("0 0 29 2 *", "UTC", "2029-01-01T00:00:00Z", 1),
            ["2032-02-29T00:00:00.000Z"]
        );
    }

    #[test]
    fn a_time_that_is_left_out_comes_later_and_one_that_comes_twice_counts_once() {
        // In Berlin the clocks go from 2:00 to 3:00 on 2030-03-31 and from 3:00 to 2:00 on 10-27.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2030-03-30T12:00:00Z", 2),
            ["2030-03-31T01:30:00.000Z", "2030-04-01T00:30:00.000Z"]
        );
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2030-10-26T12:00:00Z", 2),
            ["2030-10-27T00:30:00.000Z", "2030-10-28T01:30:00.000Z"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2030-10-27T00:00:00Z", 3),
            ["2030-10-27T00:30:00.000Z", "2030-10-27T02:00:00.000Z", "2030-10-27T02:30:00.000Z"]
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let now = Time::from_ms(1_900_000_000_000);
        let fault = |text: &str, zone: &str| Cron::new(text, zone, now).unwrap_err();
        assert!(matches!(fault("* * * *", "UTC"), CronFault::Expression(_)));
        assert!(matches!(fault("61 * * * *", "UTC"), CronFault::Expression(_)));
        assert!(matches!(fault(&"1,".repeat(200), "UTC"), CronFault::Expression(_)));
        assert_eq!(fault("* * * * *", "Europe/Nowhere"), CronFault::Zone);
        assert_eq!(fault("0 0 30 2 *", "UTC"), CronFault::Never);
    }
}
