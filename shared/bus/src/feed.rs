//! Streams that a task feeds.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// A stream of items as they come. Dropping it ends the task that feeds it.
#[derive(Debug)]
pub struct Feed<T> {
    items: mpsc::Receiver<T>,
    _feeder: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Feed<T> {
    /// Starts `feed`, which may send `ahead` items before they are asked for.
    pub(crate) fn new<F>(ahead: usize, feed: impl FnOnce(mpsc::Sender<T>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, items) = mpsc::channel(ahead);
        Self {
            items,
            _feeder: AbortOnDropHandle::new(tokio::spawn(feed(sender))),
        }
    }
}

impl<T> Stream for Feed<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.items.poll_recv(cx)
    }
}
