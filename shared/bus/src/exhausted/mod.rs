//! Work whose deliveries ran out.
//!
//! The server keeps such a message in the work stream but delivers it no more, and says so once, in an advisory. A stream
//! keeps those, and only they end a job. An advisory can be lost with its stream's store, so the work stream is swept as
//! well: a sweep takes away what stands still, and the reconciler asks for it again. The rules of both are in [`rules`].

mod advisories;
mod job;
mod queue;
mod rules;
mod stored;
mod sweep;

use std::time::Duration;

use crate::connection::Bus;
use crate::error::BusError;
use crate::feed::Feed;
use advisories::Advisories;
use sweep::Sweep;

pub use job::Exhausted;
pub use queue::Queue;

impl Bus {
    /// Tells the jobs of these queues that the server has given up, as its advisories come. Beside that, it sweeps these
    /// queues at start and each time `sweep_every` has passed: a job that nobody works on and that the server delivers no
    /// more, in two sweeps one after the other, is taken out, and [`Bus::reconnected`] tells that work may be missing.
    /// Of several replicas more than one may be told of the same job.
    ///
    /// # Errors
    /// [`BusError::Consumer`] if the server refuses the consumer of the advisories.
    pub async fn exhausted(&self, queues: &[Queue], sweep_every: Duration) -> Result<Feed<Exhausted>, BusError> {
        let queues = queue::named(queues, self.subjects());
        let advisories = Advisories::open(self, queues.clone()).await?;
        let sweep = Sweep::new(self, queues, sweep_every);
        Ok(Feed::new(1, move |found| async move {
            // Neither ends: dropping the feed ends both.
            tokio::join!(advisories.run(found), sweep.run());
        }))
    }
}
