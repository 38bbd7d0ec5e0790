//! Cron expressions in a time zone: the slots at which a schedule comes due.
//!
//! On the days when clocks change, a job at fixed times runs once: a time that is skipped runs at the first moment
//! after the gap, and a time that comes twice runs the first time. A pattern with `*` in its minutes or hours means a
//! steady repetition, and runs in both halves of a doubled hour.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The largest number of fixed times of day that a pattern is split into. A pattern with more of them counts as a
/// steady repetition, however it is written.
const FIXED_MAX: usize = 60;

/// An error in a cron expression or a time zone.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    /// The cron expression is malformed.
    #[error(
        "cron expression {cron:?}: {rule}; write minute, hour, day of month, month and day of week, as in \"30 2 * * *\""
    )]
    Malformed {
        cron: String,
        /// The fault in the expression.
        rule: String,
    },
    /// The cron expression is well-formed, and matches no time that exists.
    #[error("cron expression {cron:?} never comes due")]
    Never { cron: String },
    /// The system's database knows no such time zone.
    #[error("time zone {timezone:?} is not known here: use a name like \"Europe/Berlin\" (from the system's tzdata)")]
    Zone {
        /// The name of the time zone.
        timezone: String,
        /// The error of the database.
        #[source]
        source: jiff::Error,
    },
}

/// The slots of a cron expression in a time zone: the times at which it comes due, in whole seconds.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Patterns that count together. There is more than one only if each is a single time of day.
    patterns: Vec<Cron>,
    zone: TimeZone,
}

impl Calendar {
    /// Reads an expression of five fields, or of six with seconds first, for the named time zone.
    ///
    /// # Errors
    /// Fails if the expression is malformed, the time zone is unknown, or no time ever matches.
    pub fn parse(cron: &str, timezone: &str) -> Result<Self, CalendarError> {
        let zone = TimeZone::get(timezone).map_err(|source| CalendarError::Zone {
            timezone: timezone.to_owned(),
            source,
        })?;
        let calendar = Self {
            patterns: patterns(cron)?,
            zone,
        };
        // The search ends in the year 5000. Until then every date has fallen on every day of the week.
        match calendar.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(calendar),
            None => Err(CalendarError::Never { cron: cron.to_owned() }),
        }
    }

    /// Returns the time zone in which the expression is read.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the first slot after `after`, or `None` if there is none before the year 5000.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = whole_second(after).to_zoned(self.zone.clone());
        let slots = self
            .patterns
            .iter()
            .filter_map(|cron| cron.find_next_occurrence(&after, false).ok());
        slots
            .map(|slot| slot.timestamp())
            .filter(|slot| *slot > after.timestamp())
            .min()
    }

    /// Returns the last slot up to and including `at`.
    #[must_use]
    pub fn latest(&self, at: Timestamp) -> Option<Timestamp> {
        let at = whole_second(at).to_zoned(self.zone.clone());
        let slots = self
            .patterns
            .iter()
            .filter_map(|cron| cron.find_previous_occurrence(&at, true).ok());
        slots
            .map(|slot| slot.timestamp())
            .filter(|slot| *slot <= at.timestamp())
            .max()
    }

    /// Returns the last slot before `slot`.
    #[must_use]
    pub fn before(&self, slot: Timestamp) -> Option<Timestamp> {
        self.latest(slot.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?)
    }
}

/// Returns the second that `time` lies in, without its fraction. Cron knows whole seconds only.
fn whole_second(time: Timestamp) -> Timestamp {
    let second = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}

/// Reads a pattern. One with few times of day is split into single times, since only those run exactly once on the days
/// when clocks change.
fn patterns(cron: &str) -> Result<Vec<Cron>, CalendarError> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let parse = |text: &str| {
        parser.parse(text).map_err(|error| CalendarError::Malformed {
            cron: cron.to_owned(),
            rule: rule(&error),
        })
    };
    let whole = parse(cron)?;
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let (time, date) = fields.split_at(fields.len().saturating_sub(3));
    if time.is_empty() || time.iter().any(|field| field.contains('*')) {
        return Ok(vec![whole]);
    }
    let set = |to: u32, is_set: &dyn Fn(u32) -> bool| (0..to).filter(|n| is_set(*n)).collect::<Vec<_>>();
    let pattern = &whole.pattern;
    let seconds = set(60, &|n| pattern.second_match(n).unwrap_or(false));
    let minutes = set(60, &|n| pattern.minute_match(n).unwrap_or(false));
    let hours = set(24, &|n| pattern.hour_match(n).unwrap_or(false));
    if seconds.len() * minutes.len() * hours.len() > FIXED_MAX {
        return Ok(vec![whole]);
    }
    let mut patterns = Vec::new();
    for hour in &hours {
        for minute in &minutes {
            for second in &seconds {
                patterns.push(parse(&format!("{second} {minute} {hour} {}", date.join(" ")))?);
            }
        }
    }
    Ok(patterns)
}

/// Returns the parser's message without the names of its types and without full stops.
fn rule(error: &CronError) -> String {
    let text = match error {
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidPattern(rule) | CronError::IllegalCharacters(rule) | CronError::ComponentError(rule) => {
            rule.replace("CronPattern", "it").replace("Pattern", "it")
        }
        other => other.to_string(),
    };
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
