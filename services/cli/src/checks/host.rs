//! Checks of this host: staging, state, the NATS server, the clock.

use std::path::Path;

use holdfast_bus::{Bus, PrivateServer};
use holdfast_config::Settings;
use holdfast_service::bus_options;
use holdfast_session::staging_dir;

use super::Check;
use crate::assembly::nats_dir;
use crate::human;

/// Looks at staging, the state folder and NATS.
pub(crate) async fn all(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![staging(settings), state_dir(settings), clock()];
    checks.push(match &settings.nats.url {
        Some(url) => server(settings, url.as_str()).await,
        None => private(settings).await,
    });
    checks
}

fn staging(settings: &Settings) -> Check {
    const NAME: &str = "staging";
    let dir = match staging_dir(settings) {
        Ok(dir) => dir,
        Err(error) => return Check::error(NAME, &error),
    };
    let wanted = settings.staging.max_bytes;
    let shown = dir.display();
    match room(&dir) {
        Some(free) if free < wanted.as_u64() => Check::fail(
            NAME,
            format!(
                "{shown} has {} free, and staging.max_bytes is {wanted}",
                human::bytes(free)
            ),
            "give the tmpfs more memory, or set staging.max_bytes lower (64MiB at least)",
        ),
        _ if settings.staging.allow_disk != holdfast_config::AllowDisk::No => Check::warn(
            NAME,
            format!("{shown}, up to {wanted}; plaintext may touch a disk"),
            "stage on a tmpfs, so that nobody finds deleted plaintext on the disk",
        ),
        _ => Check::ok(NAME, format!("{shown}, up to {wanted}, in memory")),
    }
}

/// Free bytes; and what staging holds already counts as free for it.
fn room(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn state_dir(settings: &Settings) -> Check {
    const NAME: &str = "state_dir";
    let dir = &settings.state_dir;
    if let Err(error) = std::fs::create_dir_all(dir) {
        return Check::fail(
            NAME,
            format!("{} cannot be made: {error}", dir.display()),
            "make it, owned by who runs holdfast",
        );
    }
    match tempfile::Builder::new().prefix(".holdfast-doctor-").tempfile_in(dir) {
        Ok(_) => {
            let free = room(dir).map_or_else(String::new, |free| format!(", {} free", human::bytes(free)));
            Check::ok(NAME, format!("{} is writable{free}", dir.display()))
        }
        Err(error) => Check::fail(
            NAME,
            format!("{} is not writable: {error}", dir.display()),
            "let the user of holdfast own it",
        ),
    }
}

fn clock() -> Check {
    let now = jiff::Timestamp::now();
    // Nothing of Holdfast is older.
    match now.as_second() < 1_767_225_600 {
        true => Check::fail(
            "clock",
            human::time(now),
            "the clock is years behind: set it by NTP before anything is captured",
        ),
        false => Check::ok("clock", human::time(now)),
    }
}

async fn server(settings: &Settings, url: &str) -> Check {
    let name = format!("nats {url}");
    match Bus::connect(&bus_options(settings, url, "holdfast-doctor")).await {
        Ok(bus) => Check::ok(name, format!("nats-server {} with JetStream", bus.server_version())),
        Err(error) => Check::error(name, &error),
    }
}

async fn private(settings: &Settings) -> Check {
    const NAME: &str = "nats-server";
    if let Some(running) = PrivateServer::running(&nats_dir(settings)) {
        return Check::ok(
            NAME,
            format!("a private one runs at {} (process {})", running.url, running.pid),
        );
    }
    // Started for a moment in a folder of its own: so what holds for the real one is what is tried.
    let Ok(dir) = tempfile::tempdir() else {
        return Check::fail(NAME, "no temporary folder can be made", "look at TMPDIR and its disk");
    };
    match PrivateServer::start(settings.nats.server_binary.as_deref(), dir.path()).await {
        Ok(server) => {
            let version = match Bus::connect(&crate::assembly::private_options(
                settings,
                &server.url(),
                server.auth(),
            ))
            .await
            {
                Ok(bus) => Check::ok(
                    NAME,
                    format!("version {}, starts and keeps streams", bus.server_version()),
                ),
                Err(error) => Check::error(NAME, &error),
            };
            server.stop().await;
            version
        }
        Err(error) => Check::error(NAME, &error),
    }
}
