//! What a database is beside its dump, as statements: to create it with, and to run once its data is there.

use holdfast_format::{DatabaseGrant, DatabaseInfo, DatabaseSetting};

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
pub(super) struct Statement {
    pub(super) what: String,
    pub(super) sql: String,
}

/// `CREATE DATABASE`, for a server of this version.
pub(super) fn create(name: &str, info: Option<&DatabaseInfo>, major: u32) -> String {
    // Not template1: what an administrator put there would be in the dump's way.
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", quoted(name));
    let Some(info) = info else { return sql };
    let mut add = |option: &str, value: &str| sql.push_str(&format!(" {option} {}", literal(value)));
    add("ENCODING", &info.encoding);
    add("LC_COLLATE", &info.collate);
    add("LC_CTYPE", &info.ctype);
    if major < 15 {
        return sql;
    }
    let provider = info.locale_provider.as_deref().unwrap_or("libc");
    add("LOCALE_PROVIDER", provider);
    if let Some(locale) = &info.locale {
        match provider {
            "icu" => add("ICU_LOCALE", locale),
            "builtin" => add("BUILTIN_LOCALE", locale),
            _ => {}
        }
    }
    if let Some(rules) = &info.icu_rules {
        add("ICU_RULES", rules);
    }
    sql
}

/// How it is created, for people.
pub(super) fn described(info: &DatabaseInfo) -> String {
    let mut text = format!(
        "encoding {}, collation {}, character type {}",
        info.encoding, info.collate, info.ctype
    );
    if let (Some(provider), Some(locale)) = (&info.locale_provider, &info.locale) {
        text.push_str(&format!(", {provider} locale {locale}"));
    }
    text
}

/// What is run once the data is there. `owned`: whether the database has its owner.
pub(super) fn after(name: &str, info: &DatabaseInfo, owned: bool, no_owner: bool) -> Vec<Statement> {
    let mut all = Vec::new();
    if let (Some(acl), false) = (&info.acl, no_owner) {
        all.extend(privileges(name, info, acl, owned));
    }
    all.extend(info.settings.iter().map(|setting| set(name, setting)));
    let database = quoted(name);
    if let Some(comment) = &info.comment {
        all.push(Statement {
            what: "comment".to_owned(),
            sql: format!("COMMENT ON DATABASE {database} IS {}", literal(comment)),
        });
    }
    if info.connection_limit >= 0 {
        all.push(Statement {
            what: "connection limit".to_owned(),
            sql: format!("ALTER DATABASE {database} CONNECTION LIMIT {}", info.connection_limit),
        });
    }
    if info.is_template {
        all.push(Statement {
            what: "mark as a template".to_owned(),
            sql: format!("ALTER DATABASE {database} IS_TEMPLATE true"),
        });
    }
    all
}

/// Takes away what everybody may do by default.
pub(super) fn close(name: &str) -> Statement {
    Statement {
        what: "withdrawal of everybody's privileges".to_owned(),
        sql: format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", quoted(name)),
    }
}

/// The default goes first; what the owner has is changed in one step, so that it is never without.
fn privileges(name: &str, info: &DatabaseInfo, acl: &[DatabaseGrant], owned: bool) -> Vec<Statement> {
    let mut all = vec![close(name)];
    let owner = |grant: &&DatabaseGrant| grant.role.as_deref() == Some(&info.owner);
    if owned {
        let mut sql = format!("REVOKE ALL ON DATABASE {} FROM {}", quoted(name), quoted(&info.owner));
        for grant in acl.iter().filter(owner).filter_map(|grant| granted(name, grant)) {
            sql.push_str("; ");
            sql.push_str(&grant);
        }
        all.push(Statement {
            what: format!("privileges of its owner {:?}", info.owner),
            sql,
        });
    }
    for grant in acl.iter().filter(|grant| !owner(grant)) {
        if let Some(sql) = granted(name, grant) {
            let role = grant.role.as_deref().unwrap_or("PUBLIC");
            all.push(Statement {
                what: format!("privilege {} of {role:?}", grant.privilege),
                sql,
            });
        }
    }
    all
}

