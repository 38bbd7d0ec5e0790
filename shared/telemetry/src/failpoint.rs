//! Named points in the code where tests make a process die, fail, wait or stop.
//!
//! Set by the environment for whole processes, or by [`set`] within one. The variable
//! [`VARIABLE`] holds points parted by `;`: `encryptor.after_pack=abort@3; bus.before_ack=sleep:500ms`.
//! Each is `name=action` with an optional `@N`: only at the Nth hit, counted from 1, in this process. Actions:
//!
//! - `abort`: the process dies at once, without unwinding or flushing;
//! - `error`: the hit returns [`Injected`];
//! - `sleep:TIME`: the hit waits (`500ms`, `3s`);
//! - `pause:FILE`: the hit makes the file `FILE.reached` and waits until `FILE` exists.
//!
//! In builds where `TEST_SEAMS` is false every hit is a no-op that the compiler removes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use holdfast_config::Period;
use holdfast_fault::{Retry, Retryable};

/// The environment variable that sets fail points.
pub const VARIABLE: &str = "HOLDFAST_FAILPOINTS";

/// Time between two looks for the file that ends a pause.
const POLL: Duration = Duration::from_millis(10);

/// A fail point returned an error, as it was set to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fail point {name} was hit")]
pub struct Injected {
    pub name: String,
}

impl Retryable for Injected {
    fn retry(&self) -> Retry {
        Retry::Later
    }
}

/// A fail point's setting is malformed; the text says how one is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a fail point: write name=abort|error|sleep:TIME|pause:FILE, and @N for the Nth hit alone")]
pub struct InvalidPoint {
    text: String,
}

/// The effect of a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process dies at once.
    Abort,
    /// The hit fails with [`Injected`].
    Error,
    /// The hit waits for this long.
    Sleep(Duration),
    /// The hit makes `<file>.reached` and waits until the file exists.
    Pause(PathBuf),
}

/// A fail point as it is set now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    action: Action,
    /// Act at this hit alone, counted from 1.
    nth: Option<u64>,
    /// Tells a guard whether the setting is still its own.
    id: u64,
    hits: u64,
}

#[derive(Debug, Default)]
struct Points {
    set: BTreeMap<String, Point>,
    hits: BTreeMap<String, u64>,
    next_id: u64,
}

/// Passes the fail point `name`. Blocks where it is set to wait: in async code use [`hit_async`].
///
/// # Errors
/// The point is set to fail.
#[inline]
pub fn hit(name: &str) -> Result<(), Injected> {
    if !crate::TEST_SEAMS {
        return Ok(());
    }
    match reach(name) {
        None => Ok(()),
        Some(Action::Sleep(time)) => {
            std::thread::sleep(time);
            Ok(())
        }
        Some(Action::Pause(file)) => {
            mark_reached(&file);
            while !file.exists() {
                std::thread::sleep(POLL);
            }
            Ok(())
        }
        Some(action) => act(name, &action),
    }
}

/// Passes the fail point `name` without blocking the thread, else like [`hit`].
///
/// # Errors
/// The point is set to fail.
#[inline]
pub async fn hit_async(name: &str) -> Result<(), Injected> {
    if !crate::TEST_SEAMS {
        return Ok(());
    }
    match reach(name) {
        None => Ok(()),
        Some(Action::Sleep(time)) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Some(Action::Pause(file)) => {
            mark_reached(&file);
            while !file.exists() {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        }
        Some(action) => act(name, &action),
    }
}

/// Sets a fail point of this process until the guard is dropped; a setting of the same name is replaced.
#[must_use = "the fail point is unset when the guard is dropped"]
pub fn set(name: &str, action: Action) -> PointGuard {
    insert(name, action, None)
}

/// Sets a fail point like [`set`], to act at the `nth` hit from now alone, counted from 1.
#[must_use = "the fail point is unset when the guard is dropped"]
pub fn set_nth(name: &str, action: Action, nth: u64) -> PointGuard {
    insert(name, action, Some(nth))
}

/// Returns how many times the fail point was passed in this process, so that a test can tell that its path was taken.
/// Always 0 where fail points are compiled out.
#[cfg(test)]
fn hits(name: &str) -> u64 {
    if crate::TEST_SEAMS {
        points().hits.get(name).copied().unwrap_or(0)
    } else {
        0
    }
}

/// Unsets its fail point when dropped.
#[derive(Debug)]
pub struct PointGuard {
    name: String,
    id: u64,
}

impl Drop for PointGuard {
    fn drop(&mut self) {
        let mut points = points();
        if points.set.get(&self.name).is_some_and(|point| point.id == self.id) {
            points.set.remove(&self.name);
        }
    }
}

fn points() -> MutexGuard<'static, Points> {
    static POINTS: OnceLock<Mutex<Points>> = OnceLock::new();
    let points = POINTS.get_or_init(|| Mutex::new(from_environment()));
    points.lock().unwrap_or_else(PoisonError::into_inner)
}

