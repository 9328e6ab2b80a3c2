//! Queries of bulk jobs and schedules, for operators and administrators.

use super::application::App;
use super::read_budget::PAGE_BYTES_MAX;
use super::{ListPage, PageRequest};
use crate::engine::{Actor, Job, Record, RecordKey, Refusal, Schedule};
use crate::records::{Key, ReadError};
use crate::store::{KeyRange, Order, View};
use crate::types::{JobId, Role, ScheduleId};

/// Number of schedules that are read at once: each may hold an input of some 60 KiB.
const SCHEDULES_AT_ONCE: usize = 16;

impl App {
    /// Returns a bulk job with its progress.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn job(&self, actor: &Actor, id: JobId) -> Result<Job, Refusal> {
        if !actor.has(Role::OPERATOR) {
            return Err(Refusal::NotAllowed("this needs the role abide:operator"));
        }
        match self.read_record(&RecordKey::Job(id))? {
            Some((Record::Job(job), _)) => Ok(*job),
            _ => Err(Refusal::NotFound("job")),
        }
    }

    /// Returns a schedule.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn schedule(&self, id: ScheduleId) -> Result<Schedule, Refusal> {
        match self.read_record(&RecordKey::Schedule(id))? {
            Some((Record::Schedule(schedule), _)) => Ok(*schedule),
            _ => Err(Refusal::NotFound("schedule")),
        }
    }

    /// Returns the schedules, newest first.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn schedules(
        &self,
        page: PageRequest<ScheduleId>,
    ) -> Result<ListPage<Schedule, ScheduleId>, Refusal> {
        let mut range = KeyRange::prefix(Key::SCHEDULES);
        if let Some(after) = page.after {
            range = range.before(Key::Schedule(after).encode().into());
        }
        let (mut items, mut bytes) = (Vec::<Schedule>::new(), 0);
        loop {
            let wanted = (page.limit - items.len()).min(SCHEDULES_AT_ONCE);
            let rows = self.store.scan(View::Committed, &range, Order::Descending, wanted);
            let rows = self.guard(rows.map_err(ReadError::from))?;
            for row in &rows.rows {
                if let Some(Key::Schedule(id)) = Key::decode(&row.key) {
                    bytes += row.value.len();
                    items.push(self.schedule(id)?);
                }
            }
            match rows.next {
                Some(next) if items.len() < page.limit && bytes < PAGE_BYTES_MAX => {
                    range = range.before(next);
                }
                next => {
                    let last = items.last().map(|last| last.id);
                    return Ok(ListPage { items, next: last.filter(|_| next.is_some()) });
                }
            }
        }
    }
}
