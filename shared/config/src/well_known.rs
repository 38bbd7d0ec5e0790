//! Environment variables with names of their own, in addition to `HOLDFAST__SECTION__KEY`.
//!
//! They add to the configuration, and never override it.

use config::ValueKind;

/// Adds a target named `s3` in this bucket (`bucket` or `bucket/prefix`), if no target has that name.
pub(crate) const S3_BUCKET: &str = "BACKUP_S3_BUCKET";
/// Adds a target named `b2` in this bucket (`bucket` or `bucket/prefix`), if no target has that name.
pub(crate) const B2_BUCKET: &str = "BACKUP_B2_BUCKET";
/// The region of [`B2_BUCKET`], such as `us-west-004`.
pub(crate) const B2_REGION: &str = "BACKUP_B2_REGION";
/// The S3 endpoint of [`B2_BUCKET`], if it is not the one of its region.
pub(crate) const B2_ENDPOINT: &str = "BACKUP_B2_ENDPOINT";
/// The key id for [`B2_BUCKET`]. Without it, [`AWS_ACCESS_KEY_ID`] is used.
pub(crate) const B2_KEY_ID: &str = "B2_APPLICATION_KEY_ID";
/// The key for [`B2_BUCKET`]. Without it, [`AWS_SECRET_ACCESS_KEY`] is used.
pub(crate) const B2_KEY: &str = "B2_APPLICATION_KEY";
/// A whole number of days for `retention.local.daily`, if that key is not set.
pub(crate) const RETENTION_DAYS: &str = "BACKUP_RETENTION_DAYS";
/// The key id that every S3 place without credentials of its own uses, together with `AWS_SECRET_ACCESS_KEY`.
pub const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// The key that belongs to [`AWS_ACCESS_KEY_ID`].
pub(crate) const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// The token of temporary credentials, for [`AWS_ACCESS_KEY_ID`].
pub(crate) const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
/// The region of S3 places that take their credentials from the environment and name no region.
pub const AWS_REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The endpoint of S3 places that take their credentials from the environment and name no endpoint.
pub const AWS_ENDPOINT: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// A key of the configuration that a well-known variable sets.
pub(crate) struct Given {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) variable: &'static str,
}

/// A target that the environment adds: its name, and its keys without their prefix.
pub(crate) struct NewTarget {
    pub(crate) name: &'static str,
    pub(crate) keys: Vec<Given>,
}

/// Returns the targets that the environment adds.
pub(crate) fn targets<'a>(env: impl Fn(&str) -> Option<&'a str>) -> Vec<NewTarget> {
    let given = |key: &str, value: &str, variable| Given {
        key: key.into(),
        value: value.into(),
        variable,
    };
    let mut targets = Vec::new();
    if let Some(bucket) = env(S3_BUCKET) {
        let keys = vec![
            given("name", "s3", S3_BUCKET),
            given("url", &bucket_url(bucket), S3_BUCKET),
        ];
        targets.push(NewTarget { name: "s3", keys });
    }
    if let Some(bucket) = env(B2_BUCKET) {
        let mut keys = vec![
            given("name", "b2", B2_BUCKET),
            given("url", &bucket_url(bucket), B2_BUCKET),
        ];
        if let Some(region) = env(B2_REGION) {
            keys.push(given("region", region, B2_REGION));
            keys.push(given(
                "endpoint",
                &format!("https://s3.{region}.backblazeb2.com"),
                B2_REGION,
            ));
        }
        if let Some(endpoint) = env(B2_ENDPOINT) {
            keys.retain(|given| given.key != "endpoint");
            keys.push(given("endpoint", endpoint, B2_ENDPOINT));
        }
        for (key, variable) in [("access_key_id", B2_KEY_ID), ("secret_access_key", B2_KEY)] {
            keys.extend(env(variable).map(|value| given(key, value, variable)));
        }
        targets.push(NewTarget { name: "b2", keys });
    }
    targets
}

fn bucket_url(bucket: &str) -> String {
    if bucket.contains("://") {
        bucket.to_owned()
    } else {
        format!("s3://{bucket}")
    }
}

/// Returns the value that [`RETENTION_DAYS`] sets, or the rule that it breaks.
pub(crate) fn retention(days: &str) -> Result<ValueKind, &'static str> {
    match days.trim().parse::<u32>() {
        Ok(days) if days > 0 => Ok(ValueKind::from(format!("{days}d"))),
        _ => Err("must be a whole number of days, 1 or more"),
    }
}