fn from_environment() -> Points {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    match parse(&text) {
        Ok(set) => Points {
            set,
            ..Points::default()
        },
        Err(error) => {
            // A test whose fail point is misspelt would pass without testing anything.
            tracing::error!("{VARIABLE}: {error}");
            std::process::abort()
        }
    }
}

fn insert(name: &str, action: Action, nth: Option<u64>) -> PointGuard {
    let mut points = points();
    points.next_id += 1;
    let id = points.next_id;
    points.set.insert(
        name.to_owned(),
        Point {
            action,
            nth,
            id,
            hits: 0,
        },
    );
    PointGuard {
        name: name.to_owned(),
        id,
    }
}

/// Counts the hit and yields what it is to do.
fn reach(name: &str) -> Option<Action> {
    let mut points = points();
    match points.hits.get_mut(name) {
        Some(hits) => *hits += 1,
        None => {
            points.hits.insert(name.to_owned(), 1);
        }
    }
    let point = points.set.get_mut(name)?;
    point.hits += 1;
    (point.nth.is_none() || point.nth == Some(point.hits)).then(|| point.action.clone())
}

/// The actions that do not wait.
fn act(name: &str, action: &Action) -> Result<(), Injected> {
    match action {
        Action::Abort => std::process::abort(),
        Action::Error => Err(Injected { name: name.to_owned() }),
        Action::Sleep(_) | Action::Pause(_) => Ok(()),
    }
}

/// Tells the test that the point was reached.
fn mark_reached(file: &Path) {
    let mut name = file.as_os_str().to_owned();
    name.push(".reached");
    if let Err(error) = std::fs::write(&name, "") {
        tracing::error!("make {}: {}", Path::new(&name).display(), holdfast_fault::chain(&error));
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Point>, InvalidPoint> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| parse_point(part).ok_or_else(|| InvalidPoint { text: part.to_owned() }))
        .collect()
}

fn parse_point(text: &str) -> Option<(String, Point)> {
    let (name, rest) = text.split_once('=')?;
    // The last `@`, and only before a number: a file's name may have one.
    let nth = rest
        .rsplit_once('@')
        .and_then(|(action, nth)| Some((action, nth.trim().parse::<u64>().ok()?)));
    let (action, nth) = nth.map_or((rest, None), |(action, nth)| (action, Some(nth)));
    let action = action.trim().parse().ok()?;
    let name = name.trim();
    (!name.is_empty() && nth != Some(0)).then(|| {
        (
            name.to_owned(),
            Point {
                action,
                nth,
                id: 0,
                hits: 0,
            },
        )
    })
}

impl FromStr for Action {
    type Err = InvalidPoint;

    fn from_str(text: &str) -> Result<Self, InvalidPoint> {
        let invalid = || InvalidPoint { text: text.to_owned() };
        match text.split_once(':') {
            None if text == "abort" => Ok(Self::Abort),
            None if text == "error" => Ok(Self::Error),
            Some(("sleep", time)) => time
                .parse::<Period>()
                .map(|time| Self::Sleep(time.as_std()))
                .map_err(|_| invalid()),
            Some(("pause", file)) if !file.is_empty() => Ok(Self::Pause(PathBuf::from(file))),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests;
