//! Proof that what is sealed today comes back: a probe for every recipient, and the readers of the newest backups.

use std::collections::BTreeSet;

use holdfast_format::ObjectKey;
use holdfast_sealing::{Profile, Recipients, SecretKeys, seal};

use super::Check;
use crate::access::Access;
use crate::overview::{self, Known, Standing};
use crate::{CliError, human};

/// The text that is sealed to the recipients, and opened again.
const PROBE: &[u8] = b"holdfast: a probe";
/// The largest roster that is looked at, in bytes.
const ROSTER_MAX: u64 = 64 << 20;
/// The number of runs, from the newest, among which the newest backup of each name is looked for.
const RUNS: usize = 100;
/// The number of backups that are told by name.
const NAMED: usize = 5;
/// The advice for a recipient whose secret key is not at hand.
const ELSEWHERE: &str = "give the secret key with --secret-key FILE; or write a probe with --write-probe FILE, and open that file where \
                         the key is: gpg --decrypt FILE";

/// Secret keys that are at hand, with the name by which people know them.
pub(crate) struct AtHand {
    pub(crate) name: String,
    pub(crate) keys: SecretKeys,
}

/// The treatment of recipients whose secret key is not at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unproven {
    /// Each is warned of: proof was asked for.
    Warned,
    /// Each is told: a host that backs up need not have any.
    Told,
}

/// Seals a probe to the recipients as a backup would be now, and opens it with every secret key at hand that is to open it.
pub(crate) fn prove(recipients: &Recipients, profile: Profile, at_hand: &[AtHand], unproven: Unproven) -> Vec<Check> {
    let probe = match seal(recipients, profile, PROBE) {
        Ok(probe) => probe,
        Err(error) => return vec![Check::error("encryption.recipients", &error)],
    };
    let each = recipients.readers_of_each().into_iter();
    each.map(|(certificate, readers)| prove_one(&certificate, &readers, &probe, at_hand, unproven))
        .collect()
}

/// Opens the probe with each key of one recipient that is at hand.
fn prove_one(certificate: &str, readers: &[String], probe: &[u8], at_hand: &[AtHand], unproven: Unproven) -> Check {
    let name = format!("encryption.recipients {certificate}");
    let mut opened = Vec::new();
    let keys = readers
        .iter()
        .flat_map(|reader| at_hand.iter().map(move |known| (reader, known)));
    for (reader, known) in keys {
        let Some(key) = known.keys.only(reader) else {
            continue;
        };
        let why = match key.open(probe, PROBE.len()) {
            Ok(text) if text == PROBE => {
                opened.push(format!("{} with the key {reader}", known.name));
                continue;
            }
            Ok(_) => "another text came out".to_owned(),
            Err(error) => holdfast_fault::chain(&error).to_string(),
        };
        return Check::fail(
            name,
            format!("{} does not open what is sealed to its key {reader}: {why}", known.name),
            "the file of the secret key is damaged: take it from a copy",
        );
    }
    if !opened.is_empty() {
        return Check::ok(
            name,
            format!("proven: a probe was opened by {}", opened.join(", and by ")),
        );
    }
    let readers = readers.join(" or ");
    match unproven {
        Unproven::Warned => Check::warn(
            name,
            format!("not proven: the secret key {readers} is not at hand"),
            ELSEWHERE,
        ),
        Unproven::Told => Check::ok(
            name,
            format!(
                "sealed to its key {readers}, whose secret part is not on this host; `holdfast keys check` helps to prove it"
            ),
        ),
    }
}

/// Looks who can read the newest backups of the repository, and its roster.
///
/// # Errors
/// [`CliError`] if the repository cannot be read.
pub(crate) async fn of_repository(
    access: &Access,
    recipients: &Recipients,
    at_hand: &[AtHand],
) -> Result<Vec<Check>, CliError> {
    let place = access.repository.place();
    let mut checks = Vec::new();
    let (roster, _) = access.repository.roster();
    let key = ObjectKey::Roster(roster.number);
    let sealed = place.get(&key, ROSTER_MAX).await?;
    // One that is no sealed object was not opened either, and that is told elsewhere.
    let closed = recipients.missing_in(&sealed).unwrap_or_default();
    if !closed.is_empty() {
        checks.push(Check::warn(
            key.to_string(),
            format!("it was sealed before there was the key {}", closed.join(", ")),
            "restoring on a new machine with that key alone takes a new issue: `holdfast keys reissue`, with the owner's key",
        ));
    }
    let today = recipients.readers();
    let (seen, others) = newest(access, &today).await?;
    checks.push(told(seen, &others, at_hand));
    Ok(checks)
}

/// A backup whose readers are not those of today.
struct Other {
    name: String,
    readers: Vec<String>,
}

/// Returns the number of names that have a backup, and the newest backups that are sealed to other keys than today's.
async fn newest(access: &Access, today: &[String]) -> Result<(usize, Vec<Other>), CliError> {
    let (views, _) = overview::runs(&access.catalogue, RUNS).await?;
    let mut seen = BTreeSet::new();
    let mut others = Vec::new();
    for known in views.iter().flat_map(|view| &view.artefacts) {
        let name = name_of(known);
        if matches!(known.standing, Standing::Failed(..)) || seen.contains(&name) {
            continue;
        }
        let sealed = match access.repository.manifest(known.artefact.id).await {
            Ok(Some(sealed)) => sealed,
            Ok(None) => continue,
            // Told by `status` and `verify`.
            Err(error) if error.is_unreadable() => continue,
            Err(error) => return Err(error.into()),
        };
        let captured = &sealed.manifest.captured;
        if captured.readers != today {
            others.push(Other {
                name: format!("{name} of {}", human::time(captured.started)),
                readers: captured.readers.clone(),
            });
        }
        seen.insert(name);
    }
    Ok((seen.len(), others))
}

fn name_of(known: &Known) -> String {
    format!("{} {}/{}", known.artefact.kind, known.source, known.artefact.name)
}

/// Tells who reads the newest backups.
fn told(seen: usize, others: &[Other], at_hand: &[AtHand]) -> Check {
    let name = "newest backups";
    if seen == 0 {
        return Check::ok(name, "there are none yet");
    }
    if others.is_empty() {
        let names = human::count(seen as u64, "name");
        return Check::ok(name, format!("those of {names} are sealed to the keys of today"));
    }
    let named: Vec<&str> = others.iter().take(NAMED).map(|other| other.name.as_str()).collect();
    let more = match others.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let mut found = format!(
        "{} of {seen} are sealed to other keys than those of today: {}{more}",
        others.len(),
        named.join(", ")
    );
    let held: BTreeSet<String> = at_hand.iter().flat_map(|known| known.keys.readers()).collect();
    let closed = others
        .iter()
        .filter(|other| !other.readers.iter().any(|reader| held.contains(reader)));
    let closed = closed.count();
    if closed > 0 && !held.is_empty() {
        found.push_str(&format!("; no secret key at hand opens {closed} of them"));
    }
    let old: BTreeSet<&str> = others
        .iter()
        .flat_map(|other| &other.readers)
        .map(String::as_str)
        .collect();
    let old = old.into_iter().collect::<Vec<_>>().join(", ");
    let advice = format!(
        "the next run stores them anew, sealed to the keys of today; for as long as you keep these backups, keep a secret key of \
         theirs ({old})"
    );
    Check::warn(name, found, &advice)
}
