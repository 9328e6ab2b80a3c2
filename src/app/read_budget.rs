//! Budget of one page of a read.

use std::time::{Duration, Instant};

/// Maximum number of bytes of one page of a list: the memory of one answer until its client has
/// received it. A page has at least one item.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Maximum number of rows that are examined for one page.
const ROWS_MAX: usize = 1000;

/// Maximum number of bytes that are examined for one page: some milliseconds of reading.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Maximum time of one page. The other limits end it long before, unless the disk is slow.
const TIME_MAX: Duration = Duration::from_millis(250);

/// Rest of the budget of a page. At least one row is examined.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBudget {
    rows: usize,
    bytes: usize,
    until: Instant,
    has_begun: bool,
}

impl ReadBudget {
    /// Returns the budget of a page that begins now.
    pub(super) fn of_page() -> Self {
        let until = Instant::now() + TIME_MAX;
        Self { rows: ROWS_MAX, bytes: BYTES_MAX, until, has_begun: false }
    }

    /// Spends the budget for one row of this size.
    pub(super) const fn spend(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.has_begun = true;
    }

    /// Returns whether the page must end.
    pub(super) fn is_spent(&self) -> bool {
        self.has_begun && (self.rows == 0 || self.bytes == 0 || Instant::now() >= self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_ends_by_rows_bytes_and_time_but_not_before_one_row() {
        let mut budget = ReadBudget::of_page();
        for _ in 0..ROWS_MAX {
            assert!(!budget.is_spent());
            budget.spend(1);
        }
        assert!(budget.is_spent(), "by rows");
        let mut budget = ReadBudget::of_page();
        budget.spend(BYTES_MAX - 1);
        assert!(!budget.is_spent());
        budget.spend(1);
        assert!(budget.is_spent(), "by bytes");
        let mut budget = ReadBudget { until: Instant::now(), ..ReadBudget::of_page() };
        assert!(!budget.is_spent(), "one row is always looked at");
        budget.spend(1);
        assert!(budget.is_spent(), "by time");
    }
}
