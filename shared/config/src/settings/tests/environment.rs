use super::*;

#[test]
fn the_environment_overrides_the_file() {
    let text = format!(
        "{LEAST}[nats]\nreplicas = 1\n[[postgres]]\nname = \"main-db\"\nurl = \"postgres://db\"\n\
         [[target]]\nname = \"s3\"\nurl = \"/mnt\"\n"
    );
    let settings = load_with(
        &text,
        &[
            ("HOLDFAST__SITE", "shared"),
            ("HOLDFAST__NATS__REPLICAS", "3"),
            ("HOLDFAST__NATS__URL", "nats://h:1"),
            ("HOLDFAST__POSTGRES__MAIN_DB__PASSWORD", "pw"),
            ("HOLDFAST__POSTGRES__0__GLOBALS", "false"),
            ("HOLDFAST__POSTGRES__MAIN_DB__INCLUDE", "a, b"),
            ("HOLDFAST__RETENTION__S3__DAILY", "9d"),
            ("HOLDFAST__ENCRYPTION__RECIPIENTS", "x.asc"),
            ("HOLDFAST__STAGING__DIR", ""),
            ("HOLDFAST_FAILPOINTS", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!((settings.site.as_str(), settings.nats.replicas), ("shared", 3));
    assert_eq!(settings.nats.url.unwrap().as_str(), "nats://h:1");
    let postgres = &settings.postgres[0];
    assert_eq!(
        (postgres.password.as_ref().unwrap().expose(), postgres.globals),
        ("pw", false)
    );
    assert_eq!(postgres.include, ["a", "b"]);
    assert_eq!(settings.retention[&place("s3")].daily, Some(Span::Seconds(9 * 86_400)));
    assert!(settings.encryption.recipients[0].ends_with("x.asc") && settings.encryption.recipients.len() == 1);
    assert!(settings.staging.dir.is_none());
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let found = faults(load_with(
        LEAST,
        &[
            ("BACKUP_RETENTION_DAYS", "a week"),
            ("HOLDFAST__NATS__REPLICAS", "many"),
            ("HOLDFAST__NATS____URL", "x"),
            ("HOLDFAST__NATS__ULR", "x"),
            ("HOLDFAST__POSTGRES__MAIN__URL", "x"),
        ],
    ));
    assert_eq!(
        found,
        [
            "environment variable HOLDFAST__NATS____URL: : does not name a key: write HOLDFAST__SECTION__KEY",
            "environment variable HOLDFAST__POSTGRES__MAIN__URL: : does not name a key: no [[postgres]] has the name `main`",
            "environment variable BACKUP_RETENTION_DAYS: : must be a whole number of days, 1 or more",
            "environment variable HOLDFAST__NATS__REPLICAS: nats.replicas: must be a whole number",
            "environment variable HOLDFAST__NATS__ULR: nats.ulr: is not a known key; did you mean `url`?",
        ]
    );
}

#[test]
fn well_known_variables_add_and_never_override() {
    let variables = [
        ("BACKUP_S3_BUCKET", "offsite/holdfast"),
        ("BACKUP_B2_BUCKET", "b2-bucket"),
        ("BACKUP_B2_REGION", "us-west-004"),
        ("B2_APPLICATION_KEY_ID", "b2id"),
        ("B2_APPLICATION_KEY", "b2key"),
        ("AWS_ACCESS_KEY_ID", "awsid"),
        ("AWS_SECRET_ACCESS_KEY", "awskey"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("BACKUP_RETENTION_DAYS", "14"),
        ("HOLDFAST__TARGET__S3__BANDWIDTH", "1MiB"),
    ];
    let text = format!("{LEAST}[[schedule]]\nname = \"n\"\ncron = \"0 2 * * *\"\n");
    let settings = load_with(&text, &variables).unwrap();
    let s3 = settings.target(&place("s3")).unwrap();
    assert_eq!(s3.url.to_string(), "s3://offsite/holdfast");
    assert_eq!(
        (s3.s3.access_key_id.as_ref().unwrap().expose(), s3.s3.region.as_deref()),
        ("awsid", Some("eu-west-1"))
    );
    assert_eq!((s3.bandwidth, s3.s3.path_style), (Some(ByteSize::mib(1)), false));
    let b2 = settings.target(&place("b2")).unwrap();
    assert_eq!(
        b2.s3.endpoint.as_ref().unwrap().as_str(),
        "https://s3.us-west-004.backblazeb2.com/"
    );
    assert_eq!(b2.s3.secret_access_key.as_ref().unwrap().expose(), "b2key");
    assert_eq!(
        settings.retention[&place("local")].daily,
        Some(Span::Seconds(14 * 86_400))
    );
    assert!(settings.schedule[0].sync_offsite);

    let text = format!("{LEAST}[[target]]\nname = \"s3\"\nurl = \"/mnt\"\n[retention.local]\ndaily = \"7d\"\n");
    let settings = load_with(&text, &variables).unwrap();
    assert_eq!(
        (
            settings.target.len(),
            settings.target(&place("s3")).unwrap().url.is_s3()
        ),
        (2, false)
    );
    assert_eq!(
        settings.retention[&place("local")].daily,
        Some(Span::Seconds(7 * 86_400))
    );
}
