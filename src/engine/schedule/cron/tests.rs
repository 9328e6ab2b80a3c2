//! Times of cron expressions, checked against known dates and another implementation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

fn times(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let from: Time = from.parse().unwrap();
    let cron = Cron::new(text, zone, from).unwrap();
    let times = std::iter::successors(cron.next(from), |at| cron.next(*at));
    times.take(count).map(|at| at.to_string()).collect()
}

#[test]
fn cron_follows_the_calendar_of_its_zone() {
    assert_eq!(
        times("30 9 1 * *", "Europe/Berlin", "2030-03-01T08:30:00Z", 2),
        ["2030-04-01T07:30:00.000Z", "2030-05-01T07:30:00.000Z"]
    );
    assert_eq!(times("0 0 29 2 *", "UTC", "2029-01-01T00:00:00Z", 1), ["2032-02-29T00:00:00.000Z"]);
}

/// In Berlin the clocks go from 2:00 to 3:00 on 2030-03-31.
#[test]
fn cron_makes_up_for_fixed_times_that_the_clocks_leave_out() {
    let spring = |text| times(text, "Europe/Berlin", "2030-03-30T12:00:00Z", 3);
    let (gap_end, next_day) = ("2030-03-31T01:00:00.000Z", "2030-04-01T00:30:00.000Z");
    assert_eq!(spring("30 2 * * *"), [gap_end, next_day, "2030-04-02T00:30:00.000Z"]);
    // Both happen, each at a separate time.
    assert_eq!(
        spring("0,30 2 * * *"),
        [gap_end, "2030-03-31T01:00:00.001Z", "2030-04-01T00:00:00.000Z"]
    );
    assert_eq!(
        spring("0 2,3 * * *"),
        [gap_end, "2030-03-31T01:00:00.001Z", "2030-04-01T00:00:00.000Z"]
    );
    // These follow the local clock.
    assert_eq!(spring("*/30 2 * * *")[0], "2030-04-01T00:00:00.000Z");
    assert_eq!(
        times("*/30 * * * *", "Europe/Berlin", "2030-03-31T00:15:00Z", 3),
        ["2030-03-31T00:30:00.000Z", gap_end, "2030-03-31T01:30:00.000Z"]
    );
}

/// In Berlin the clocks go from 3:00 to 2:00 on 2030-10-27.
#[test]
fn cron_does_fixed_times_once_and_intervals_always_where_an_hour_comes_twice() {
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2030-10-26T12:00:00Z", 2),
        ["2030-10-27T00:30:00.000Z", "2030-10-28T01:30:00.000Z"]
    );
    assert_eq!(
        times("*/30 * * * *", "Europe/Berlin", "2030-10-27T00:00:00Z", 4),
        [
            "2030-10-27T00:30:00.000Z",
            "2030-10-27T01:00:00.000Z",
            "2030-10-27T01:30:00.000Z",
            "2030-10-27T02:00:00.000Z"
        ]
    );
    // The clocks of Lord Howe Island go back by half an hour, from 2:00 to 1:30.
    assert_eq!(
        times("*/20 1,2 * * *", "Australia/Lord_Howe", "2026-04-04T14:30:00Z", 4),
        [
            "2026-04-04T14:40:00.000Z",
            "2026-04-04T15:10:00.000Z",
            "2026-04-04T15:30:00.000Z",
            "2026-04-04T15:50:00.000Z"
        ]
    );
    // The clocks of Havana go back over midnight: Saturday's last hour comes twice.
    assert_eq!(
        times("*/30 0 * * *", "America/Havana", "2030-11-03T03:50:00Z", 4),
        [
            "2030-11-03T04:00:00.000Z",
            "2030-11-03T04:30:00.000Z",
            "2030-11-03T05:00:00.000Z",
            "2030-11-03T05:30:00.000Z"
        ]
    );
}

