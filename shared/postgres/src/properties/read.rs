//! The properties that a database has.

use holdfast_format::{DatabaseGrant, DatabaseInfo, DatabaseSetting, Text};
use tokio_postgres::{Client, Error};

use crate::text::{optional_text, text};

const SETTINGS: &str = "SELECT r.rolname::text, c.setting FROM pg_catalog.pg_db_role_setting s \
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, \
    LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (setting, place) \
    WHERE d.datname = pg_catalog.current_database() AND (s.setrole = 0 OR r.oid IS NOT NULL) \
    ORDER BY r.rolname NULLS FIRST, c.place";

const GRANTS: &str = "SELECT CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee)::text END, \
    a.privilege_type, a.is_grantable FROM pg_catalog.pg_database d, \
    LATERAL pg_catalog.aclexplode(d.datacl) WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, place) \
    WHERE d.datname = pg_catalog.current_database() ORDER BY a.place";

/// Reads the properties of the database that `client` is connected to, byte by byte.
///
/// # Errors
/// The driver's.
pub async fn read(client: &Client, major: u32) -> Result<DatabaseInfo, Error> {
    let row = client.query_one(&question(major), &[]).await?;
    let word = |column| Ok::<_, Error>(optional_text(&row, column)?.map(|word| word.to_string()));
    let has_acl: bool = row.try_get(10)?;
    Ok(DatabaseInfo {
        encoding: word(0)?.unwrap_or_default(),
        collate: text(&row, 1)?,
        ctype: text(&row, 2)?,
        locale_provider: word(3)?,
        locale: optional_text(&row, 4)?,
        icu_rules: optional_text(&row, 5)?,
        owner: text(&row, 6)?,
        connection_limit: row.try_get(7)?,
        is_template: row.try_get(8)?,
        comment: optional_text(&row, 9)?,
        settings: settings(client).await?,
        acl: if has_acl { Some(grants(client).await?) } else { None },
    })
}

/// The columns for locales have come, and changed their names, with the versions.
fn question(major: u32) -> String {
    let provider = if major >= 15 {
        "CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END"
    } else {
        "NULL::text"
    };
    let locale = match major {
        17.. => "d.datlocale::text",
        15..=16 => "d.daticulocale::text",
        _ => "NULL::text",
    };
    let rules = if major >= 16 {
        "d.daticurules::text"
    } else {
        "NULL::text"
    };
    format!(
        "SELECT pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, {provider}, \
         {locale}, {rules}, pg_catalog.pg_get_userbyid(d.datdba)::text, d.datconnlimit, d.datistemplate, \
         pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL \
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    )
}

async fn settings(client: &Client) -> Result<Vec<DatabaseSetting>, Error> {
    let mut settings = Vec::new();
    for row in client.query(SETTINGS, &[]).await? {
        let setting = text(&row, 1)?;
        let mut parts = setting.as_bytes().splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            settings.push(DatabaseSetting {
                role: optional_text(&row, 0)?,
                name: Text::from(name.to_vec()),
                value: Text::from(value.to_vec()),
            });
        }
    }
    Ok(settings)
}

async fn grants(client: &Client) -> Result<Vec<DatabaseGrant>, Error> {
    let mut grants = Vec::new();
    for row in client.query(GRANTS, &[]).await? {
        grants.push(DatabaseGrant {
            role: optional_text(&row, 0)?,
            privilege: text(&row, 1)?.to_string(),
            grantable: row.try_get(2)?,
        });
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_the_columns_that_it_has() {
        let has = |major, column: &str| question(major).contains(column);
        assert!(!has(14, "datlocprovider") && has(15, "datlocprovider"));
        assert!(has(15, "daticulocale") && !has(15, "daticurules"));
        assert!(has(16, "daticulocale") && has(16, "daticurules"));
        assert!(has(17, "datlocale") && !has(17, "daticulocale"));
    }
}
