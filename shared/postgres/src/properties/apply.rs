//! Properties as statements: to create a database with, and to run once its data is there.

use holdfast_format::{DatabaseGrant, DatabaseInfo, DatabaseSetting, Text};

use crate::sql::{identifier, join, literal, unquoted};

/// Settings whose value is a list of names. The server keeps it quoted and joined, and takes it as a list only.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A statement, and what it is to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The property, for people.
    pub what: String,
    /// The statement, in whatever encoding its names and texts have.
    pub sql: Vec<u8>,
}

impl Statement {
    fn new(what: impl Into<String>, parts: &[&[u8]]) -> Self {
        Self {
            what: what.into(),
            sql: join(parts),
        }
    }
}

/// `CREATE DATABASE`, for a server of this version.
#[must_use]
pub fn create(name: &str, info: Option<&DatabaseInfo>, major: u32) -> Vec<u8> {
    // Not template1: what an administrator put there would be in the dump's way.
    let mut sql = join(&[b"CREATE DATABASE ", &identifier(name), b" TEMPLATE template0"]);
    let Some(info) = info else { return sql };
    let mut add = |option: &str, value: &[u8]| sql.extend(join(&[b" ", option.as_bytes(), b" ", &literal(value)]));
    add("ENCODING", info.encoding.as_bytes());
    add("LC_COLLATE", info.collate.as_bytes());
    add("LC_CTYPE", info.ctype.as_bytes());
    if major < 15 {
        return sql;
    }
    let provider = info.locale_provider.as_deref().unwrap_or("libc");
    add("LOCALE_PROVIDER", provider.as_bytes());
    if let Some(locale) = &info.locale {
        match provider {
            "icu" => add("ICU_LOCALE", locale.as_bytes()),
            "builtin" => add("BUILTIN_LOCALE", locale.as_bytes()),
            _ => {}
        }
    }
    if let Some(rules) = &info.icu_rules {
        add("ICU_RULES", rules.as_bytes());
    }
    sql
}

/// Describes how a database is created, for people.
#[must_use]
pub fn described(info: &DatabaseInfo) -> String {
    let mut text = format!(
        "encoding {}, collation {}, character type {}",
        info.encoding, info.collate, info.ctype
    );
    if let (Some(provider), Some(locale)) = (&info.locale_provider, &info.locale) {
        text.push_str(&format!(", {provider} locale {locale}"));
    }
    text
}

/// Hands a database to its owner.
#[must_use]
pub fn own(name: &str, owner: &Text) -> Statement {
    let sql: [&[u8]; 4] = [
        b"ALTER DATABASE ",
        &identifier(name),
        b" OWNER TO ",
        &identifier(owner.as_bytes()),
    ];
    Statement::new(format!("owner {owner:?}"), &sql)
}

/// Makes the statements to run once the data is there. `owned` tells whether the database has its owner.
#[must_use]
pub fn after(name: &str, info: &DatabaseInfo, owned: bool, no_owner: bool) -> Vec<Statement> {
    let mut all = Vec::new();
    if let (Some(acl), false) = (&info.acl, no_owner) {
        all.extend(privileges(name, info, acl, owned));
    }
    all.extend(info.settings.iter().map(|setting| set(name, setting)));
    let database = identifier(name);
    if let Some(comment) = &info.comment {
        let sql: [&[u8]; 4] = [
            b"COMMENT ON DATABASE ",
            &database,
            b" IS ",
            &literal(comment.as_bytes()),
        ];
        all.push(Statement::new("comment", &sql));
    }
    if info.connection_limit >= 0 {
        let limit = format!(" CONNECTION LIMIT {}", info.connection_limit);
        let sql: [&[u8]; 3] = [b"ALTER DATABASE ", &database, limit.as_bytes()];
        all.push(Statement::new("connection limit", &sql));
    }
    if info.is_template {
        let sql: [&[u8]; 3] = [b"ALTER DATABASE ", &database, b" IS_TEMPLATE true"];
        all.push(Statement::new("mark as a template", &sql));
    }
    all
}

/// Takes away what everybody may do by default.
#[must_use]
pub fn close(name: &str) -> Statement {
    let sql: [&[u8]; 3] = [b"REVOKE ALL ON DATABASE ", &identifier(name), b" FROM PUBLIC"];
    Statement::new("withdrawal of everybody's privileges", &sql)
}