#[test]
fn cron_knows_the_last_day_and_the_nth_weekday() {
    let year = |text| {
        times(text, "UTC", "2029-11-15T00:00:00Z", 4).join(" ").replace("T00:00:00.000Z", "")
    };
    assert_eq!(year("0 0 L * *"), "2029-11-30 2029-12-31 2030-01-31 2030-02-28");
    assert_eq!(year("0 0 * * 5L"), "2029-11-30 2029-12-28 2030-01-25 2030-02-22");
    assert_eq!(year("0 0 * * FRI#2"), "2029-12-14 2030-01-11 2030-02-08 2030-03-08");
    // A fifth Monday of February comes every 28 years, except around 2100.
    assert_eq!(year("0 0 * 2 mon#5"), "2044-02-29 2072-02-29 2112-02-29 2140-02-29");
    // One of the two fields is enough, unless one of them begins with a star.
    assert_eq!(year("0 0 1 12 sat"), "2029-12-01 2029-12-08 2029-12-15 2029-12-22");
    assert_eq!(year("0 0 */1 12 sat,0-2/2,7"), "2029-12-01 2029-12-02 2029-12-04 2029-12-08");
}

#[test]
fn cron_refuses_what_is_not_documented_and_names_the_field() {
    let now = Time::from_ms(1_900_000_000_000);
    let fault = |text: &str, zone: &str| Cron::new(text, zone, now).unwrap_err();
    for (text, field) in [
        ("60 * * * *", "minute"),
        ("x * * * *", "minute"),
        ("? * * * *", "minute"),
        ("1, * * * *", "minute"),
        ("+1 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("*/x * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("H * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* 5-3 * * *", "hour"),
        ("* 22-2 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * 32 * *", "day of month"),
        ("* * 15W * *", "day of month"),
        ("* * LW * *", "day of month"),
        ("* * L-3 * *", "day of month"),
        ("* * ? * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * JANUARY *", "month"),
        ("* * * L *", "month"),
        ("* * * * 8", "day of week"),
        ("* * * * L", "day of week"),
        ("* * * * FRIDAY", "day of week"),
        ("* * * * FRI-MON", "day of week"),
        ("* * * * 5#6", "day of week"),
        ("* * * * 5#0", "day of week"),
        ("* * * * 5#x", "day of week"),
    ] {
        let CronFault::Expression(what) = fault(text, "UTC") else { panic!("{text} is taken") };
        assert!(what.starts_with(&format!("the field {field} has ")), "{text}: {what}");
    }
    for text in ["", "* * * *", "* * * * * *", "@daily", &"1,".repeat(200)] {
        assert!(matches!(fault(text, "UTC"), CronFault::Expression(_)), "{text}");
    }
    assert_eq!(fault("* * * * *", "Europe/Nowhere"), CronFault::Zone);
    assert_eq!(fault("0 0 30 2 *", "UTC"), CronFault::Never);
    assert_eq!(fault("0 0 31 4,6,9,11 *", "UTC"), CronFault::Never);
}

/// Expressions in all zones around changes of the clocks, compared with cronsim: the output of
/// `tests/outside/cron_cases.py cases 1 620`.
#[test]
fn cron_agrees_with_another_implementation_in_all_zones() {
    let cases = include_str!("cases.txt");
    let (mut seen, mut wrong) = (0, Vec::new());
    for case in cases.lines() {
        let [text, zone, start, steps] = case.split('|').collect::<Vec<_>>()[..] else {
            panic!("no case: {case}");
        };
        let minute = |text: &str| text.parse::<u64>().unwrap();
        let start = minute(start);
        let mut at = start;
        let expected: Vec<u64> = steps
            .split(' ')
            .map(|step| {
                at += minute(step);
                at
            })
            .collect();
        let start = Time::from_ms(start * 60_000);
        let cron = Cron::new(text, zone, start).unwrap();
        let times = std::iter::successors(cron.next(start), |at| cron.next(*at));
        let mut found: Vec<u64> = Vec::new();
        for time in times {
            let time = time.ms() / 60_000;
            // The other implementation merges fixed times that coincide.
            if found.last() != Some(&time) {
                found.push(time);
            }
            if found.len() == expected.len() {
                break;
            }
        }
        seen += 1;
        if found != expected {
            wrong.push(format!("{case}: {found:?} for {expected:?}"));
        }
    }
    assert!(seen > 500, "{seen} cases");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}
