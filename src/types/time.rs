//! Points in time and lengths of time; the clock is elsewhere.

use std::fmt;
use std::str::FromStr;

use super::{ParseError, ascii, serde_as_text, serde_from_text};

/// A point in time, in milliseconds since the Unix epoch; the text form is RFC 3339 in UTC with
/// milliseconds. From 1970 to 9999: later times saturate at [`Time::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// A length of time, in milliseconds; the text form is a whole number and a unit: `500ms`, `30s`,
/// `15m`, `12h`, `3d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Time {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);

    /// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Returns the time this many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        if ms > Self::MAX.0 { Self::MAX } else { Self(ms) }
    }

    /// Returns milliseconds since the Unix epoch.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Returns whole seconds since the Unix epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / SECOND
    }

    /// Returns the time `span` later.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self::from_ms(self.0.saturating_add(span.0))
    }

    /// Returns the time since `earlier`; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// A length of zero.
    pub const ZERO: Self = Self(0);

    /// Returns a length of this many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Returns a length of this many seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// Returns a length of this many minutes.
    #[must_use]
    pub const fn from_minutes(minutes: u64) -> Self {
        Self(minutes.saturating_mul(MINUTE))
    }

    /// Returns a length of this many hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(hours.saturating_mul(HOUR))
    }

    /// Returns milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Returns seconds, rounded up: for `Retry-After`.
    #[must_use]
    pub const fn seconds_up(self) -> u64 {
        self.0.div_ceil(SECOND)
    }
}

impl Time {
    fn written(self) -> [u8; 24] {
        // Howard Hinnant's civil_from_days, for years from 1970 only: this is on the path of
        // every answer, and a calendar library is ten times slower here.
        let (days, of_day) = (self.0 / DAY + 719_468, self.0 % DAY);
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute) = (of_day / HOUR, of_day % HOUR / MINUTE);
        let (second, ms) = (of_day % MINUTE / SECOND, of_day % SECOND);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, hour),
            (14..16, minute),
            (17..19, second),
            (20..23, ms),
        ];
        for (places, mut number) in fields {
            for place in text[places].iter_mut().rev() {
                // The remainder is one digit.
                *place = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        text
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.written()))
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ascii(&self.written()))
    }
}

impl FromStr for Time {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: ParseError =
            ParseError::new("must be a time like 2026-11-24T10:35:00.000Z, from 1970 on");
        let time: jiff::Timestamp = text.parse().map_err(|_| EXPECTED)?;
        let ms = u64::try_from(time.as_millisecond()).map_err(|_| EXPECTED)?;
        if ms > Self::MAX.0 { Err(EXPECTED) } else { Ok(Self(ms)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")];
        match units.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: ParseError = ParseError::new(
            "must be a whole number and a unit of ms, s, m, h or d, like 15m, and not above 36500d",
        );
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "ms" => 1,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return Err(EXPECTED),
        };
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        match number.checked_mul(unit) {
            Some(ms) if ms <= 36_500 * DAY => Ok(Self(ms)),
            _ => Err(EXPECTED),
        }
    }
}

serde_as_text!(Span);
serde_from_text!(Time);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_the_calendar_has_it(ms in 0..=Time::MAX.ms()) {
            let written = Time::from_ms(ms).to_string();
            let calendar = jiff::Timestamp::from_millisecond(ms.cast_signed()).unwrap();
            prop_assert_eq!(&written, &format!("{calendar:.3}"));
            prop_assert_eq!(written.parse::<Time>().unwrap(), Time::from_ms(ms));
        }

        #[test]
        fn a_span_is_read_as_it_was_written(ms in 0..=36_500 * DAY) {
            let span = Span::from_ms(ms);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(Time::from_ms(u64::MAX), Time::MAX);
        assert_eq!(Time::MAX.plus(Span::from_ms(u64::MAX)), Time::MAX);
        assert_eq!(Time::ZERO.since(Time::MAX), Span::ZERO);
        assert_eq!(Span::from_hours(u64::MAX).ms(), u64::MAX);
    }

    #[test]
    fn spans_are_a_number_and_a_unit() {
        assert_eq!("15m".parse(), Ok(Span::from_minutes(15)));
        assert_eq!("3d".parse(), Ok(Span::from_hours(72)));
        for wrong in ["", "15", "m", "-1m", "1.5h", "1w", "15 m", "99999999999999999999d", "36501d"]
        {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
