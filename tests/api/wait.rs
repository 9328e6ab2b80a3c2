//! Waiting on a fact: the pause between two looks at it.

use std::time::{Duration, Instant};

/// Between two looks.
pub(crate) async fn a_little() {
    let soon = tokio::time::Instant::now() + Duration::from_millis(50);
    tokio::time::sleep_until(soon).await;
}

/// Until `fact` holds.
pub(crate) async fn until<F>(what: &str, patience: Duration, fact: impl Fn() -> F)
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + patience;
    while !fact().await {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        a_little().await;
    }
}
