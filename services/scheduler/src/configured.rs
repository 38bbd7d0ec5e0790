//! Conversion of the configuration into the scheduler's own values.

use holdfast_config::{
    Class as ConfiguredClass, DockerPart, Level as ConfiguredLevel, Schedule as Configured, Settings,
};
use holdfast_events::Trigger;
use holdfast_format::{Class, Level, NameError, Site, SourceName};
use jiff::SignedDuration;

use crate::{Calendar, CalendarError, Known, KnownSource, Role, Schedule};

/// The time limit of a run that no schedule starts and whose request sets none.
const TIMEOUT: SignedDuration = SignedDuration::from_hours(12);

impl Known {
    /// Reads the facts that expectations depend on from the configuration.
    ///
    /// # Errors
    /// A name that the format does not allow; loaded settings have none.
    pub fn of(settings: &Settings) -> Result<Self, NameError> {
        let site: Site = settings.site.parse()?;
        let databases = settings.postgres.iter().map(|source| (&source.name, Role::Database));
        let volumes = settings.directory.iter().map(|source| (&source.name, Role::Volume));
        let system = settings.system.iter().map(|source| (&source.name, Role::System));
        let known = |(name, role): (&String, Role)| {
            let site = settings
                .site_of(name)
                .map_or_else(|| Ok(site.clone()), |site| site.parse())?;
            Ok(KnownSource::new(name.parse()?, role, site))
        };
        let docker = settings.docker_sources();
        let docker = docker.iter().map(|source| {
            let role = match source.part {
                DockerPart::Volumes => Role::Volume,
                DockerPart::Databases => Role::Database,
            };
            known((&source.name, role)).map(KnownSource::with_stacks)
        });
        let docker = docker.collect::<Result<Vec<_>, _>>()?;
        let configured = databases.chain(volumes).map(known).collect::<Result<Vec<_>, _>>()?;
        let system = system.map(known).collect::<Result<Vec<_>, _>>()?;
        let sources = configured.into_iter().chain(docker).chain(system).collect();
        let grace = duration(settings.janitor.grace);
        Ok(Self {
            sources,
            targets: settings
                .target
                .iter()
                .map(|t| t.name.parse())
                .collect::<Result<_, _>>()?,
            retention: settings
                .retention
                .keys()
                .map(|place| place.parse())
                .collect::<Result<_, _>>()?,
            // A short grace, as tests have it, must not make every run impossible.
            timeout: TIMEOUT.min(grace / 2),
            grace,
            site,
        })
    }
}

impl Schedule {
    /// A configured schedule.
    ///
    /// # Errors
    /// [`CalendarError`] if its expression or time zone are not good.
    pub fn of(configured: &Configured) -> Result<Self, CalendarError> {
        Ok(Self {
            name: configured.name.clone(),
            calendar: Calendar::parse(&configured.cron, &configured.timezone)?,
            jitter: configured.jitter.as_std(),
            catch_up: configured.catch_up,
        })
    }
}

/// The request that a schedule makes when it comes due.
///
/// # Errors
/// A source's name that the format does not allow; loaded settings have none.
pub fn trigger_of(configured: &Configured) -> Result<Trigger, NameError> {
    let sources: Vec<SourceName> = configured.sources.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    // Seconds are what a trigger can say; a fraction is rounded up, so that no timeout becomes none.
    let timeout = configured.timeout.as_std();
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    Ok(Trigger {
        backup_type: configured.backup_type.as_str().to_owned(),
        sources,
        stack: None,
        verify: configured.verify.map(level),
        sync_offsite: configured.sync_offsite,
        cleanup: configured.cleanup,
        label: None,
        hold_seconds: None,
        class: configured.class.map(class),
        fresh: false,
        timeout_seconds: Some(seconds),
        run: None,
        wait: false,
    })
}

fn duration(period: holdfast_config::Period) -> SignedDuration {
    SignedDuration::try_from(period.as_std()).unwrap_or(SignedDuration::MAX)
}

fn level(level: ConfiguredLevel) -> Level {
    match level {
        ConfiguredLevel::Integrity => Level::Integrity,
        ConfiguredLevel::Decrypt => Level::Decrypt,
        ConfiguredLevel::Restore => Level::Restore,
    }
}

fn class(class: ConfiguredClass) -> Class {
    match class {
        ConfiguredClass::Daily => Class::Daily,
        ConfiguredClass::Weekly => Class::Weekly,
        ConfiguredClass::Monthly => Class::Monthly,
        ConfiguredClass::Pinned => Class::Pinned,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    const FILE: &str = r#"
site = "host-a"
[repository]
url = "file:///var/backups/holdfast"
[encryption]
recipients = ["backup.asc"]
pipeline_key = "pipeline.asc"
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
        let known = Known::of(&settings).unwrap();
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
        let trigger = trigger_of(&settings.schedule[0]).unwrap();
        assert_eq!(
            (trigger.verify, trigger.class, trigger.timeout_seconds),
            (Some(Level::Decrypt), Some(Class::Weekly), Some(2))
        );
        assert!(trigger.sync_offsite && trigger.cleanup && trigger.sources.len() == 1);
    }
}
