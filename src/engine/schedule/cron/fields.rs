//! The five fields of a cron expression: minute, hour, day of month, month, day of week.

use jiff::ToSpan as _;
use jiff::civil::Date;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Description of a field: its name, its least and greatest number, and the names of its numbers,
/// from the least on.
struct Field {
    name: &'static str,
    least: u8,
    greatest: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", least: 0, greatest: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, greatest: 23, names: &[] };
const DAY: Field = Field { name: "day of month", least: 1, greatest: 31, names: &[] };
const MONTH: Field = Field { name: "month", least: 1, greatest: 12, names: &MONTHS };
// 7 is Sunday, too.
const WEEKDAY: Field = Field { name: "day of week", least: 0, greatest: 7, names: &WEEKDAYS };

/// Numbers of a field, one bit each.
type Set = u64;

/// The five parsed fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: Set,
    hours: Set,
    days: Set,
    last_day: bool,
    months: Set,
    weekdays: Set,
    /// Weekdays that count only as the last of the month.
    last_weekdays: Set,
    /// Weekdays that count only as the n-th of the month: bits from `8 * n` on.
    nth_weekdays: Set,
    /// True if both the day of month and the day of week must match; otherwise one is enough.
    both_days: bool,
    /// True if the minute or the hour begins with `*`: the expression then follows the local clock;
    /// otherwise each time counts once.
    pub(super) is_wildcard: bool,
}

impl Fields {
    /// Parses five fields.
    ///
    /// # Errors
    /// A description of the fault.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(
                "must have five fields: minute, hour, day of month, month, day of week".to_owned()
            );
        };
        let (mut last_day, mut last_weekdays, mut nth_weekdays) = (false, 0, 0);
        let days = DAY.read(day, &mut |item| {
            last_day |= item == "L";
            item == "L"
        })?;
        let weekdays = WEEKDAY.read(weekday, &mut |item| {
            let one = |text| WEEKDAY.number(text).ok().map(|day| 1 << (day % 7));
            if let Some(day) = item.strip_suffix('L').and_then(one) {
                last_weekdays |= day;
            } else if let Some((day, nth)) = item.split_once('#')
                && let (Some(day), Ok(nth @ 1..=5)) = (one(day), nth.parse::<u32>())
            {
                nth_weekdays |= day << (8 * nth);
            } else {
                return false;
            }
            true
        })?;
        let starred = |field: &str| field.starts_with('*');
        Ok(Self {
            minutes: MINUTE.read(minute, &mut |_| false)?,
            hours: HOUR.read(hour, &mut |_| false)?,
            days,
            last_day,
            months: MONTH.read(month, &mut |_| false)?,
            // Sunday has two numbers.
            weekdays: weekdays | ((weekdays >> 7) & 1),
            last_weekdays,
            nth_weekdays,
            both_days: starred(day) || starred(weekday),
            is_wildcard: starred(minute) || starred(hour),
        })
    }

    /// Returns whether a date matches.
    pub(super) fn match_date(&self, date: Date) -> bool {
        if !self.match_month(date) {
            return false;
        }
        let day = self.match_day(date);
        let weekday = self.match_weekday(date);
        if self.both_days { day && weekday } else { day || weekday }
    }

    /// Returns whether the month of a date matches.
    pub(super) fn match_month(&self, date: Date) -> bool {
        has(self.months, date.month())
    }

    fn match_day(&self, date: Date) -> bool {
        has(self.days, date.day()) || self.last_day && date.day() == date.days_in_month()
    }

    fn match_weekday(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        let nth = (date.day() + 6) / 7;
        has(self.weekdays, weekday)
            || has(self.last_weekdays, weekday) && date.day() + 7 > date.days_in_month()
            || has(self.nth_weekdays, 8 * nth + weekday)
    }

    /// Returns the times of a day as hour and minute, in order.
    pub(super) fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| {
            (0..60).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute))
        })
    }
}

fn has(set: Set, number: i8) -> bool {
    (set >> number) & 1 == 1
}

impl Field {
    /// Parses a list. `special` handles an item that is no number, range or step, and returns
    /// whether it knows the item.
    fn read(&self, text: &str, special: &mut dyn FnMut(&str) -> bool) -> Result<Set, String> {
        let text = text.to_ascii_uppercase();
        let mut set = 0;
        for item in text.split(',') {
            if !special(item) {
                set |= self.item(item).map_err(|what| {
                    format!("the field {} has {:?}: {what}", self.name, item.to_ascii_lowercase())
                })?;
            }
        }
        Ok(set)
    }

    /// Parses `*`, `5`, `1-5`, and each with a step: `*/2`, `5/10`, `1-5/2`.
    fn item(&self, item: &str) -> Result<Set, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.greatest),
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            None if step.is_some() => (self.number(range)?, self.greatest),
            None => (self.number(range)?, self.number(range)?),
        };
        if from > to {
            return Err("a range goes from the lesser to the greater".to_owned());
        }
        let step = match step.map(number_of) {
            None => 1,
            Some(Some(step @ 1..)) => usize::from(step),
            Some(_) => return Err("a step is a number from 1 to 255".to_owned()),
        };
        Ok((from..=to).step_by(step).fold(0, |set, number| set | 1 << number))
    }

    fn number(&self, text: &str) -> Result<u8, String> {
        let place = self.names.iter().position(|name| *name == text);
        let named =
            place.and_then(|place| u8::try_from(place).ok()).map(|place| place + self.least);
        let range = self.least..=self.greatest;
        named.or_else(|| number_of(text)).filter(|number| range.contains(number)).ok_or_else(|| {
            let words = match self.names {
                [first, .., last] => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            let (from, to) = (self.least, self.greatest);
            format!("it takes *, numbers from {from} to {to}{words}, ranges, lists and steps")
        })
    }
}

fn number_of(text: &str) -> Option<u8> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Returns the first day of the month after a date's month.
pub(super) fn next_month(date: Date) -> Option<Date> {
    date.first_of_month().checked_add(1.month()).ok()
}
