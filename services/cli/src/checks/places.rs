//! The repository and its targets: reachable, writable, and what their clocks and disks say.

use holdfast_config::{PlaceUrl, Settings, Target};
use holdfast_format::Role;
use holdfast_repository::{Catalogue, Repository};
use holdfast_service::{open_place, repository_keys, target_place};
use holdfast_storage::Place;
use jiff::SignedDuration;

use super::Check;
use crate::human;
use crate::overview;

/// Clocks further apart make retention refuse to delete, and records look as if they came from the future.
const CLOCK_MAX: SignedDuration = SignedDuration::from_secs(60);
/// The advice for a record that cannot be read.
const RECORD_ADVICE: &str = "backups go on without it; take the object of this name from a copy of the repository that has it \
                             whole (a target, a disk's snapshot)";
/// Less free space than this is warned of.
const ROOM_MIN: u64 = 1 << 30;

/// Looks at the repository and every target.
pub(crate) async fn all(settings: &Settings) -> Vec<Check> {
    let name = format!("repository {}", settings.repository.url);
    let mut checks = Vec::new();
    let mut repository = None;
    match open_place(settings).await {
        Ok(place) => {
            checks.extend(probe(&name, &place, &settings.repository.url).await);
            match repository_keys(settings) {
                Ok(keys) => match Repository::open(place, keys).await {
                    Ok(opened) => {
                        checks.push(Check::ok(
                            &name,
                            format!("opens with the reader key, id {}", opened.id()),
                        ));
                        checks.extend(roles(settings, &opened));
                        checks.extend(records(&name, &opened).await);
                        repository = Some(opened);
                    }
                    Err(error) => checks.push(Check::error(&name, &error)),
                },
                Err(error) => checks.push(Check::error(&name, &error)),
            }
        }
        Err(error) => checks.push(Check::error(&name, &error)),
    }
    for target in &settings.target {
        checks.extend(one_target(target, repository.as_ref()).await);
    }
    if settings.target.is_empty() {
        let advice = "add a [[target]]: a disk fails, and whoever takes the host over can delete what is on it";
        checks.push(Check::warn("targets", "none: there is no copy off this place", advice));
    }
    checks.extend(retention(settings));
    checks
}

/// Warns of a retention that has no proof to go by: of a name it deletes only what is older than a verified backup.
fn retention(settings: &Settings) -> Option<Check> {
    let schedules = &settings.schedule;
    let proves = schedules.iter().any(|schedule| schedule.verify.is_some());
    if settings.retention.is_empty() || schedules.is_empty() || proves {
        return None;
    }
    Some(Check::warn(
        "retention",
        "no schedule verifies: what nobody verified lets nothing older go, so places grow",
        "give a [[schedule]] verify = \"decrypt\", or \"integrity\" where there is no secret key",
    ))
}

/// Checks that the services of this host have keys that the roster lets sign. With a NATS server of its own each service may
/// have its host, so a host is asked for the roles only of which it has a key.
fn roles(settings: &Settings, repository: &Repository) -> Vec<Check> {
    let section = &settings.encryption;
    let is_alone = settings.nats.url.is_none();
    let has_file = |role: Role| std::fs::metadata(section.role_key(role)).is_ok_and(|file| file.len() > 0);
    let services = Role::ALL.iter().filter(|role| **role != Role::Operator);
    let wanted = services.filter(|role| is_alone || has_file(**role));
    wanted
        .filter_map(|role| repository.check_signs_as(*role, &settings.site).err())
        .map(|error| Check::error("encryption.role_keys", &error))
        .collect()
}

/// Checks that the records of all runs can be read.
async fn records(name: &str, repository: &Repository) -> Vec<Check> {
    match overview::unreadable(&Catalogue::new(repository.clone())).await {
        Ok(found) => found
            .into_iter()
            .map(|record| Check::fail(format!("{name} {}", record.what), record.problem, RECORD_ADVICE))
            .collect(),
        Err(error) => vec![Check::error(name, &error)],
    }
}

async fn one_target(target: &Target, repository: Option<&Repository>) -> Vec<Check> {
    let name = format!("target {} {}", target.name, target.url);
    let place = match target_place(target).await {
        Ok(place) => place,
        Err(error) => return vec![Check::error(name, &error)],
    };
    let mut checks = probe(&name, &place, &target.url).await;
    if let Some(repository) = repository {
        checks.extend(match repository.check_identity_at(&place).await {
            Ok(()) => Some(Check::ok(&name, "holds this repository")),
            Err(holdfast_repository::RepositoryError::NoRepository { .. }) => {
                Some(Check::ok(&name, "empty: the first copy fills it"))
            }
            Err(error) => Some(Check::error(&name, &error)),
        });
    }
    checks
}

async fn probe(name: &str, place: &Place, url: &PlaceUrl) -> Vec<Check> {
    let probe = match place.probe().await {
        Ok(probe) => probe,
        Err(error) => return vec![Check::error(name, &error)],
    };
    let mut found = format!("writable, a small object takes {} ms", probe.write_time.as_millis());
    if !probe.conditional_create {
        found.push_str("; creates without a condition, so two writers of one key are told apart late");
    }
    let mut checks = vec![Check::ok(name, found)];
    if probe.clock_ahead.abs() > CLOCK_MAX {
        let found = format!(
            "its clock and this host's are {} apart",
            human::duration(probe.clock_ahead)
        );
        checks.push(Check::warn(
            name,
            found,
            "set both by NTP: retention goes by these clocks",
        ));
    }
    if let Some(path) = url.directory()
        && let Ok(stat) = rustix::fs::statvfs(path)
    {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let found = format!("{} free", human::bytes(free));
        checks.push(if free < ROOM_MIN {
            Check::warn(name, found, "give it more room, or let retention keep less")
        } else {
            Check::ok(name, found)
        });
    }
    checks
}
