//! Conversion of the configuration into the scheduler's own values.

use holdfast_config::{DockerPart, Schedule as Configured, Settings};
use holdfast_events::Trigger;
use holdfast_format::SourceName;
use jiff::SignedDuration;

use crate::calendar::{Calendar, CalendarError};
use crate::due::Schedule;
use crate::expect::{Known, KnownSource, Role};

/// The time limit of a run that no schedule starts and whose request sets none.
const TIMEOUT: SignedDuration = SignedDuration::from_hours(12);

impl Known {
    /// Reads the facts that expectations depend on from the configuration.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let known = |name: &SourceName, role| {
            let site = settings.site_of(name).unwrap_or(&settings.site);
            KnownSource::new(name.clone(), role, site.clone())
        };
        let databases = settings
            .postgres
            .iter()
            .map(|source| known(&source.name, Role::Database));
        let volumes = settings
            .directory
            .iter()
            .map(|source| known(&source.name, Role::Volume));
        let docker = settings.docker_sources().iter().map(|source| {
            let role = match source.part {
                DockerPart::Volumes => Role::Volume,
                DockerPart::Databases => Role::Database,
            };
            KnownSource::new(source.name.clone(), role, source.site.clone()).with_stacks()
        });
        let system = settings.system.iter().map(|source| known(&source.name, Role::System));
        let sources = databases.chain(volumes).chain(docker).chain(system).collect();
        let grace = duration(settings.janitor.grace);
        Self {
            sources,
            targets: settings.target.iter().map(|target| target.name.clone()).collect(),
            retention: settings.retention.keys().cloned().collect(),
            // A short grace, as tests have it, must not make every run impossible.
            timeout: TIMEOUT.min(grace / 2),
            grace,
            site: settings.site.clone(),
        }
    }
}

impl Schedule {
    /// Reads a configured schedule.
    ///
    /// # Errors
    /// Fails if its expression is malformed, its time zone is unknown, or no time ever matches.
    pub fn of(configured: &Configured) -> Result<Self, CalendarError> {
        Ok(Self {
            name: configured.name.clone(),
            calendar: Calendar::parse(&configured.cron, &configured.timezone)?,
            jitter: configured.jitter.as_std(),
            catch_up: configured.catch_up,
        })
    }
}

/// Returns the request that a schedule makes when it comes due.
#[must_use]
pub fn trigger_of(configured: &Configured) -> Trigger {
    // Seconds are what a trigger can say; a fraction is rounded up, so that no timeout becomes none.
    let timeout = configured.timeout.as_std();
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    Trigger {
        backup_type: configured.backup_type.as_str().to_owned(),
        sources: configured.sources.clone(),
        stack: None,
        verify: configured.verify,
        sync_offsite: configured.sync_offsite,
        cleanup: configured.cleanup,
        label: None,
        hold_seconds: None,
        class: configured.class,
        fresh: false,
        timeout_seconds: Some(seconds),
        run: None,
        person: None,
        wait: false,
    }
}

fn duration(period: holdfast_config::Period) -> SignedDuration {
    SignedDuration::try_from(period.as_std()).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use holdfast_format::{Class, Level};

    use super::*;

    const FILE: &str = r#"
site = "host-a"
[repository]
url = "file:///var/backups/holdfast"
[encryption]
recipients = ["backup.asc"]
owner = "owner.asc"
reader_key = "reader.asc"
[[postgres]]
name = "main"
url = "postgres://backup@db/postgres"
site = "host-b"
[[directory]]
name = "uploads"
path = "/srv/uploads"
[system]
paths = ["/etc"]
[[schedule]]
name = "nightly"
cron = "30 2 * * *"
timezone = "Europe/Berlin"
sources = ["main"]
verify = "decrypt"
class = "weekly"
timeout = "1500ms"
[[target]]
name = "s3"
url = "file:///mnt/copy"
[retention.local]
daily = "7d"
"#;

    #[test]
    fn settings_become_what_the_scheduler_knows() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("holdfast.toml");
        std::fs::write(&file, FILE).unwrap();
        let settings = Settings::load(&file, &BTreeMap::new()).unwrap();
        let known = Known::of(&settings);
        let sources: Vec<_> = known
            .sources
            .iter()
            .map(|s| (s.source.name.as_str(), s.source.site.as_str(), s.role))
            .collect();
        assert_eq!(
            sources,
            [
                ("main", "host-b", Role::Database),
                ("uploads", "host-a", Role::Volume),
                ("system", "host-a", Role::System)
            ]
        );
        assert_eq!(
            (known.targets[0].as_str(), known.retention[0].as_str()),
            ("s3", "local")
        );
        assert_eq!(
            (known.timeout, known.grace),
            (SignedDuration::from_hours(12), SignedDuration::from_hours(24))
        );
        let schedule = Schedule::of(&settings.schedule[0]).unwrap();
        assert_eq!((schedule.name.as_str(), schedule.catch_up), ("nightly", true));
        let trigger = trigger_of(&settings.schedule[0]);
        assert_eq!(
            (trigger.verify, trigger.class, trigger.timeout_seconds),
            (Some(Level::Decrypt), Some(Class::Weekly), Some(2))
        );
        assert!(trigger.sync_offsite && trigger.cleanup && trigger.sources.len() == 1);
    }
}
