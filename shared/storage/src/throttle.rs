//! Limits the bandwidth of a place.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets so many bytes pass in a second, over everything that one place sends and receives. An object goes out at full
/// speed once its turn has come; the next one waits until the average is right again.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: u64,
    /// The time at which all that was let through so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            rate: bytes_per_second.max(1),
            paid: Mutex::new(None),
        }
    }

    /// Waits until `bytes` may pass.
    pub(crate) async fn take(&self, bytes: u64) {
        let wait = self.reserve(Instant::now(), bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn reserve(&self, now: Instant, bytes: u64) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = paid.map_or(now, |at| at.max(now));
        *paid = Some(turn + cost);
        turn - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_kept_and_idle_time_is_not_saved_up() {
        let throttle = Throttle::new(1000);
        let start = Instant::now();
        assert_eq!(throttle.reserve(start, 2000), Duration::ZERO);
        assert_eq!(throttle.reserve(start, 500), Duration::from_secs(2));
        assert_eq!(throttle.reserve(start, 1), Duration::from_millis(2500));
        let later = start + Duration::from_secs(60);
        assert_eq!(throttle.reserve(later, 1000), Duration::ZERO);
        assert_eq!(throttle.reserve(later, 1), Duration::from_secs(1));
    }
}
