//! Files that a program gets beside its environment. They exist in memory only, and only as long as somebody holds
//! them. Nothing is left of them even if this process is killed.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use holdfast_config::{Keepalives, Secret};

/// A password file and a service file for libpq. To be held as long as the program runs.
#[derive(Debug)]
pub struct ProgramFiles {
    password: OwnedFd,
    service: OwnedFd,
}

impl ProgramFiles {
    /// Without a password its file is empty, so that none is taken from anywhere else.
    pub(crate) fn new(password: Option<&Secret>, keepalives: &Keepalives) -> io::Result<Self> {
        let line = password.map(|password| password_line(password.expose())).transpose()?;
        Ok(Self {
            password: in_memory("pgpass", &line.unwrap_or_default())?,
            service: in_memory("pg_service", &service(keepalives))?,
        })
    }

    /// The path of the password file for a child of this process, which inherits it under the number that it has here.
    pub(crate) fn password_file(&self) -> String {
        inherited(&self.password)
    }

    /// The path of the service file.
    pub(crate) fn service_file(&self) -> String {
        inherited(&self.service)
    }
}

fn inherited(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn in_memory(name: &str, text: &str) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
    let memory = memfd_create(name, MemfdFlags::empty())?;
    // libpq refuses a password file that others may read.
    fchmod(&memory, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(memory);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

/// The line of a password file for any host, port, database and user.
fn password_line(password: &str) -> io::Result<String> {
    // libpq would take a part of it for the whole.
    if password.contains(['\n', '\0']) || password.ends_with('\r') {
        return Err(io::Error::other("it holds a line break, which a password file cannot"));
    }
    let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
    Ok(format!("*:*:*:*:{escaped}\n"))
}

/// The service file: parameters that libpq takes from no variable.
fn service(keepalives: &Keepalives) -> String {
    let mut text = format!(
        "[holdfast]\nkeepalives={}\nkeepalives_idle={}\n",
        u8::from(keepalives.on),
        keepalives.idle.as_secs()
    );
    let mut add = |key: &str, value: Option<u128>| {
        text.extend(value.map(|value| format!("{key}={value}\n")));
    };
    add(
        "keepalives_interval",
        keepalives.interval.map(|time| time.as_secs().into()),
    );
    add("keepalives_count", keepalives.count.map(Into::into));
    add("tcp_user_timeout", keepalives.user_timeout.map(|time| time.as_millis()));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use holdfast_config::Connection;

    use super::*;

    #[test]
    fn a_password_is_one_line_or_is_refused() {
        assert_eq!(password_line("pa ss:w\\o'rd").unwrap(), "*:*:*:*:pa ss\\:w\\\\o'rd\n");
        for bad in ["a\nb", "a\n", "a\0", "a\r"] {
            let error = password_line(bad).unwrap_err().to_string();
            assert!(error.contains("line break"), "{error}");
        }
    }

    #[test]
    fn files_in_memory_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let url = "postgres://db/?keepalives_idle=9&keepalives_count=3&tcp_user_timeout=7";
        let reach = Connection::parse(url, Path::new("/")).unwrap().reach().unwrap();
        let files = ProgramFiles::new(Some(&Secret::new("x")), &reach.keepalives).unwrap();
        let file = files.password_file();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "*:*:*:*:x\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let service = std::fs::read_to_string(files.service_file()).unwrap();
        assert_eq!(
            service,
            "[holdfast]\nkeepalives=1\nkeepalives_idle=9\nkeepalives_count=3\ntcp_user_timeout=7\n"
        );
        let without = ProgramFiles::new(None, &reach.keepalives).unwrap();
        assert_eq!(std::fs::read_to_string(without.password_file()).unwrap(), "");
    }
}
