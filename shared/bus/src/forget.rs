//! Removes a run's waiting work.

use async_nats::jetstream::stream::PurgeResponse;
use holdfast_format::RunId;

use crate::code;
use crate::connection::Bus;
use crate::error::BusError;

impl Bus {
    /// Removes all work of the run from the queue, of every stage and site. Jobs that are being done go on, and publish
    /// what follows from them unless their handlers look first whether the run still exists.
    ///
    /// # Errors
    /// [`BusError::Forget`].
    pub async fn forget_run(&self, run: RunId) -> Result<(), BusError> {
        let subject = format!("STREAM.PURGE.{}", self.names().work);
        for filter in self.names().work_of(run) {
            let purged = self
                .api::<_, PurgeResponse>(subject.clone(), &serde_json::json!({ "filter": filter }))
                .await;
            match purged {
                Ok(response) => tracing::debug!(%run, filter, removed = response.purged, "work removed"),
                Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => return Ok(()),
                Err(source) => return Err(BusError::Forget { run, source }),
            }
        }
        Ok(())
    }
}
