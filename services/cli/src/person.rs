//! The person at the command, by name: for the record, and no proof of anything.

/// Returns the Unix user that this process runs as; with `sudo`, also the one who called it.
pub(crate) fn person() -> String {
    let uid = rustix::process::getuid().as_raw();
    let known = std::fs::read("/etc/passwd").unwrap_or_default();
    let caller = std::env::var("SUDO_USER").ok();
    told(uid, &String::from_utf8_lossy(&known), caller.as_deref())
}

/// Names a user by its number, the lines of `/etc/passwd`, and the user who called `sudo`.
fn told(uid: u32, passwd: &str, caller: Option<&str>) -> String {
    const LONGEST: usize = 32;
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        (number == uid.to_string()).then_some(name)
    });
    let short = |name: &str| -> String {
        let plain = name.chars().filter(|c| c.is_ascii_graphic());
        plain.take(LONGEST).collect()
    };
    let user = name.map_or_else(|| format!("uid {uid}"), short);
    match caller.map(short) {
        Some(caller) if uid == 0 && !caller.is_empty() => format!("{user}, for {caller}"),
        _ => user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_as_the_host_knows_it() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        for (uid, caller, told_of) in [
            (1000, None, "alice"),
            (1000, Some("bob"), "alice"),
            (0, None, "root"),
            (0, Some("alice"), "root, for alice"),
            (0, Some(""), "root"),
            (0, Some("a\nb c"), "root, for abc"),
            (4711, None, "uid 4711"),
        ] {
            assert_eq!(told(uid, passwd, caller), told_of);
        }
        let long = format!("{}:x:5:5::/:/bin/sh\n", "n".repeat(300));
        assert_eq!(told(5, &long, None).len(), 32);
        assert_eq!(told(5, "", None), "uid 5");
    }
}
