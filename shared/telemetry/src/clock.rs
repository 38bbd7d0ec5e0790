//! The time of day, injectable.
//!
//! Whatever decides by the date (schedules, retention, deadlines) asks a [`Clock`]; waiting stays with the runtime.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Seconds (may be negative) that [`SystemClock`] adds, so that tests of whole processes can shift time.
const OFFSET_VARIABLE: &str = "HOLDFAST_TEST_CLOCK_OFFSET";

/// A source of the present time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the present time.
    fn now(&self) -> Timestamp;
}

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

/// Returns the host's clock, to be shared.
#[must_use]
pub fn system() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// The host's clock. Where `TEST_SEAMS` is true, [`OFFSET_VARIABLE`] shifts it, which is read when it is made.
#[derive(Clone, Copy, Debug)]
struct SystemClock {
    offset_seconds: i64,
}

impl SystemClock {
    /// Makes the host's clock, shifted if the environment says so.
    #[must_use]
    pub(crate) fn new() -> Self {
        if !crate::TEST_SEAMS {
            return Self { offset_seconds: 0 };
        }
        let text = std::env::var(OFFSET_VARIABLE).unwrap_or_default();
        let offset_seconds = if text.is_empty() { Ok(0) } else { text.trim().parse() };
        let offset_seconds = offset_seconds.unwrap_or_else(|_| {
            tracing::error!("{OFFSET_VARIABLE} must be a whole number of seconds; the clock is not shifted");
            0
        });
        Self { offset_seconds }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // An offset beyond the calendar is a test's mistake; the true time is the lesser surprise.
        now.checked_add(jiff::SignedDuration::from_secs(self.offset_seconds))
            .unwrap_or(now)
    }
}

/// A clock that stands until it is moved; clones move together.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// Makes a clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Puts the clock to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves the clock forwards; it stops at the end of the calendar.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Returns a handle to this clock for code that takes any clock.
    #[must_use]
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_manual_clock_moves_with_its_clones() {
        let start: Timestamp = "2026-03-29T00:59:59Z".parse().unwrap();
        let clock = ManualClock::new(start);
        let shared = clock.shared();
        clock.advance(Duration::from_secs(2));
        assert_eq!(shared.now(), "2026-03-29T01:00:01Z".parse().unwrap());
        clock.set(start);
        assert_eq!(shared.now(), start);
        clock.advance(Duration::MAX);
        assert_eq!(shared.now(), Timestamp::MAX);
    }

    #[test]
    fn the_system_clock_is_shifted() {
        let shifted = SystemClock {
            offset_seconds: -86_400,
        };
        let passed = system().now().duration_since(shifted.now()).as_secs();
        assert!((86_399..=86_401).contains(&passed), "{passed}");
        let absurd = SystemClock {
            offset_seconds: i64::MAX,
        };
        assert!(absurd.now() <= Timestamp::now());
    }

    /// Passes as it is; run again by the test below, in a process of its own.
    #[test]
    fn the_offset_is_that_of_the_environment() {
        let expected = std::env::var("EXPECTED_OFFSET").map_or(0, |text| text.parse().unwrap());
        assert_eq!(SystemClock::new().offset_seconds, expected);
    }

    #[test]
    fn the_environment_shifts_a_process() {
        let run = |offset: &str, expected: &str| {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "clock::tests::the_offset_is_that_of_the_environment"]);
            let status = command
                .env(OFFSET_VARIABLE, offset)
                .env("EXPECTED_OFFSET", expected)
                .output()
                .unwrap();
            let text = String::from_utf8(status.stdout).unwrap();
            assert!(text.contains("1 passed"), "{offset}: {text}");
        };
        for (offset, expected) in [("86400", "86400"), ("-60", "-60"), ("", "0"), ("tomorrow", "0")] {
            run(offset, expected);
        }
    }
}
