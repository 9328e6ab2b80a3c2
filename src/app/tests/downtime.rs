//! Time that passes while the server is down: schedules catch up as configured.

use std::sync::Arc;

use super::*;
use crate::engine::workflow;
use crate::engine::{CatchUp, Overlap, Schedule, ScheduleAsk};
use crate::types::Time;

const REPORT: &str = "abide: 1
workflow: report
first: write
steps:
  write: { by: [owner], next: { end: written } }
";

const BEGIN: &str = "2030-01-07T09:30:00Z";

/// The application as it starts at a time, once all due timers have fired.
async fn start(store: &Arc<Memory>, at: Time) -> TestApp {
    let opened = opened(store.clone(), rules(), Some(at)).await;
    let house = TestApp { app: opened.app, store: Arc::clone(store) };
    house.advance(Span::ZERO).await;
    house
}

/// A schedule for every hour, with the server down from half past nine on for this long. Returns
/// the number of starts, and the schedule then.
async fn down(overlap: Overlap, catch_up: CatchUp, span: Span) -> (usize, Schedule) {
    let begin: Time = BEGIN.parse().unwrap();
    let store = Arc::new(Memory::new());
    let house = start(&store, begin).await;
    house.register("rita").await;
    let definition = Arc::new(workflow::read(REPORT).unwrap().definition);
    let source = Arc::from(REPORT);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
    let ask = ScheduleAsk {
        workflow: "report".parse().unwrap(),
        cron: "0 * * * *".to_owned(),
        zone: "UTC".to_owned(),
        input: serde_json::Map::new(),
        owner: Some(name("rita")),
        overlap,
        catch_up,
    };
    let made = house.run(&Actor::System, Command::CreateSchedule(Box::new(ask))).await.unwrap();
    let Outcome::Schedule(schedule) = made else { panic!("a schedule was made") };
    house.app.close().await;
    let house = start(&store, begin.plus(span)).await;
    let started = house.count("abide.transaction.started");
    let schedule = house.app.schedule(schedule.id).unwrap();
    house.app.close().await;
    (started, schedule)
}

#[tokio::test]
async fn what_a_schedule_missed_is_made_up_for_as_it_says() {
    let hours = Span::from_hours(5);
    for (overlap, catch_up, started, queued, why_not) in [
        (Overlap::Allow, CatchUp::None, 0, 0, Some("missed")),
        (Overlap::Allow, CatchUp::One, 1, 0, None),
        (Overlap::Allow, CatchUp::All, 5, 0, None),
        (Overlap::Skip, CatchUp::None, 0, 0, Some("missed")),
        (Overlap::Skip, CatchUp::One, 1, 0, None),
        (Overlap::Skip, CatchUp::All, 1, 0, Some("skipped")),
        (Overlap::Queue, CatchUp::None, 0, 0, Some("missed")),
        (Overlap::Queue, CatchUp::One, 1, 0, None),
        (Overlap::Queue, CatchUp::All, 1, 4, Some("queued")),
    ] {
        let (count, schedule) = down(overlap, catch_up, hours).await;
        let why = schedule.last.as_ref().unwrap().why_not.as_deref();
        let found = (count, schedule.queued, why);
        assert_eq!(found, (started, queued, why_not), "{overlap:?}, {catch_up:?}");
        let next: Time = "2030-01-07T15:00:00Z".parse().unwrap();
        assert_eq!(schedule.next_at, Some(next), "{overlap:?}, {catch_up:?}");
    }
}