/// The default goes first; what the owner has is changed in one step, so that it is never without.
fn privileges(name: &str, info: &DatabaseInfo, acl: &[DatabaseGrant], owned: bool) -> Vec<Statement> {
    let mut all = vec![close(name)];
    let owner = |grant: &&DatabaseGrant| grant.role.as_ref() == Some(&info.owner);
    if owned {
        let role = identifier(info.owner.as_bytes());
        let mut sql = join(&[b"REVOKE ALL ON DATABASE ", &identifier(name), b" FROM ", &role]);
        for grant in acl.iter().filter(owner).filter_map(|grant| granted(name, grant)) {
            sql.extend(join(&[b"; ", &grant]));
        }
        all.push(Statement {
            what: format!("privileges of its owner {:?}", info.owner),
            sql,
        });
    }
    for grant in acl.iter().filter(|grant| !owner(grant)) {
        if let Some(sql) = granted(name, grant) {
            let role = grant.role.clone().unwrap_or_else(|| Text::from("PUBLIC"));
            all.push(Statement {
                what: format!("privilege {} of {role:?}", grant.privilege),
                sql,
            });
        }
    }
    all
}

fn granted(name: &str, grant: &DatabaseGrant) -> Option<Vec<u8>> {
    // A word of the statement: nothing but a word may stand there.
    if !grant.privilege.bytes().all(|byte| byte.is_ascii_uppercase()) || grant.privilege.is_empty() {
        return None;
    }
    let role = grant
        .role
        .as_ref()
        .map_or_else(|| b"PUBLIC".to_vec(), |role| identifier(role.as_bytes()));
    let option: &[u8] = if grant.grantable { b" WITH GRANT OPTION" } else { b"" };
    let database = identifier(name);
    Some(join(&[
        b"GRANT ",
        grant.privilege.as_bytes(),
        b" ON DATABASE ",
        &database,
        b" TO ",
        &role,
        option,
    ]))
}

fn set(name: &str, setting: &DatabaseSetting) -> Statement {
    let database = identifier(name);
    let setting_name = identifier(setting.name.as_bytes());
    let value = value(setting);
    match &setting.role {
        None => {
            let sql: [&[u8]; 6] = [b"ALTER DATABASE ", &database, b" SET ", &setting_name, b" TO ", &value];
            Statement::new(format!("setting {}", setting.name), &sql)
        }
        Some(role) => {
            let what = format!("setting {} of role {role:?}", setting.name);
            let role = identifier(role.as_bytes());
            let words: [&[u8]; 4] = [b"ALTER ROLE ", b" IN DATABASE ", b" SET ", b" TO "];
            Statement::new(
                what,
                &[
                    words[0],
                    &role,
                    words[1],
                    &database,
                    words[2],
                    &setting_name,
                    words[3],
                    &value,
                ],
            )
        }
    }
}

/// A setting's value as SQL: a list as a list, everything else as one string.
fn value(setting: &DatabaseSetting) -> Vec<u8> {
    let value = setting.value.as_bytes();
    let is_list = LISTS
        .iter()
        .any(|list| list.as_bytes().eq_ignore_ascii_case(setting.name.as_bytes()));
    match split(value).filter(|_| is_list) {
        Some(names) => names.iter().map(literal).collect::<Vec<_>>().join(&b", "[..]),
        None => literal(value),
    }
}

