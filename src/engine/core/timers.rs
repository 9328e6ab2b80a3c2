//! What happens at its time by itself.

use super::record::{Timer, TimerOf};
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{EndReason, SessionEvent, UserEvent};

/// Lets one timer fire. What was used since the timer was set gets a new one instead: activity
/// moves no timer, so it costs no write of one. A timer of what is gone already does nothing.
pub(in crate::engine) fn fire(unit: &mut UnitOfWork<'_>, timer: Timer) -> Result<(), DecideError> {
    // Taken away in any case; setting it anew comes after.
    unit.disarm(timer.clone());
    unit.begin_links();
    let happened = unit.events();
    lead(unit, &timer)?;
    if unit.events() == happened {
        // Nothing came of it: whatever set it anew, it would fire for ever and come to nothing.
        unit.disarm(timer);
    }
    Ok(())
}

/// Does what a timer is for.
fn lead(unit: &mut UnitOfWork<'_>, timer: &Timer) -> Result<(), DecideError> {
    let now = unit.context.now;
    match timer.what.clone() {
        TimerOf::Session(id) => {
            let Some(session) = unit.session(id)? else { return Ok(()) };
            if session.timer_at != timer.due {
                return Ok(());
            }
            let due = session.idle_expires_at();
            if now < due {
                return unit.emit(SessionEvent::Rescheduled { session: id, due });
            }
            let reason =
                if now < session.expires_at { EndReason::Idle } else { EndReason::Expired };
            unit.emit(SessionEvent::Ended { session: id, reason })
        }
        TimerOf::Stored(id) => {
            let Some(stored) = unit.stored(id)? else { return Ok(()) };
            if stored.timer_at != timer.due {
                return Ok(());
            }
            let due = stored.idle_expires_at();
            if now < due {
                return unit.emit(SessionEvent::ExternalRescheduled { id, due });
            }
            unit.emit(SessionEvent::ExternalEnded { id })
        }
        TimerOf::Link(hash) => unit.emit(UserEvent::LinkEnded { hash }),
        TimerOf::Tx(id) => crate::engine::transaction::fire(unit, id, timer.due),
        TimerOf::Schedule(id) => crate::engine::schedule::fire(unit, id, timer.due),
        TimerOf::Job(id) => crate::engine::bulk::fire(unit, id),
        TimerOf::Orphans(who, after) => {
            crate::engine::transaction::cancel_orphans(unit, who, after)
        }
        TimerOf::Adopt(session, after) => {
            crate::engine::transaction::adopt_more(unit, session, after)
        }
        TimerOf::EndVia(key, after) => crate::engine::api_key::end_sessions_via(unit, key, after),
        TimerOf::Hold(id) => {
            let Some(hold) = unit.hold(id)?.cloned() else { return Ok(()) };
            if hold.expires_at == Some(timer.due) {
                crate::engine::ledger::expire(unit, &hold)?;
            }
            Ok(())
        }
    }
}
