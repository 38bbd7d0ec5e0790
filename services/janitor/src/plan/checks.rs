//! Reasons to delete nothing at all.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::PlaceView;

/// The largest difference between clocks at which ages are still trusted.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// Returns all reasons that forbid deleting here now, as sentences for people.
pub(super) fn blocks(view: &PlaceView, now: Timestamp) -> Vec<String> {
    [unreadable(view), missing_packs(view)]
        .into_iter()
        .chain([clock_went_back(view, now), clocks_differ(view, now)])
        .flatten()
        .collect()
}

/// The largest number of unreadable objects that are named.
const NAMED: usize = 20;

/// Refuses if a record cannot be read: it may name any pack and hold any run.
fn unreadable(view: &PlaceView) -> Option<String> {
    if view.unreadable.is_empty() {
        return None;
    }
    let named: Vec<&str> = view.unreadable.iter().take(NAMED).map(String::as_str).collect();
    let more = match view.unreadable.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{}{more} cannot be read, and may name or hold anything: nothing is deleted until that is mended",
        named.join(", ")
    ))
}

/// Refuses if packs are missing. A manifest is written after its packs, and deleted before them. If the listing lacks a
/// pack, either the listing is incomplete, and no conclusion from it is safe; or the place is damaged, and deleting
/// would make it worse.
fn missing_packs(view: &PlaceView) -> Option<String> {
    let good = view.artefacts().filter(|a| a.is_good());
    let short: Vec<_> = good
        .filter(|a| a.packs.iter().any(|p| !view.packs.contains_key(p)))
        .collect();
    let first = short.first()?;
    let packs = short.iter().flat_map(|a| &a.packs);
    let lost: BTreeSet<_> = packs.filter(|p| !view.packs.contains_key(*p)).collect();
    Some(format!(
        "{} packs that manifests name were not listed (artefact {} is the first of {}): the listing is short or the place \
         damaged; nothing is deleted until they are there or the artefacts were verified and found bad",
        lost.len(),
        first.id,
        short.len(),
    ))
}

fn clock_went_back(view: &PlaceView, now: Timestamp) -> Option<String> {
    let newest = view.newest_record?;
    (newest.duration_since(now) > CLOCK_SLACK).then(|| {
        format!(
            "the clock says {now}, but a record here is of {newest}: one of the clocks is wrong, and with it every age"
        )
    })
}

fn clocks_differ(view: &PlaceView, now: Timestamp) -> Option<String> {
    let there = view.place_time?;
    (there.duration_since(now).abs() > CLOCK_SLACK).then(|| {
        format!("the clock here says {now}, the one at the place {there}: one is wrong, and with it every age")
    })
}
