//! Dead letters, as the application keeps them.

use super::*;
use crate::engine::{GivenUp, Replay, Webhook, WebhookAsk, WebhookNews};
use crate::types::WebhookId;

async fn tell(house: &TestApp, news: WebhookNews) -> Webhook {
    let noted = house.run(&Actor::System, Command::NoteWebhook(Box::new(news))).await.unwrap();
    let Outcome::Webhook(webhook) = noted else { panic!("it was noted") };
    *webhook
}

fn letters(house: &TestApp, id: WebhookId) -> usize {
    let range = KeyRange::prefix(&Key::dead_letters_of(id));
    house.store.scan(View::Staged, &range, Order::Ascending, 200).unwrap().rows.len()
}

#[tokio::test]
async fn dead_letters_go_with_their_webhook() {
    let house = TestApp::new().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let ask = WebhookAsk { url: "http://127.0.0.1:9".to_owned(), types: vec!["*".to_owned()] };
        let made = house.run(&Actor::System, Command::CreateWebhook(ask)).await.unwrap();
        let Outcome::Webhook(webhook) = made else { panic!("one was made") };
        ids.push(webhook.id);
    }
    let news = |id, dead: Option<u64>, replayed| WebhookNews {
        id,
        after: None,
        lags: Vec::new(),
        told: 0,
        error: Some("the receiver answers 400".to_owned()),
        dead: dead.map(|number| GivenUp {
            number,
            event: format!("{number:020x}"),
            body: "{}".to_owned(),
        }),
        replayed,
        gone: false,
    };
    // An event that is given up again, after a crash, is one dead letter.
    for number in [1, 2, 2, 3, 1] {
        tell(&house, news(ids[0], Some(number), None)).await;
    }
    tell(&house, news(ids[1], Some(1), None)).await;
    assert_eq!((letters(&house, ids[0]), letters(&house, ids[1])), (3, 1));
    // One is accepted after all; another one is not, and is not to be replayed any more.
    assert_eq!(tell(&house, news(ids[0], None, Some((2, true)))).await.dead, [1, 3]);
    let replay = Command::ReplayDeadLetter { id: ids[0], what: Replay::Letter(3) };
    house.run(&Actor::System, replay).await.unwrap();
    assert!(house.app.dead_letters(ids[0], 10, 2).unwrap().0[0].replay);
    assert_eq!(tell(&house, news(ids[0], None, Some((3, false)))).await.dead, [1, 3]);
    assert!(!house.app.dead_letters(ids[0], 10, 2).unwrap().0[0].replay);
    house.run(&Actor::System, Command::DeleteWebhook { id: ids[0] }).await.unwrap();
    assert_eq!((letters(&house, ids[0]), letters(&house, ids[1])), (0, 1));
}

/// After a day the key before the last one signs no more, and a second change leaves two at most.
#[tokio::test]
async fn the_key_before_signs_for_a_day() {
    let house = TestApp::new().await;
    let ask = WebhookAsk { url: "http://127.0.0.1:9".to_owned(), types: vec!["*".to_owned()] };
    let made = house.run(&Actor::System, Command::CreateWebhook(ask)).await.unwrap();
    let Outcome::Webhook(webhook) = made else { panic!("one was made") };
    let keys = || {
        let keys = house.app.webhook_keys(&house.app.webhook(webhook.id).unwrap());
        keys.iter().map(crate::app::signature::SigningKey::to_standard).collect::<Vec<_>>()
    };
    let key = |generation| house.app.webhook_key(webhook.id, generation).to_standard();
    assert_eq!(keys(), [key(0)]);
    for generation in [1, 2] {
        house.run(&Actor::System, Command::RotateWebhook { id: webhook.id }).await.unwrap();
        assert_eq!(keys(), [key(generation), key(generation - 1)]);
    }
    house.advance(Span::from_hours(23)).await;
    assert_eq!(keys().len(), 2);
    house.advance(Span::from_hours(1)).await;
    assert_eq!(keys(), [key(2)]);
}
