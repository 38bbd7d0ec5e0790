//! What a database is beside its dump: encoding, locale, owner, privileges, settings.

use holdfast_format::{DatabaseGrant, DatabaseInfo, DatabaseSetting};
use tokio_postgres::{Client, Error};

const SETTINGS: &str = "SELECT r.rolname::text, c.setting FROM pg_catalog.pg_db_role_setting s \
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, \
    LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (setting, place) \
    WHERE d.datname = pg_catalog.current_database() AND (s.setrole = 0 OR r.oid IS NOT NULL) \
    ORDER BY r.rolname NULLS FIRST, c.place";

const GRANTS: &str = "SELECT CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee)::text END, \
    a.privilege_type, a.is_grantable FROM pg_catalog.pg_database d, \
    LATERAL pg_catalog.aclexplode(d.datacl) WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, place) \
    WHERE d.datname = pg_catalog.current_database() ORDER BY a.place";

/// Reads the properties of the database that `client` is connected to.
pub(crate) async fn read(client: &Client, major: u32) -> Result<DatabaseInfo, Error> {
    let row = client.query_one(&question(major), &[]).await?;
    let has_acl: bool = row.get(10);
    Ok(DatabaseInfo {
        encoding: row.get(0),
        collate: row.get(1),
        ctype: row.get(2),
        locale_provider: row.get(3),
        locale: row.get(4),
        icu_rules: row.get(5),
        owner: row.get(6),
        connection_limit: row.get(7),
        is_template: row.get(8),
        comment: row.get(9),
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
    let rows = client.query(SETTINGS, &[]).await?;
    let settings = rows.iter().filter_map(|row| {
        let setting: String = row.get(1);
        let (name, value) = setting.split_once('=')?;
        Some(DatabaseSetting {
            role: row.get(0),
            name: name.to_owned(),
            value: value.to_owned(),
        })
    });
    Ok(settings.collect())
}

async fn grants(client: &Client) -> Result<Vec<DatabaseGrant>, Error> {
    let rows = client.query(GRANTS, &[]).await?;
    let grants = rows.iter().map(|row| DatabaseGrant {
        role: row.get(0),
        privilege: row.get(1),
        grantable: row.get(2),
    });
    Ok(grants.collect())
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
