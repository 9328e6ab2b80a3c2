//! What happens at its time by itself.

use super::draft::{DecideError, UnitOfWork};
use super::state::{Timer, TimerOf};
use super::{EndReason, Event};

/// Lets one timer fire. What was used since the timer was set gets a new one instead: activity
/// moves no timer, so it costs no write of one. A timer of what is gone already does nothing.
pub(super) fn fire(draft: &mut UnitOfWork<'_>, timer: Timer) -> Result<(), DecideError> {
    // Taken away in any case; setting it anew comes after.
    draft.disarm(timer.clone());
    draft.begin_links();
    let happened = draft.events();
    lead(draft, &timer)?;
    if draft.events() == happened {
        // Nothing came of it: whatever set it anew, it would fire for ever and come to nothing.
        draft.disarm(timer);
    }
    Ok(())
}

/// Does what a timer is for.
fn lead(draft: &mut UnitOfWork<'_>, timer: &Timer) -> Result<(), DecideError> {
    let now = draft.moment.now;
    match timer.what.clone() {
        TimerOf::Session(id) => {
            let Some(session) = draft.session(id)? else { return Ok(()) };
            if session.timer_at != timer.due {
                return Ok(());
            }
            let due = session.idle_expires_at();
            if now < due {
                return draft.emit(Event::SessionRescheduled { session: id, due });
            }
            let reason =
                if now < session.expires_at { EndReason::Idle } else { EndReason::Expired };
            draft.emit(Event::SessionEnded { session: id, reason })
        }
        TimerOf::Stored(id) => {
            let Some(stored) = draft.stored(id)? else { return Ok(()) };
            if stored.timer_at != timer.due {
                return Ok(());
            }
            let due = stored.idle_expires_at();
            if now < due {
                return draft.emit(Event::StoredRescheduled { id, due });
            }
            draft.emit(Event::StoredEnded { id })
        }
        TimerOf::Link(hash) => draft.emit(Event::LinkEnded { hash }),
        TimerOf::Tx(id) => super::tx::fire(draft, id, timer.due),
        TimerOf::Schedule(id) => super::tasks::fire_schedule(draft, id, timer.due),
        TimerOf::Job(id) => super::tasks::fire_job(draft, id),
        TimerOf::Orphans(who, after) => super::tx::cancel_orphans(draft, who, after),
        TimerOf::Adopt(session, after) => super::tx::adopt_more(draft, session, after),
        TimerOf::EndVia(key, after) => super::keys::end_sessions_via(draft, key, after),
        TimerOf::Hold(id) => {
            let Some(hold) = draft.hold(id)?.cloned() else { return Ok(()) };
            if hold.expires_at == Some(timer.due) {
                super::ledger::expire(draft, &hold)?;
            }
            Ok(())
        }
    }
}
