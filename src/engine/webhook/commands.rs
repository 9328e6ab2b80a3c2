//! Commands of webhooks: subscriptions of other services to events, the progress of each delivery,
//! and dead letters.

use serde_json::json;

use super::record::NOTED;
use crate::engine::core::record::{Record, RecordKey};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{
    DeadLetter, Event, GivenUp, InputError, OLD_KEY_LIFE, Outcome, Refusal, Replay, Webhook,
    WebhookAsk, WebhookNews,
};
use crate::types::WebhookId;

/// Maximum number of webhooks: each has a delivery of its own.
const WEBHOOKS_MAX: u64 = 100;

/// Maximum number of event-type patterns of one webhook.
const TYPES_MAX: usize = 32;

/// Maximum length of an address and of a pattern, in bytes.
const TEXT_BYTES_MAX: usize = 2048;

/// Maximum number of dead letters of one webhook; it stops when it reaches this number.
const DEAD_MAX: usize = 1000;

fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Creates a webhook. It receives the events from now on.
pub(in crate::engine) fn create(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ask: &WebhookAsk,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let mut errors = Vec::new();
    let http = ask.url.starts_with("http://") || ask.url.starts_with("https://");
    if !http || ask.url.len() > TEXT_BYTES_MAX {
        let message = "must be an address with http or https";
        errors.push(InputError::new("/url", "invalid-value", message));
    }
    if ask.types.is_empty() || ask.types.len() > TYPES_MAX {
        let message = format!("must name 1 to {TYPES_MAX} types of events");
        errors.push(InputError::new("/types", "out-of-range", message));
    }
    for (number, pattern) in ask.types.iter().enumerate() {
        if !is_pattern(pattern) {
            let message = "must be a type like order.paid, or the beginning of some and *";
            errors.push(InputError::new(&format!("/types/{number}"), "invalid-value", message));
        }
    }
    if !errors.is_empty() {
        return Err(Refusal::InvalidInput(errors).into());
    }
    if unit.count(&RecordKey::WebhookCount)? >= WEBHOOKS_MAX {
        let max = usize::try_from(WEBHOOKS_MAX).unwrap_or(usize::MAX);
        return Err(Refusal::LimitReached { what: "webhooks", max }.into());
    }
    let webhook = Webhook {
        id: WebhookId::new(unit.mint()),
        url: ask.url.clone(),
        types: ask.types.clone(),
        generation: 0,
        old_key_until: None,
        // After all events of this commit.
        after: format!("{:016x}ffff", unit.context.revision.get()),
        lags: Vec::new(),
        told: 0,
        error: None,
        dead: Vec::new(),
        replay_to: None,
        stopped: false,
        created_at: unit.context.now,
    };
    unit.recount(RecordKey::WebhookCount, true)?;
    tell(unit, "abide.webhook.created", &webhook)?;
    Ok(keep(unit, webhook))
}

/// Gives a webhook a new key; the previous one signs too for a day.
pub(in crate::engine) fn rotate(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: WebhookId,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let mut webhook = found(unit, id)?;
    webhook.generation += 1;
    webhook.old_key_until = Some(unit.context.now.plus(OLD_KEY_LIFE));
    tell(unit, "abide.webhook.rotated", &webhook)?;
    Ok(keep(unit, webhook))
}

/// Deletes a webhook with its dead letters.
pub(in crate::engine) fn delete(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: WebhookId,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let webhook = found(unit, id)?;
    unit.recount(RecordKey::WebhookCount, false)?;
    tell(unit, "abide.webhook.deleted", &webhook)?;
    for number in &webhook.dead {
        unit.delete(RecordKey::DeadLetter((id, *number)));
    }
    unit.delete(RecordKey::Webhook(id));
    Ok(Outcome::Done)
}

/// Marks one dead letter or all of them for delivery, and resumes a stopped webhook.
pub(in crate::engine) fn replay(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: WebhookId,
    what: Replay,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let mut webhook = found(unit, id)?;
    let mut kind = "abide.webhook.replayed";
    match what {
        Replay::Letter(number) => {
            let none = || Refusal::NotFound("dead letter");
            let mut letter = unit.dead_letter((id, number))?.cloned().ok_or_else(none)?;
            letter.replay = true;
            unit.put(RecordKey::DeadLetter((id, number)), Record::DeadLetter(letter));
        }
        // However many dead letters there are, and however long: the commit writes only the time.
        Replay::Letters => webhook.replay_to = Some(unit.context.now),
        Replay::Nothing => kind = "abide.webhook.resumed",
    }
    webhook.stopped = false;
    tell(unit, kind, &webhook)?;
    Ok(keep(unit, webhook))
}

/// Records the progress of a webhook's delivery. Only the server itself may do so.
pub(in crate::engine) fn note(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    news: &WebhookNews,
) -> Result<Outcome, DecideError> {
    resolved.require_system("the server itself does this")?;
    let mut webhook = found(unit, news.id)?;
    if let Some(after) = &news.after {
        webhook.after.clone_from(after);
        webhook.lags.clone_from(&news.lags);
    }
    webhook.told = webhook.told.saturating_add(news.told);
    webhook.error.clone_from(&news.error);
    if let Some(GivenUp { number, event, body }) = &news.dead {
        let number = *number;
        let letter = DeadLetter {
            number,
            event: event.clone(),
            body: body.clone(),
            error: news.error.clone().unwrap_or_default(),
            at: unit.context.now,
            replay: false,
        };
        if !webhook.dead.contains(&number) {
            webhook.dead.push(number);
        }
        unit.put(RecordKey::DeadLetter((news.id, number)), Record::DeadLetter(letter));
        webhook.stopped |= webhook.dead.len() >= DEAD_MAX;
    }
    if let Some((number, taken)) = news.replayed
        && let Some(letter) = unit.dead_letter((news.id, number))?.cloned()
    {
        if taken {
            unit.delete(RecordKey::DeadLetter((news.id, number)));
            webhook.dead.retain(|kept| *kept != number);
        } else {
            // A replay that fails is not repeated.
            let error = news.error.clone().unwrap_or_default();
            let letter = DeadLetter { replay: false, error, at: unit.context.now, ..letter };
            unit.put(RecordKey::DeadLetter((news.id, number)), Record::DeadLetter(letter));
        }
    }
    webhook.stopped |= news.gone;
    // Every commit needs an event; no webhook receives this one.
    unit.emit(Event::Notice { kind: NOTED, data: json!({ "webhook": news.id }) })?;
    Ok(keep(unit, webhook))
}

fn found(unit: &UnitOfWork<'_>, id: WebhookId) -> Result<Webhook, DecideError> {
    let webhook = unit.webhook(id)?.ok_or(Refusal::NotFound("webhook"))?;
    Ok((**webhook).clone())
}

fn tell(
    unit: &mut UnitOfWork<'_>,
    kind: &'static str,
    webhook: &Webhook,
) -> Result<(), DecideError> {
    let data = json!({ "webhook": webhook.id, "types": webhook.types });
    unit.emit(Event::Notice { kind, data })
}

fn keep(unit: &mut UnitOfWork<'_>, webhook: Webhook) -> Outcome {
    let webhook = Box::new(webhook);
    unit.put(RecordKey::Webhook(webhook.id), Record::Webhook(webhook.clone()));
    Outcome::Webhook(webhook)
}