#[tokio::test]
async fn what_was_missed_longer_than_a_day_ago_is_left_out() {
    let (count, schedule) = down(Overlap::Allow, CatchUp::All, Span::from_hours(30)).await;
    assert_eq!(count, 24);
    assert_eq!(schedule.next_at, Some("2030-01-08T16:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn a_restart_is_no_downtime() {
    let a_moment = Span::from_minutes(30).ms() + 40_000;
    let (count, _) = down(Overlap::Skip, CatchUp::None, Span::from_ms(a_moment)).await;
    assert_eq!(count, 1);
}

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn schedule(house: &TestApp, cron: &str, input: &str, overlap: Overlap) -> Schedule {
    schedule_in(house, "UTC", cron, input, overlap).await
}

async fn schedule_in(
    house: &TestApp,
    zone: &str,
    cron: &str,
    input: &str,
    overlap: Overlap,
) -> Schedule {
    let ask = ScheduleAsk {
        workflow: "report".parse().unwrap(),
        cron: cron.to_owned(),
        zone: zone.to_owned(),
        input: serde_json::Map::from_iter([("text".to_owned(), input.into())]),
        owner: Some(name("rita")),
        overlap,
        catch_up: CatchUp::All,
    };
    let made = house.run(&Actor::System, Command::CreateSchedule(Box::new(ask))).await.unwrap();
    let Outcome::Schedule(schedule) = made else { panic!("a schedule was made") };
    *schedule
}

const LARGE: &str = "abide: 1
workflow: report
input: { type: object, properties: { text: { type: string } } }
first: write
steps:
  write: { by: [owner], timeout: { after: 6h, next: { cancel: late } }, next: { end: written } }
";

/// Starts that together are too large for one commit are made in several, and timers that are due
/// between them and behind them fire in their turn.
#[tokio::test]
async fn more_than_a_commit_of_missed_starts_keeps_nothing_behind_them() {
    let begin: Time = BEGIN.parse().unwrap();
    let store = Arc::new(Memory::new());
    let house = start(&store, begin).await;
    house.register("rita").await;
    publish(&house, LARGE).await;
    let made = schedule(&house, "* * * * *", &"x".repeat(12_000), Overlap::Allow).await;
    house.app.close().await;
    let house = start(&store, begin.plus(Span::from_hours(7))).await;
    assert_eq!(house.count("abide.transaction.started"), 420);
    // The deadline of the first ones was over as well.
    house.advance(Span::from_hours(6)).await;
    assert_eq!(house.count("abide.transaction.started"), 780);
    assert_eq!(house.count("abide.transaction.ended"), 420);
    let next = house.app.schedule(made.id).unwrap().next_at.unwrap();
    assert!(house.app.now() < next);
    house.app.close().await;
}

/// Starts that waited for one another are all made, also those that end at once.
#[tokio::test]
async fn queued_starts_that_end_at_once_are_all_made() {
    let begin: Time = BEGIN.parse().unwrap();
    let store = Arc::new(Memory::new());
    let house = start(&store, begin).await;
    house.register("rita").await;
    publish(&house, LARGE).await;
    let made = schedule(&house, "0 * * * *", "", Overlap::Queue).await;
    house.app.close().await;
    let house = start(&store, begin.plus(Span::from_hours(5))).await;
    let waiting = house.app.schedule(made.id).unwrap();
    assert_eq!(waiting.queued, 4);
    let at_once =
        LARGE.replace("by: [owner], timeout: { after: 6h, next: { cancel: late } }, ", "");
    publish(&house, &at_once).await;
    let tx = waiting.current.unwrap();
    let cancel = Command::Cancel { tx, reason: None, if_match: None };
    house.run(&Actor::System, cancel).await.unwrap();
    house.advance(Span::ZERO).await;
    let schedule = house.app.schedule(made.id).unwrap();
    assert_eq!((schedule.queued, schedule.last.unwrap().why_not), (0, None));
    assert_eq!(house.count("abide.transaction.started"), 5);
    house.app.close().await;
}

/// In Berlin the clocks go from 2:00 to 3:00 on 2030-03-31, and from 3:00 to 2:00 on 2030-10-27.
#[tokio::test]
async fn schedule_loses_no_start_in_the_nights_in_which_the_clocks_change() {
    for (begin, cron, starts) in [
        ("2030-03-30T12:00:00Z", "0,30 2 * * *", 2),
        ("2030-03-30T12:00:00Z", "*/15 * * * *", 96),
        ("2030-03-30T12:00:00Z", "*/15 2 * * *", 0),
        ("2030-10-26T12:00:00Z", "0,30 2 * * *", 2),
        ("2030-10-26T12:00:00Z", "*/15 * * * *", 96),
        ("2030-10-26T12:00:00Z", "*/15 2 * * *", 8),
    ] {
        let store = Arc::new(Memory::new());
        let house = start(&store, begin.parse().unwrap()).await;
        house.register("rita").await;
        publish(&house, LARGE).await;
        let made = schedule_in(&house, "Europe/Berlin", cron, "", Overlap::Allow).await;
        house.advance(Span::from_hours(24)).await;
        let found = house.count("abide.transaction.started");
        assert_eq!(found, starts, "{cron} from {begin}");
        let last = house.app.schedule(made.id).unwrap().last;
        assert!(last.is_none_or(|last| last.why_not.is_none()), "{cron} from {begin}");
        house.app.close().await;
    }
}
