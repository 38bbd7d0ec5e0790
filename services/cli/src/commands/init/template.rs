//! The configuration that `init` writes.

/// The differences from one new deployment to the next.
#[derive(Debug)]
pub(super) struct Template {
    /// The site, if it was named.
    pub(super) site: Option<String>,
    /// The state folder.
    pub(super) state_dir: String,
    /// The repository.
    pub(super) repository: String,
    /// Public keys made elsewhere; none means the one that was generated.
    pub(super) recipients: Vec<String>,
    /// Set if keys/ has the public backup key alone.
    pub(super) secret_elsewhere: bool,
}

impl Template {
    /// The file: what is set, and what can be, as comments.
    pub(super) fn text(&self) -> String {
        let site = match &self.site {
            Some(site) => format!("site = {}", quoted(site)),
            None => "# site = \"host-a\"                 # what this host's workers serve; default: the host's name"
                .to_owned(),
        };
        let own = self.recipients.is_empty();
        let recipients: Vec<String> = if own {
            vec![quoted("keys/backup.pub.asc")]
        } else {
            self.recipients.iter().map(|r| quoted(r)).collect()
        };
        let secret = if own && !self.secret_elsewhere {
            "secret_keys = [\"keys/backup.sec.asc\"]"
        } else {
            "# secret_keys = [\"keys/backup.sec.asc\"]"
        };
        TEXT.replace("@SITE@", &site)
            .replace("@STATE@", &quoted(&self.state_dir))
            .replace("@REPOSITORY@", &quoted(&self.repository))
            .replace("@RECIPIENTS@", &recipients.join(", "))
            .replace("@SECRET@", secret)
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

const TEXT: &str = r#"# Holdfast. `holdfast config check` checks this file, `holdfast doctor` everything that it names.
# Relative paths are taken from this file's folder. Every secret KEY can be given as KEY_file = "path" instead.

@SITE@
state_dir = @STATE@

[repository]
url = @REPOSITORY@

[encryption]
# Whoever holds the secret part of any of these can restore. Two or more are wise: one in use, one offline.
recipients = [@RECIPIENTS@]
# The owner's roster says whose records count; the reader key opens metadata; each service signs with the key of its role.
owner = "keys/owner.pub.asc"
reader_key = "keys/reader.sec.asc"
role_keys = "keys"
# profile = "rfc9580"               # several times faster; read by `sq`, not by GnuPG 2.2

[verifier]
# With a secret backup key on this host, backups are verified by decrypting them; and whoever takes the host over can
# read them. Without it, only their integrity is verified here.
@SECRET@

# What to back up ------------------------------------------------------------------------------------------------------

# [[postgres]]                      # all databases of a server, found at each run
# name = "main"
# url = "postgres://backup@localhost/postgres"
# password_file = "/etc/holdfast/pg-password"
# exclude = ["scratch_*"]

# [[directory]]
# name = "uploads"
# path = "/srv/uploads"
# exclude = ["cache/**"]

# [docker]                          # volumes, and databases in containers with the label holdfast.postgres=true
# host = "unix:///var/run/docker.sock"
# volumes = { exclude = ["*_cache"] }

# [system]                          # captured by `holdfast run --backup-type full`
# paths = ["/etc"]

# When -----------------------------------------------------------------------------------------------------------------

# [[schedule]]                      # followed by `holdfast up`
# name = "nightly"
# cron = "0 2 * * *"
# timezone = "Europe/Berlin"
# verify = "decrypt"

# Where copies go ------------------------------------------------------------------------------------------------------

# [[target]]
# name = "offsite"
# url = "s3://bucket/holdfast"
# endpoint = "https://s3.example.org"
# region = "us-east-1"
# access_key_id_file = "/etc/holdfast/s3-key-id"
# secret_access_key_file = "/etc/holdfast/s3-key"

# How long. A place without a section keeps everything. ----------------------------------------------------------------

# [retention.local]
# daily = "7d"
# weekly = "30d"

# [retention.offsite]
# daily = "30d"
# weekly = "12w"
# monthly = "12 months"
"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::path::Path;

    use holdfast_config::{SecretSection, Settings};

    use super::*;

    fn load(dir: &Path, text: &str, secrets: &[SecretSection]) -> Settings {
        let file = dir.join("holdfast.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load_for(&file, &BTreeMap::new(), secrets).unwrap()
    }

    fn template() -> Template {
        Template {
            site: None,
            state_dir: "state".into(),
            repository: "repository".into(),
            recipients: Vec::new(),
            secret_elsewhere: false,
        }
    }

    #[test]
    fn it_is_a_configuration_that_says_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let settings = load(dir.path(), &template().text(), SecretSection::ALL);
        assert_eq!(settings.encryption.recipients, [dir.path().join("keys/backup.pub.asc")]);
        assert_eq!(settings.verifier.secret_keys, [dir.path().join("keys/backup.sec.asc")]);
        assert_eq!(settings.state_dir, dir.path().join("state"));
        let odd = Template {
            site: Some("host-b".into()),
            state_dir: "/x/a \"b\" \\c".into(),
            repository: "s3://bucket/prefix".into(),
            recipients: vec!["/k/one.asc".into(), "/k/two.asc".into()],
            secret_elsewhere: false,
        };
        let settings = load(dir.path(), &odd.text(), SecretSection::ALL);
        assert_eq!(
            (settings.site.as_str(), settings.encryption.recipients.len()),
            ("host-b", 2)
        );
        assert_eq!(settings.state_dir, Path::new("/x/a \"b\" \\c"));
        assert!(settings.verifier.secret_keys.is_empty() && settings.repository.url.is_s3());
    }

    #[test]
    fn a_secret_key_that_is_elsewhere_is_not_named() {
        let dir = tempfile::tempdir().unwrap();
        let public = Template {
            secret_elsewhere: true,
            ..template()
        };
        let settings = load(dir.path(), &public.text(), SecretSection::ALL);
        assert_eq!(settings.encryption.recipients, [dir.path().join("keys/backup.pub.asc")]);
        assert!(settings.verifier.secret_keys.is_empty());
    }

    #[test]
    fn what_is_commented_out_is_right_too() {
        let dir = tempfile::tempdir().unwrap();
        let all = template()
            .text()
            .lines()
            .map(uncommented)
            .collect::<Vec<_>>()
            .join("\n");
        // The files of secrets do not exist here.
        let settings = load(dir.path(), &all, &[]);
        let sources: Vec<&str> = settings.sources().map(|(name, _)| name.as_str()).collect();
        assert_eq!(sources, ["main", "uploads", "docker-postgres", "docker", "system"]);
        assert_eq!(
            (settings.schedule.len(), settings.target.len(), settings.retention.len()),
            (1, 1, 2)
        );
    }

    /// The line as an operator would bring it in force: `# key = …` and `# [section]`.
    fn uncommented(line: &str) -> String {
        let is_setting =
            |rest: &&str| rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        line.strip_prefix("# ").filter(is_setting).unwrap_or(line).to_owned()
    }
}
