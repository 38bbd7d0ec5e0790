//! `holdfast keys rotate` and `reissue`: new keys of roles, and new readers of the roster.

use clap::Args;
use holdfast_format::{Member, Role, Site};
use jiff::Timestamp;

use super::roster::{OVERLAP, OwnerArgs, ended, new_key, open_as_owner, role, site};
use crate::access::{self, READING};
use crate::error::file_error;
use crate::key_files::member_of_file;
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global, human};

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The role: producer, scheduler, verifier, syncer, janitor or operator.
    #[arg(value_name = "ROLE", value_parser = role)]
    pub(crate) role: Role,
    /// For a producer's key: the only site that the new one speaks for; else those of the key that it replaces.
    #[arg(long, value_name = "NAME", value_parser = site)]
    pub(crate) site: Option<Site>,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// Makes a new key, signs it in, ends the time of the old one in a day, and puts the new one into its place.
pub(crate) async fn rotate(global: &Global, args: &RotateArgs) -> Result<Exit, CliError> {
    let _logs = Logs::start(global, None, None)?;
    let settings = access::load(global, READING)?;
    let repository = open_as_owner(&settings, &args.owner).await?;
    let section = &settings.encryption;
    let role = args.role;
    let dir = &section.role_keys;
    let (roster, _) = repository.roster();
    let held = member_of_file(&dir.join(format!("{role}.pub.asc")), role, None).ok();
    let old = held.and_then(|held| {
        roster
            .members
            .iter()
            .find(|member| member.fingerprint == held.fingerprint)
    });
    let sites = match (&args.site, old) {
        (Some(site), _) => Some(vec![site.clone()]),
        (None, Some(old)) => old.sites.clone(),
        (None, None) => None,
    };
    let new_name = format!("{role}.new");
    let public = dir.join(format!("{new_name}.pub.asc"));
    // One that is there is left of a try that ended in the middle.
    if !public.exists() {
        new_key(dir, role, &new_name)?;
    }
    let member = member_of_file(&public, role, sites)?;
    let fingerprint = member.fingerprint.clone();
    let until = Timestamp::now() + OVERLAP;
    let number = if roster.members.iter().any(|known| known.fingerprint == fingerprint) {
        roster.number
    } else {
        let is_old = |known: &Member| old.is_some_and(|old| old.fingerprint == known.fingerprint);
        let mut members = ended(&roster, is_old, until);
        members.push(member);
        repository.issue(members, Timestamp::now()).await?
    };
    // Only now: a key that the roster does not have would end every service that takes it up.
    for part in ["pub", "sec", "rev"] {
        let from = dir.join(format!("{new_name}.{part}.asc"));
        let to = dir.join(format!("{role}.{part}.asc"));
        std::fs::rename(&from, &to).map_err(file_error("put the new key in the place of", &to))?;
    }
    let old = old.filter(|old| old.revoked.is_none()).map_or_else(String::new, |old| {
        format!(
            "The old key, {}, counts until {}.\n",
            old.fingerprint,
            human::time(until)
        )
    });
    Output::new(false).say(&format!(
        "roster {number}: {fingerprint} is the key of the {role}\n{old}Next: restart the services of this role, so that they sign with {}.\n",
        section.role_key(role).display()
    ));
    Ok(Exit::Good)
}

/// Arguments of `keys reissue`.
#[derive(Debug, Args)]
pub(crate) struct ReissueArgs {
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// Issues the roster as it is, sealed to the backup keys and the reader key of now.
pub(crate) async fn reissue(global: &Global, args: &ReissueArgs) -> Result<Exit, CliError> {
    let _logs = Logs::start(global, None, None)?;
    let settings = access::load(global, READING)?;
    let repository = open_as_owner(&settings, &args.owner).await?;
    let (roster, _) = repository.roster();
    let number = repository.issue(roster.members, Timestamp::now()).await?;
    Output::new(false).say(&format!(
        "roster {number}: as before, sealed to the keys that the configuration names now\n\
         Next: `holdfast sync`, so that the targets have it.\n"
    ));
    Ok(Exit::Good)
}
