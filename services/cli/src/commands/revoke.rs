//! `holdfast keys revoke`: takes the word from keys that were stolen.

use clap::Args;
use holdfast_format::{Member, Roster};
use jiff::Timestamp;

use super::roster::{OwnerArgs, open_as_owner};
use crate::access::{self, READING};
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global, human, parse};

/// Arguments of `keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Fingerprints of the stolen keys, or the beginnings of them.
    #[arg(value_name = "FINGERPRINT", required = true)]
    pub(crate) fingerprints: Vec<String>,
    /// The last moment at which the keys were certainly in your hands alone. What they signed and stored before it counts on.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(crate) since: Timestamp,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// Lets no signature of these keys count but on what was there before they were stolen.
pub(crate) async fn revoke(global: &Global, args: &RevokeArgs) -> Result<Exit, CliError> {
    let _logs = Logs::start(global, None, None)?;
    if args.since > Timestamp::now() {
        return Err(CliError::Usage(
            "--since lies in the future: give the last moment at which the keys were certainly yours".to_owned(),
        ));
    }
    let settings = access::load(global, READING)?;
    let repository = open_as_owner(&settings, &args.owner).await?;
    let (roster, _) = repository.roster();
    let (members, revoked) = revoked(&roster, &args.fingerprints, args.since)?;
    // First the word for what counts on: without it, revoked keys leave restore points that nobody can use.
    let fingerprints = revoked.iter().map(|member| member.fingerprint.clone()).collect();
    let vouching = repository.vouch(&fingerprints, args.since).await?;
    let number = repository.issue(members, Timestamp::now()).await?;
    let names: Vec<String> = revoked
        .iter()
        .map(|member| format!("{} ({})", member.fingerprint, member.role))
        .collect();
    Output::new(false).say(&format!(
        "roster {number}: revoked {}\n{} records that they signed and stored before {} count on; {} later ones do not.\n\
         Next: `holdfast keys rotate ROLE` on the hosts that go on, change the passwords that the thief may have, and \
         `holdfast sync`, so that the targets know.\n",
        names.join(", "),
        vouching.vouched,
        human::time(args.since),
        vouching.refused,
    ));
    Ok(Exit::Good)
}

/// Returns the members of the next roster, and those of them that are revoked in it. Pure.
fn revoked(roster: &Roster, wanted: &[String], since: Timestamp) -> Result<(Vec<Member>, Vec<Member>), CliError> {
    let mut members = roster.members.clone();
    let mut revoked = Vec::new();
    for wanted in wanted {
        let wanted = wanted.to_uppercase();
        let mut found = members
            .iter_mut()
            .filter(|member| !wanted.is_empty() && member.fingerprint.starts_with(&wanted));
        match (found.next(), found.next()) {
            (Some(member), None) if member.revoked.is_some() => {
                return Err(CliError::Usage(format!("{} is revoked already", member.fingerprint)));
            }
            (Some(member), None) => {
                member.revoked = Some(since);
                revoked.push(member.clone());
            }
            (Some(_), Some(_)) => {
                return Err(CliError::Usage(format!(
                    "several keys of the roster begin with {wanted}: give more of the fingerprint"
                )));
            }
            (None, _) => {
                return Err(CliError::Usage(format!(
                    "the roster has no key {wanted}; `holdfast keys list` shows those that it has"
                )));
            }
        }
    }
    Ok((members, revoked))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::roster::sample::{at, roster};

    #[test]
    fn stolen_keys_are_named_by_beginnings_that_are_clear() {
        let by = |wanted: &str| revoked(&roster(), &[wanted.to_owned()], at(5));
        let (members, stolen) = by("aa").unwrap();
        assert_eq!((members[0].revoked, members[1].revoked), (Some(at(5)), None));
        assert_eq!(stolen, members[..1]);
        for unclear in ["A", "C", ""] {
            assert!(matches!(by(unclear), Err(CliError::Usage(_))), "{unclear}");
        }
        let again = Roster { members, ..roster() };
        assert!(matches!(
            revoked(&again, &["AA".to_owned()], at(9)),
            Err(CliError::Usage(_))
        ));
    }
}
