//! The signal that ends the server, heard by everything that runs.

use tokio::sync::watch;

/// Gives the signal, once and for all. Dropping it gives the signal too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Receives the signal.
#[derive(Clone, Debug)]
pub struct ShutdownSignal(watch::Receiver<bool>);

impl ShutdownSignal {
    /// A signal that was not given yet.
    #[must_use]
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Resolves when the signal is given; at once if it was given before.
    pub async fn wait(&self) {
        // An error says that the stopper is gone: nobody could stop the server any more, so it
        // stops.
        drop(self.0.clone().wait_for(|given| *given).await);
    }

    /// Returns whether the signal was given.
    #[must_use]
    pub fn given(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl ShutdownTrigger {
    /// Gives the signal.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}
