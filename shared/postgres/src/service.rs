//! `pg_service.conf`: parameters of connections that every program of a host shares.

use std::path::PathBuf;

use holdfast_config::Connection;

use crate::PgError;

/// The folders in which distributions keep the file of the whole system.
const OF_THE_SYSTEM: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc"];

/// Takes what the connection's service says where the connection itself says nothing. `server` is for errors.
pub(crate) fn resolved(connection: &Connection, server: &str) -> Result<Connection, PgError> {
    let Some(name) = connection.service() else {
        return Ok(connection.clone());
    };
    let mut looked = Vec::new();
    for path in files() {
        looked.push(path.display().to_string());
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let Some(words) = section(&text, name) else { continue };
        let problem = |problem: String| PgError::File {
            server: server.to_owned(),
            path: path.clone(),
            problem,
        };
        let words = words.map_err(|line| {
            problem(format!(
                "in its section [{name}], a line is not key=value: number {line}"
            ))
        })?;
        let dir = path.parent().map(PathBuf::from).unwrap_or_default();
        return connection
            .or_words(words, &dir)
            .map_err(|rules| problem(format!("its section [{name}] {}", rules.join("; it "))));
    }
    Err(PgError::NoService {
        server: server.to_owned(),
        name: name.to_owned(),
        looked,
    })
}

/// The file that is named, or that of the user; then that of the system.
fn files() -> Vec<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let own = variable("PGSERVICEFILE").or_else(|| variable("HOME").map(|home| home.join(".pg_service.conf")));
    let dirs = match variable("PGSYSCONFDIR") {
        Some(dir) => vec![dir],
        None => OF_THE_SYSTEM.map(PathBuf::from).to_vec(),
    };
    let system = dirs.into_iter().map(|dir| dir.join("pg_service.conf"));
    own.into_iter().chain(system).collect()
}

/// The words of a section; the number of a line that is none. `None` if there is no such section.
fn section(text: &str, name: &str) -> Option<Result<Vec<(String, String)>, usize>> {
    let mut lines = text.lines().map(str::trim).zip(1_usize..);
    lines.find(|(line, _)| line.strip_prefix('[').and_then(|line| line.split(']').next()) == Some(name))?;
    let mut words = Vec::new();
    for (line, number) in lines.take_while(|(line, _)| !line.starts_with('[')) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Some(Err(number));
        };
        words.push((key.to_owned(), value.to_owned()));
    }
    Some(Ok(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_to_the_next() {
        let text = "# all\n[one]\nhost=a\n\n [two] \n# mine\nhost=b\nport=7\noptions=-c x=y\n[three]\nhost\n";
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let two = vec![pair("host", "b"), pair("port", "7"), pair("options", "-c x=y")];
        assert_eq!(section(text, "two"), Some(Ok(two)));
        assert_eq!(section(text, "three"), Some(Err(11)));
        assert_eq!(section(text, "four"), None);
    }
}
