//! Delays that grow after each failure, with jitter so that workers do not come back in step.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Delays that double from a first to a longest.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// Returns the next delay: between half and the whole of what the number of failures gives.
    pub(crate) fn next(&mut self) -> Duration {
        let full = delay(self.first, self.longest, self.failures);
        self.failures = self.failures.saturating_add(1);
        jittered(full)
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `first` doubled `failures` times, at most `longest`.
pub(crate) fn delay(first: Duration, longest: Duration, failures: u32) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(failures.min(16)))
        .min(longest)
}

/// Between half of `full` and all of it.
pub(crate) fn jittered(full: Duration) -> Duration {
    // Every `RandomState` is keyed at random: enough randomness for jitter without another dependency.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let part = f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    full.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew() {
        let first = Duration::from_millis(100);
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::new(first, longest);
        for full in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let next = backoff.next();
            assert!(
                next >= Duration::from_millis(full) / 2 && next <= Duration::from_millis(full),
                "{next:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= first);
        assert_eq!(delay(first, longest, u32::MAX), longest);
    }
}
