//! The data directory: opened with progress, closed with care.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::durable::{OpenProgress, Options};
use crate::store::{Durable, Store as _};

use super::CliError;
use super::config::{Config, DATA};
use super::verify::Bar;

/// Interval of progress lines in the log while opening takes long.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// In the data directory of a server with `--dev`: its clock was moved and its users registered
/// themselves, so it must never become a real one.
const DEV_MARK: &str = "dev";

/// Opens the store, and keeps apart what was made with `--dev` and what was not.
///
/// # Errors
/// One line that says which path, what is the matter, and what to do.
pub(super) async fn open(config: &Config) -> Result<Arc<Durable>, CliError> {
    let dir = &config.data;
    let mark = dir.join(DEV_MARK);
    let marked = mark.exists();
    if let Some(what) = made_otherwise(config) {
        return Err(CliError::Failed(format!("{}: {what}", dir.display())));
    }
    // The default is a directory in a directory that a first start may not find.
    if let (true, Some(parent)) = (dir == Path::new(DATA), dir.parent()) {
        let fail = |error| CliError::Failed(format!("{}: {error}", parent.display()));
        fs::create_dir_all(parent).map_err(fail)?;
    }
    let store = open_store(config).await?;
    if config.dev && !marked {
        if store.durable().get() > 0 {
            let what = "it was made without --dev; choose another directory to develop with";
            return Err(CliError::Failed(format!("{}: {what}", dir.display())));
        }
        let fail = |error| CliError::Failed(format!("{}: {error}", mark.display()));
        fs::write(&mark, "made by a server with --dev\n").map_err(fail)?;
    }
    Ok(store)
}

/// Why a directory that was made with `--dev` does not open without it.
pub(super) fn made_otherwise(config: &Config) -> Option<&'static str> {
    let is_marked = config.data.join(DEV_MARK).exists();
    let what = "it was used with --dev and opens only with it; choose another directory";
    (is_marked && !config.dev).then_some(what)
}

/// Opens the store, off the runtime's threads: recovery may take a while.
async fn open_store(config: &Config) -> Result<Arc<Durable>, CliError> {
    let memory = config.memory;
    let options = Options {
        staged_bytes_max: memory.staged_bytes(),
        overlay_bytes_max: memory.memtable_bytes(),
        apply_after_bytes: memory.merge_after_bytes(),
        sled_cache_bytes: memory.index_cache_bytes() as u64,
        ..Options::new(&config.data)
    };
    let opening = tokio::task::spawn_blocking(move || {
        let bar = Bar::new();
        let mut told = Instant::now();
        let opened = Durable::open_with(options, &mut |progress| {
            bar.show(progress);
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let OpenProgress { what, done, total } = progress;
                tracing::info!(done, total, "{what}");
            }
        });
        bar.end();
        opened
    });
    let opened = opening.await;
    let opened = opened.map_err(|error| CliError::Failed(format!("opening the store: {error}")))?;
    opened.map(Arc::new).map_err(|error| CliError::Failed(error.to_string()))
}

/// Closes the store: what is staged becomes durable and the index is brought up to date, so that
/// the next start has nothing to recover.
///
/// # Errors
/// That the store had failed.
pub(super) async fn close(store: Arc<Durable>) -> Result<(), CliError> {
    let Some(store) = Arc::into_inner(store) else {
        // Somebody still holds it: the next start recovers, as after a kill.
        tracing::warn!("the store is still in use and is left as it is");
        return Ok(());
    };
    let closing = tokio::task::spawn_blocking(move || store.close());
    let closed = closing.await;
    let closed = closed.map_err(|error| CliError::Failed(format!("closing the store: {error}")))?;
    closed.map_err(|error| CliError::Failed(error.to_string()))
}
