//! What goes on by itself over many commits, as operators and administrators see it.

use super::app::App;
use super::{PageAsk, PageOf};
use crate::engine::{Actor, Fact, Job, Record, Refusal, Schedule};
use crate::records::{Key, ReadError};
use crate::store::{KeyRange, Order, View};
use crate::types::{JobId, Role, ScheduleId};

impl App {
    /// What is done to many transactions, and how far it is.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn job(&self, actor: &Actor, id: JobId) -> Result<Job, Refusal> {
        if !actor.has(Role::OPERATOR) {
            return Err(Refusal::NotAllowed("this needs the role abide:operator"));
        }
        match self.fact(&Fact::Job(id))? {
            Some((Record::Job(job), _)) => Ok(*job),
            _ => Err(Refusal::NotFound("job")),
        }
    }

    /// A schedule.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn schedule(&self, id: ScheduleId) -> Result<Schedule, Refusal> {
        match self.fact(&Fact::Schedule(id))? {
            Some((Record::Schedule(schedule), _)) => Ok(*schedule),
            _ => Err(Refusal::NotFound("schedule")),
        }
    }

    /// The schedules, newest first.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn schedules(
        &self,
        page: PageAsk<ScheduleId>,
    ) -> Result<PageOf<Schedule, ScheduleId>, Refusal> {
        let mut range = KeyRange::prefix(Key::SCHEDULES);
        if let Some(after) = page.after {
            range = range.before(Key::Schedule(after).encode().into());
        }
        let rows = self.store.scan(View::Committed, &range, Order::Descending, page.limit);
        let rows = self.guard(rows.map_err(ReadError::from))?;
        let mut items = Vec::new();
        for row in &rows.rows {
            if let Some(Key::Schedule(id)) = Key::decode(&row.key) {
                items.push(self.schedule(id)?);
            }
        }
        let next = items.last().map(|last| last.id).filter(|_| rows.next.is_some());
        Ok(PageOf { items, next })
    }
}
