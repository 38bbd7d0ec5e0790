use super::*;

#[test]
fn secrets_are_shown_nowhere() {
    let (_dir, settings) = full();
    let shown = settings.to_toml();
    for text in [format!("{settings:?}"), format!("{settings:#?}"), shown.clone()] {
        assert!(!text.contains("SECRET"), "{text}");
    }
    assert!(
        shown.contains("secret_access_key = \"***\"") && shown.contains("password = \"***\""),
        "{shown}"
    );
}

#[test]
fn a_secret_at_fault_is_not_repeated() {
    let texts = [
        "[nats]\npassword = 1234567891",
        "[nats]\nurl = \"1234567891\"",
        "[nats]\nurl = \"nats://u:1234567891\"",
        "[verifier]\npasphrase = \"1234567891\"",
        "[[postgres]]\nname = \"p\"\nurl = \"postgres://u:1234567891/x@db\"",
        "[[target]]\nname = \"t\"\nurl = \"s3://k:1234567891@b\"",
    ];
    for text in texts {
        let error = load(&format!("{LEAST}{text}\n")).expect_err(text);
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("1234567891"), "{shown}");
        }
    }
}

#[test]
fn secrets_come_from_files_that_not_everyone_can_read() {
    let text = format!("{LEAST}[verifier]\npassphrase_file = \"secret\"\n");
    let (dir, path) = folder(&text);
    let load = || Settings::load(&path, &BTreeMap::new());
    let rule = || load().unwrap_err().faults.remove(0).rule;
    assert!(rule().contains("which cannot be read"));
    for (content, secret) in [
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s3cret\n\n", " s3cret\n"),
    ] {
        secret_file(dir.path(), "secret", content, 0o600);
        assert_eq!(load().unwrap().verifier.passphrase.unwrap().expose(), secret);
    }
    secret_file(dir.path(), "secret", "s3cret", 0o604);
    assert!(
        rule().contains("which everyone on this host can read; run `chmod o-rwx "),
        "{}",
        rule()
    );
    assert!(!load().unwrap_err().to_string().contains("s3cret"));
    secret_file(dir.path(), "secret", "\n", 0o600);
    assert!(rule().contains("which is empty"));
    secret_file(dir.path(), "secret", &"x".repeat(70_000), 0o600);
    assert!(rule().contains("too large"));
    fs::remove_file(dir.path().join("secret")).unwrap();
    fs::create_dir(dir.path().join("secret")).unwrap();
    assert!(rule().contains("not a plain file"));
}

#[test]
fn a_secret_and_its_file_are_one_too_many() {
    let text = format!("{LEAST}[verifier]\npassphrase = \"a\"\npassphrase_file = \"secret\"\n");
    let (dir, path) = folder(&text);
    secret_file(dir.path(), "secret", "b", 0o600);
    assert_eq!(
        faults(Settings::load(&path, &BTreeMap::new())),
        ["9 verifier.passphrase: must not be given together with `passphrase_file`"]
    );
}

#[test]
fn a_service_holds_only_the_secrets_it_names() {
    let text = format!(
        "{LEAST}[verifier]\npassphrase_file = \"not-mounted-here\"\n[nats]\nurl = \"nats://a:b@h\"\n\
         [[postgres]]\nname = \"p\"\nurl = \"postgres://u:x@db\"\n"
    );
    let (_dir, path) = folder(&text);
    let settings = Settings::load_for(&path, &BTreeMap::new(), &[SecretSection::Nats]).unwrap();
    assert!(settings.verifier.passphrase.is_none() && settings.postgres[0].password.is_none());
    assert_eq!(settings.nats.password.unwrap().expose(), "b");
    assert_eq!(settings.postgres[0].url.to_string(), "postgres://u@db");
}