/// The names of a list as the server keeps it; `None` if it is not one, or an empty one.
fn split(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut rest = list.trim_ascii_start();
    loop {
        let name;
        if let Some(inner) = rest.strip_prefix(b"\"") {
            (name, rest) = unquoted(inner)?;
        } else {
            let end = rest.iter().position(|byte| *byte == b',' || byte.is_ascii_whitespace());
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            if word.is_empty() {
                return None;
            }
            name = word.to_vec();
            rest = after;
        }
        names.push(name);
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(b",")?.trim_ascii_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(role: Option<&str>, name: &str, value: &str) -> DatabaseSetting {
        DatabaseSetting {
            role: role.map(Text::from),
            name: name.into(),
            value: value.into(),
        }
    }

    fn info() -> DatabaseInfo {
        DatabaseInfo {
            encoding: "LATIN1".to_owned(),
            collate: "C".into(),
            ctype: "C".into(),
            locale_provider: Some("icu".to_owned()),
            locale: Some("de-x-'icu".into()),
            icu_rules: None,
            owner: "own\"er".into(),
            connection_limit: -1,
            is_template: false,
            comment: None,
            settings: Vec::new(),
            acl: None,
        }
    }

    fn shown(sql: &[u8]) -> String {
        Text::from(sql.to_vec()).to_string()
    }

    #[test]
    fn lists_are_set_as_lists() {
        let of = |name: &str, text: &str| shown(&value(&setting(None, name, text)));
        assert_eq!(of("search_path", r#""$user", public"#), "'$user', 'public'");
        assert_eq!(of("Search_Path", r#""a, ""b""",c"#), r#"'a, "b"', 'c'"#);
        assert_eq!(of("search_path", r#""""#), "''");
        assert_eq!(of("search_path", ""), "''");
        assert_eq!(of("search_path", r#""open"#), r#"'"open'"#);
        assert_eq!(of("work_mem", "8MB"), "'8MB'");
        assert_eq!(of("DateStyle", "ISO, DMY"), "'ISO, DMY'");
        let set = set("d\"b", &setting(Some("app"), "my.option", "x"));
        assert_eq!(
            shown(&set.sql),
            r#"ALTER ROLE "app" IN DATABASE "d""b" SET "my.option" TO 'x'"#
        );
    }

    #[test]
    fn text_that_is_no_utf8_stays_as_it_is() {
        let info = DatabaseInfo {
            owner: Text::from(b"caf\xe9".to_vec()),
            comment: Some(Text::from(b"d\xe9j\xe0".to_vec())),
            settings: vec![DatabaseSetting {
                role: None,
                name: "search_path".into(),
                value: Text::from(b"\"caf\xe9\", public".to_vec()),
            }],
            ..info()
        };
        let all: Vec<Vec<u8>> = after("x", &info, true, false).into_iter().map(|one| one.sql).collect();
        assert_eq!(
            all[0],
            br#"ALTER DATABASE "x" SET "search_path" TO E'caf\xe9', 'public'"#
        );
        assert_eq!(all[1], br#"COMMENT ON DATABASE "x" IS E'd\xe9j\xe0'"#);
        let own = own("x", &info.owner);
        assert_eq!(own.sql, b"ALTER DATABASE \"x\" OWNER TO \"caf\xe9\"");
        assert_eq!(own.what, r#"owner "caf\xe9""#);
    }

    #[test]
    fn a_database_is_created_as_the_server_knows_to() {
        let info = info();
        let created = |info: Option<&DatabaseInfo>, major| shown(&create("x", info, major));
        assert_eq!(created(None, 15), r#"CREATE DATABASE "x" TEMPLATE template0"#);
        let old = r#"CREATE DATABASE "x" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"#;
        assert_eq!(created(Some(&info), 14), old);
        let new = format!("{old} LOCALE_PROVIDER 'icu' ICU_LOCALE 'de-x-''icu'");
        assert_eq!(created(Some(&info), 15), new);
    }

    #[test]
    fn privileges_replace_the_default() {
        let grant = |role: Option<&str>, privilege: &str| DatabaseGrant {
            role: role.map(Text::from),
            privilege: privilege.to_owned(),
            grantable: role == Some("app"),
        };
        let info = DatabaseInfo {
            acl: Some(vec![
                grant(Some("own\"er"), "CREATE"),
                grant(Some("app"), "CONNECT"),
                grant(None, "TEMPORARY"),
                grant(None, "ALL ON x; --"),
            ]),
            ..info()
        };
        let sql = |owned, no_owner| -> Vec<String> {
            let all = after("x", &info, owned, no_owner);
            all.into_iter().map(|statement| shown(&statement.sql)).collect()
        };
        let close = r#"REVOKE ALL ON DATABASE "x" FROM PUBLIC"#;
        let own = r#"REVOKE ALL ON DATABASE "x" FROM "own""er"; GRANT CREATE ON DATABASE "x" TO "own""er""#;
        let app = r#"GRANT CONNECT ON DATABASE "x" TO "app" WITH GRANT OPTION"#;
        let public = r#"GRANT TEMPORARY ON DATABASE "x" TO PUBLIC"#;
        assert_eq!(sql(true, false), [close, own, app, public]);
        assert_eq!(sql(false, false), [close, app, public]);
        assert!(sql(false, true).is_empty());
    }
}
