#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod golden;
mod model;
mod properties;

use std::time::Duration;

use super::*;

pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 24 * HOUR;

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn rules(daily: &str, weekly: &str, monthly: &str) -> Rules {
    let span = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    Rules {
        daily: span(daily),
        weekly: span(weekly),
        monthly: span(monthly),
        keep_last: 1,
        grace: Duration::from_secs(86_400),
        max_delete_percent: 50,
    }
}
