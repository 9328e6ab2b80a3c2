//! Firing of timers.

use super::record::{Timer, TimerOf};
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{EndReason, SessionEvent, UserEvent};

/// Fires one timer. If its subject was used since the timer was set, the timer is set anew instead:
/// activity itself moves no timer, so it costs no timer write. A timer whose subject is gone does
/// nothing.
pub(in crate::engine) fn fire(unit: &mut UnitOfWork<'_>, timer: Timer) -> Result<(), DecideError> {
    // The timer is removed in any case; setting it anew comes later.
    unit.disarm(timer.clone());
    unit.begin_links();
    let happened = unit.events();
    run_timer_action(unit, &timer)?;
    if unit.events() == happened {
        // A timer without effect must not be set anew: it would fire for ever without effect.
        unit.disarm(timer);
    }
    Ok(())
}

/// Does the work of a timer.
fn run_timer_action(unit: &mut UnitOfWork<'_>, timer: &Timer) -> Result<(), DecideError> {
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
                crate::engine::ledger::release_expired(unit, &hold)?;
            }
            Ok(())
        }
    }
}