fn granted(name: &str, grant: &DatabaseGrant) -> Option<String> {
    // A word of the statement: nothing but a word may stand there.
    if !grant.privilege.bytes().all(|byte| byte.is_ascii_uppercase()) || grant.privilege.is_empty() {
        return None;
    }
    let role = grant.role.as_deref().map_or_else(|| "PUBLIC".to_owned(), quoted);
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    Some(format!(
        "GRANT {} ON DATABASE {} TO {role}{option}",
        grant.privilege,
        quoted(name)
    ))
}

fn set(name: &str, setting: &DatabaseSetting) -> Statement {
    let (database, value) = (quoted(name), value(setting));
    let setting_name = quoted(&setting.name);
    match &setting.role {
        None => Statement {
            what: format!("setting {}", setting.name),
            sql: format!("ALTER DATABASE {database} SET {setting_name} TO {value}"),
        },
        Some(role) => Statement {
            what: format!("setting {} of role {role:?}", setting.name),
            sql: format!(
                "ALTER ROLE {} IN DATABASE {database} SET {setting_name} TO {value}",
                quoted(role)
            ),
        },
    }
}

/// A setting's value as SQL: a list as a list, everything else as one string.
fn value(setting: &DatabaseSetting) -> String {
    let is_list = LISTS.iter().any(|list| list.eq_ignore_ascii_case(&setting.name));
    match split(&setting.value).filter(|_| is_list) {
        Some(names) => names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", "),
        None => literal(&setting.value),
    }
}

/// The names of a list as the server keeps it; `None` if it is not one, or an empty one.
fn split(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list.trim_start();
    loop {
        let name;
        if let Some(mut inner) = rest.strip_prefix('"') {
            let mut unquoted = String::new();
            loop {
                let (part, tail) = inner.split_once('"')?;
                unquoted.push_str(part);
                let Some(more) = tail.strip_prefix('"') else {
                    rest = tail;
                    break;
                };
                unquoted.push('"');
                inner = more;
            }
            name = unquoted;
        } else {
            let end = rest
                .find(|c: char| c == ',' || c.is_ascii_whitespace())
                .unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            name = rest[..end].to_owned();
            rest = &rest[end..];
        }
        names.push(name);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// A name as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as an SQL string, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(role: Option<&str>, name: &str, value: &str) -> DatabaseSetting {
        DatabaseSetting {
            role: role.map(str::to_owned),
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn info() -> DatabaseInfo {
        DatabaseInfo {
            encoding: "LATIN1".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            locale_provider: Some("icu".to_owned()),
            locale: Some("de-x-'icu".to_owned()),
            icu_rules: None,
            owner: "own\"er".to_owned(),
            connection_limit: -1,
            is_template: false,
            comment: None,
            settings: Vec::new(),
            acl: None,
        }
    }

    #[test]
    fn text_stays_within_its_quotes() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\'; DROP"), r"E'\\''; DROP'");
    }

    #[test]
    fn lists_are_set_as_lists() {
        let of = |name: &str, text: &str| value(&setting(None, name, text));
        assert_eq!(of("search_path", r#""$user", public"#), "'$user', 'public'");
        assert_eq!(of("Search_Path", r#""a, ""b""",c"#), r#"'a, "b"', 'c'"#);
        assert_eq!(of("search_path", r#""""#), "''");
        assert_eq!(of("search_path", ""), "''");
        assert_eq!(of("search_path", r#""open"#), r#"'"open'"#);
        assert_eq!(of("work_mem", "8MB"), "'8MB'");
        assert_eq!(of("DateStyle", "ISO, DMY"), "'ISO, DMY'");
        let set = set("d\"b", &setting(Some("app"), "my.option", "x"));
        assert_eq!(set.sql, r#"ALTER ROLE "app" IN DATABASE "d""b" SET "my.option" TO 'x'"#);
    }

    #[test]
    fn a_database_is_created_as_the_server_knows_to() {
        let info = info();
        assert_eq!(create("x", None, 15), r#"CREATE DATABASE "x" TEMPLATE template0"#);
        let old = r#"CREATE DATABASE "x" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"#;
        assert_eq!(create("x", Some(&info), 14), old);
        let new = format!("{old} LOCALE_PROVIDER 'icu' ICU_LOCALE 'de-x-''icu'");
        assert_eq!(create("x", Some(&info), 15), new);
    }

    #[test]
    fn privileges_replace_the_default() {
        let grant = |role: Option<&str>, privilege: &str| DatabaseGrant {
            role: role.map(str::to_owned),
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
            all.into_iter().map(|statement| statement.sql).collect()
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
