//! The limit of one slice of work that is spread over several commits.

use crate::engine::SliceLimit;

#[cfg(test)]
pub(super) use counted::SliceTime;
#[cfg(not(test))]
pub(super) use timed::SliceTime;

#[cfg(not(test))]
mod timed {
    use std::time::{Duration, Instant};

    use super::SliceLimit;

    /// Time that sliced work decides in one commit; staging the commit takes about as long.
    const SLICE_TIME: Duration = Duration::from_millis(2);

    /// A slice that ends after a time.
    #[derive(Debug)]
    pub(in crate::app) struct SliceTime(Instant);

    impl SliceTime {
        pub(in crate::app) fn begin() -> Self {
            Self(Instant::now())
        }
    }

    impl SliceLimit for SliceTime {
        fn is_over(&self) -> bool {
            self.0.elapsed() >= SLICE_TIME
        }
    }
}

#[cfg(test)]
mod counted {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::SliceLimit;

    /// Number of pieces of work after which a slice ends.
    const PIECES_MAX: usize = 4;

    /// A slice that ends after some pieces of work, so that no test depends on the machine's speed.
    #[derive(Debug, Default)]
    pub(in crate::app) struct SliceTime(AtomicUsize);

    impl SliceTime {
        pub(in crate::app) fn begin() -> Self {
            Self::default()
        }
    }

    impl SliceLimit for SliceTime {
        fn is_over(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) >= PIECES_MAX
        }
    }
}
