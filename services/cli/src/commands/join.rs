//! `holdfast keys join` and `admit`: the keys of a further host.

use std::path::PathBuf;

use clap::Args;
use holdfast_format::{Member, Role, Roster, Site};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::roster::{OVERLAP, OwnerArgs, ended, new_key, open_as_owner, role, site};
use crate::access::{self, READING};
use crate::error::file_error;
use crate::key_files::{make_private_dir, member_of_file, refuse_existing, write_new};
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global};

/// Arguments of `keys join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The site of the new host. No other host may have it.
    #[arg(value_name = "SITE", value_parser = site)]
    pub(crate) site: Site,
    /// The roles that the new host's services have. Repeatable; else producer.
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    pub(crate) roles: Vec<Role>,
    /// The folder for the keys; made with mode 0700 if it is missing.
    #[arg(long, value_name = "DIR", default_value = "keys")]
    pub(crate) dir: PathBuf,
}

/// Arguments of `keys admit`.
#[derive(Debug, Args)]
pub(crate) struct AdmitArgs {
    /// The request that `keys join` wrote on the new host.
    #[arg(value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// Let the new keys take the place of those that the site has; these count for another day.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// A host's request for its keys to be signed in.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    site: Site,
    keys: Vec<RequestedKey>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RequestedKey {
    role: Role,
    fingerprint: String,
    certificate: String,
}

/// Makes the keys of a new host, and writes the request for the owner.
pub(crate) fn join(args: &JoinArgs) -> Result<Exit, CliError> {
    let roles = if args.roles.is_empty() {
        vec![Role::Producer]
    } else {
        args.roles.clone()
    };
    let file = args.dir.join(format!("join-{}.json", args.site));
    refuse_existing(&file)?;
    make_private_dir(&args.dir)?;
    let mut keys = Vec::new();
    for role in roles {
        let public = args.dir.join(format!("{role}.pub.asc"));
        // A key that is there was made by an earlier try.
        if !public.exists() {
            new_key(&args.dir, role, role.as_str())?;
        }
        let member = member_of_file(&public, role, None)?;
        keys.push(RequestedKey {
            role,
            fingerprint: member.fingerprint,
            certificate: member.certificate,
        });
    }
    let fingerprints: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {}", key.fingerprint, key.role))
        .collect();
    let request = Request {
        site: args.site.clone(),
        keys,
    };
    let json = serde_json::to_vec_pretty(&request).map_err(|error| CliError::because("encode the request", error))?;
    write_new(&file, &json, 0o644)?;
    Output::new(false).say(&format!(
        "{}\nmade the request {}\nNext: on the host with the owner's key, compare the fingerprints, then `holdfast keys admit {}`.\n\
         Bring reader.sec.asc, owner.pub.asc and the public backup keys from there to {}.\n",
        fingerprints.join("\n"),
        file.display(),
        file.display(),
        args.dir.display()
    ));
    Ok(Exit::Good)
}

/// Signs in the keys of a request.
pub(crate) async fn admit(global: &Global, args: &AdmitArgs) -> Result<Exit, CliError> {
    let _logs = Logs::start(global, None, None)?;
    let text = std::fs::read(&args.request).map_err(file_error("read the request", &args.request))?;
    let request: Request = serde_json::from_slice(&text)
        .map_err(|error| CliError::because(format!("read the request {}", args.request.display()), error))?;
    let settings = access::load(global, READING)?;
    let repository = open_as_owner(&settings, &args.owner).await?;
    let (roster, _) = repository.roster();
    let members = admitted(&roster, &request, args.replace, Timestamp::now())?;
    let number = repository.issue(members, Timestamp::now()).await?;
    let everywhere = |member: &&Member| member.role == Role::Producer && member.sites.is_none();
    let now = Timestamp::now();
    let mut active = roster.members.iter().filter(|member| member.is_active(now));
    let advice = active.find(everywhere).map_or_else(String::new, |member| {
        format!(
            "The producer's key {} speaks for all sites, this one too: `holdfast keys rotate producer --site NAME` on its host \
             gives that host a key for its own site.\n",
            member.fingerprint
        )
    });
    Output::new(false).say(&format!(
        "roster {number}: the keys of the site {} count from now on\n{advice}Next: `holdfast sync`, so that the targets know.\n",
        request.site
    ));
    Ok(Exit::Good)
}

/// Returns the members of the next roster: those that are there, and the keys of a request. Pure.
fn admitted(roster: &Roster, request: &Request, replace: bool, now: Timestamp) -> Result<Vec<Member>, CliError> {
    let site = &request.site;
    let has_site = |member: &Member| member.sites.as_ref().is_some_and(|sites| sites.contains(site));
    let mut active = roster.members.iter().filter(|member| member.is_active(now));
    if let Some(member) = active.find(|member| has_site(member) && !replace) {
        return Err(CliError::refused(
            format!(
                "the site {site} has a key already, {} ({})",
                member.fingerprint, member.role
            ),
            "give the new host a site of its own; or, if the host has new keys, say --replace; if the old host was stolen, \
             `holdfast keys revoke` its keys first",
        ));
    }
    let is_replaced = |member: &Member| has_site(member) && request.keys.iter().any(|key| key.role == member.role);
    let mut members = ended(roster, is_replaced, now + OVERLAP);
    for key in &request.keys {
        if members.iter().any(|member| member.fingerprint == key.fingerprint) {
            return Err(CliError::refused(
                format!("the roster has the key {} already", key.fingerprint),
                "make new keys on the new host with `holdfast keys join`",
            ));
        }
        members.push(Member {
            role: key.role,
            sites: Some(vec![site.clone()]),
            fingerprint: key.fingerprint.clone(),
            certificate: key.certificate.clone(),
            // The new host's clock may be behind.
            from: now - OVERLAP,
            until: None,
            revoked: None,
        });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::roster::sample::{at, roster};

    fn request(site: &str, fingerprint: &str) -> Request {
        Request {
            site: site.parse().unwrap(),
            keys: vec![RequestedKey {
                role: Role::Producer,
                fingerprint: fingerprint.to_owned(),
                certificate: String::new(),
            }],
        }
    }

    #[test]
    fn a_new_site_gets_its_keys_for_itself_alone() {
        let members = admitted(&roster(), &request("b", "BB"), false, at(1_000_000)).unwrap();
        let new = members.last().unwrap();
        assert_eq!((members.len(), new.fingerprint.as_str()), (3, "BB"));
        assert!(new.serves(&"b".parse().unwrap()) && !new.serves(&"a".parse().unwrap()));
        assert!(new.is_active(at(1_000_000 - 3600)), "a clock that is behind");
        assert_eq!(members[..2], roster().members);
    }

    #[test]
    fn a_site_that_exists_is_refused_unless_its_keys_are_to_be_replaced() {
        let refused = admitted(&roster(), &request("a", "BB"), false, at(1_000_000));
        assert!(matches!(&refused, Err(CliError::Refused { .. })), "{refused:?}");
        let members = admitted(&roster(), &request("a", "BB"), true, at(1_000_000)).unwrap();
        assert_eq!(members[0].until, Some(at(1_000_000) + OVERLAP));
        assert_eq!((members[1].until, members[2].until), (None, None));
    }

    #[test]
    fn a_key_is_signed_in_once() {
        for replace in [false, true] {
            let refused = admitted(&roster(), &request("b", "AB02"), replace, at(1_000_000));
            assert!(matches!(&refused, Err(CliError::Refused { .. })), "{refused:?}");
        }
    }
}
