//! The roster: opened with the owner's key to be changed, and listed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use holdfast_config::{Secret, Settings};
use holdfast_format::{Member, Role, Roster, Site};
use holdfast_repository::Repository;
use holdfast_sealing::{KeyPurpose, Signer, generate};
use holdfast_service::{check_roster_seen, open_place};
use jiff::Timestamp;
use serde::Serialize;

use crate::access::{Access, KeyArgs, passphrase_in, reading_keys};
use crate::key_files::write;
use crate::output::{Output, Table};
use crate::{CliError, human};

/// The time for which a key that was rotated still counts, so that services may be restarted one by one.
pub(super) const OVERLAP: Duration = Duration::from_secs(86_400);

/// The owner's secret key.
#[derive(Clone, Debug, Args)]
pub(crate) struct OwnerArgs {
    /// The owner's secret key; else owner.sec.asc beside the owner's public key.
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_key: Option<PathBuf>,
    /// A file with the passphrase that unlocks it.
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_passphrase_file: Option<PathBuf>,
    /// A secret backup key to read with, where the reader key is lost.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A file with the passphrase that unlocks it.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    text.parse()
        .map_err(|error: holdfast_format::UnknownWord| error.to_string())
}

pub(super) fn site(text: &str) -> Result<Site, String> {
    text.parse()
        .map_err(|error: holdfast_format::NameError| error.to_string())
}

/// The repository, opened with the owner's secret key.
pub(super) async fn open_as_owner(settings: &Settings, args: &OwnerArgs) -> Result<Repository, CliError> {
    let beside = settings.encryption.owner.with_file_name("owner.sec.asc");
    let file = args.owner_key.clone().unwrap_or(beside);
    let passphrase = args.owner_passphrase_file.as_deref().map(passphrase_in).transpose()?;
    let owner = Signer::from_file(&file, passphrase.as_ref().map(Secret::expose), SystemTime::now());
    let owner = owner.map_err(|error| {
        CliError::keys(
            "the owner's secret key is needed to change the roster: bring it here, or name it with --owner-key FILE",
            error,
        )
    })?;
    let backup = KeyArgs {
        keys: args.key.iter().cloned().collect(),
        passphrase_file: args.passphrase_file.clone(),
        owner: None,
    };
    let backup = args.key.as_ref().map(|_| backup.need(None)).transpose()?;
    let mut keys = reading_keys(settings, backup.as_ref(), None)?;
    keys.signers.push(owner);
    let repository = Repository::open(open_place(settings).await?, keys).await?;
    check_roster_seen(&settings.state_dir, &repository)?;
    Ok(repository)
}

/// Makes the key of a role beside those that are there.
pub(super) fn new_key(dir: &Path, role: Role, name: &str) -> Result<PathBuf, CliError> {
    let key = generate(
        KeyPurpose::Signing,
        &format!("Holdfast {role} key"),
        None,
        SystemTime::now(),
    );
    let key = key.map_err(|error| CliError::keys("the key cannot be made", error))?;
    write(dir, name, &key)?;
    Ok(dir.join(format!("{name}.pub.asc")))
}

/// Returns the roster's members, of which some count until a time and no longer. Pure.
pub(super) fn ended(roster: &Roster, is_over: impl Fn(&Member) -> bool, until: Timestamp) -> Vec<Member> {
    let mut members = roster.members.clone();
    for member in members.iter_mut().filter(|member| is_over(member)) {
        member.until.get_or_insert(until);
    }
    members
}

/// The roster as `keys list` shows it.
#[derive(Serialize)]
pub(crate) struct Entries {
    number: Option<u64>,
    members: Vec<Entry>,
    /// The reason why there is no roster to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    role: Role,
    sites: Option<Vec<Site>>,
    fingerprint: String,
    from: Timestamp,
    until: Option<Timestamp>,
    revoked: Option<Timestamp>,
}

/// Reads the roster of the configured repository.
pub(crate) async fn entries(settings: &Settings) -> Entries {
    match Access::open(settings, None).await {
        Ok(access) => {
            let (roster, _) = access.repository.roster();
            let entry = |member: Member| Entry {
                role: member.role,
                sites: member.sites,
                fingerprint: member.fingerprint,
                from: member.from,
                until: member.until,
                revoked: member.revoked,
            };
            Entries {
                number: Some(roster.number),
                members: roster.members.into_iter().map(entry).collect(),
                problem: None,
            }
        }
        Err(error) => Entries {
            number: None,
            members: Vec::new(),
            problem: Some(holdfast_fault::chain(&error).to_string()),
        },
    }
}

impl Entries {
    pub(crate) fn text(&self, out: Output) -> String {
        if let Some(problem) = &self.problem {
            return format!("no roster: {problem}\n");
        }
        let mut table = Table::new(&["role", "sites", "fingerprint", "counts"]);
        for entry in &self.members {
            let sites = entry.sites.as_ref().map_or_else(
                || "all".to_owned(),
                |sites| sites.iter().map(Site::as_str).collect::<Vec<_>>().join(", "),
            );
            let counts = match (entry.revoked, entry.until) {
                (Some(at), _) => format!("revoked at {}", human::time(at)),
                (None, Some(at)) => format!("until {}", human::time(at)),
                (None, None) => format!("since {}", human::time(entry.from)),
            };
            table.row([entry.role.as_str(), &sites, &entry.fingerprint, &counts]);
        }
        let number = self.number.unwrap_or_default();
        format!("roster {number}\n{}", out.table(&table))
    }
}

/// A roster to test with.
#[cfg(test)]
pub(crate) mod sample {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use holdfast_format::{ChunkKey, ChunkerParams, RepositoryInfo};

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(crate) fn member(fingerprint: &str, role: Role, site: Option<&str>) -> Member {
        Member {
            role,
            sites: site.map(|site| vec![site.parse().unwrap()]),
            fingerprint: fingerprint.to_owned(),
            certificate: String::new(),
            from: at(0),
            until: None,
            revoked: None,
        }
    }

    pub(crate) fn roster() -> Roster {
        Roster {
            number: 1,
            previous: None,
            issued: at(0),
            members: vec![
                member("AA01", Role::Producer, Some("a")),
                member("AB02", Role::Scheduler, None),
            ],
            info: RepositoryInfo {
                created: at(0),
                chunker: ChunkerParams::new(1),
                chunk_key: ChunkKey::from_bytes([1; 32]),
            },
        }
    }
}
