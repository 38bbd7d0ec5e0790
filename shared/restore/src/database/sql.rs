//! SQL text cut into statements, so that no `psql` has to read it: its backslash commands run programs.

/// One statement, or why there is none.
pub(super) type Piece<'a> = Result<&'a str, Refused<'a>>;

/// A line that only `psql` would understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused<'a>(pub(super) &'a str);

/// Cuts `text` at the semicolons that end statements. Comments between statements are left out, and so are the lines
/// `\restrict` and `\unrestrict`, which only guard `psql`.
pub(super) fn statements(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = skip_blank(rest);
            if rest.is_empty() {
                return None;
            }
            if rest.starts_with('\\') {
                let line = rest.lines().next().unwrap_or(rest);
                rest = &rest[line.len()..];
                if line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ") {
                    continue;
                }
                return Some(Err(Refused(line)));
            }
            let end = statement_end(rest);
            let statement = rest[..end].trim_end();
            rest = rest[end..].strip_prefix(';').unwrap_or(&rest[end..]);
            if !statement.is_empty() {
                return Some(Ok(statement));
            }
        }
    })
}

/// White space and comments at the beginning.
fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let skipped = comment(text);
        if skipped == 0 {
            return text;
        }
        text = &text[skipped..];
    }
}

/// Bytes of the comment at the beginning; zero if there is none.
fn comment(text: &str) -> usize {
    if text.starts_with("--") {
        return text.find('\n').unwrap_or(text.len());
    }
    if !text.starts_with("/*") {
        return 0;
    }
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

/// Bytes before the semicolon that ends the statement at the beginning.
fn statement_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    // Whether what stands before could begin a name: `E'...'` is a string with escapes, `type'...'` is not.
    let mut word = 0;
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at,
            b'\'' => {
                let escapes = at - word == 1 && matches!(bytes[word], b'e' | b'E');
                at = quoted_end(bytes, at, b'\'', escapes);
            }
            b'"' => at = quoted_end(bytes, at, b'"', false),
            b'$' if at == word => at = dollar_end(text, at),
            b'-' | b'/' if comment(&text[at..]) > 0 => at += comment(&text[at..]),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'$' | 0x80.. => {
                at += 1;
                continue;
            }
            _ => at += 1,
        }
        word = at;
    }
    at
}

/// The end of what is quoted from `at` on.
fn quoted_end(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> usize {
    at += 1;
    while at < bytes.len() {
        if (escapes && bytes[at] == b'\\') || bytes[at..].starts_with(&[quote, quote]) {
            at += 2;
        } else if bytes[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The end of a dollar-quoted string that begins at `at`, or the byte behind the dollar sign if none does.
fn dollar_end(text: &str, at: usize) -> usize {
    let tail = &text[at + 1..];
    let Some(length) = tail.find('$') else {
        return at + 1;
    };
    let name = &tail[..length];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return at + 1;
    }
    let tag = &text[at..at + length + 2];
    let body = at + tag.len();
    text[body..].find(tag).map_or(text.len(), |end| body + end + tag.len())
}

/// What a statement of `pg_dumpall` does to a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnRole {
    /// `CREATE ROLE`
    Create(String),
    /// `ALTER ROLE`, `COMMENT ON ROLE`, `SECURITY LABEL ... ON ROLE`
    Alter(String),
}

/// Reads as much of a statement as tells what it does to which role.
pub(super) fn on_role(statement: &str) -> Option<OnRole> {
    for (start, make) in [
        ("CREATE ROLE ", OnRole::Create as fn(String) -> OnRole),
        ("ALTER ROLE ", OnRole::Alter),
        ("COMMENT ON ROLE ", OnRole::Alter),
    ] {
        if let Some(rest) = statement.strip_prefix(start) {
            return identifier(rest).map(make);
        }
    }
    None
}

fn identifier(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
        let name = &text[..end.unwrap_or(text.len())];
        return (!name.is_empty()).then(|| name.to_owned());
    };
    let mut name = String::new();
    let mut rest = inner;
    loop {
        let (part, tail) = rest.split_once('"')?;
        name.push_str(part);
        match tail.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statements_end_at_their_own_semicolons() {
        let text = r#"
-- head; of the file
\restrict abc123
SET x = on;
CREATE ROLE "a;b""c";
ALTER ROLE x WITH PASSWORD 'it''s; a' /* no; /* nested; */ */ VALID UNTIL E'\'; \\';
COMMENT ON ROLE x IS $q$ ; $$ ; '$q$;
SELECT a$b;c' -- not a quote
;
\unrestrict abc123
"#;
        // The last line but one ends in an open quote, which swallows the rest: one statement for the server to refuse.
        let found: Vec<_> = statements(text).collect::<Result<_, _>>().unwrap();
        assert_eq!(found[0], "SET x = on");
        assert_eq!(found[1], r#"CREATE ROLE "a;b""c""#);
        assert!(found[2].ends_with(r"VALID UNTIL E'\'; \\'"), "{}", found[2]);
        assert_eq!(found[3], "COMMENT ON ROLE x IS $q$ ; $$ ; '$q$");
        assert_eq!(found[4], "SELECT a$b");
    }

    #[test]
    fn commands_for_psql_are_refused() {
        let found: Vec<_> = statements("SELECT 1;\n\\! rm -rf /\nSELECT 2;").collect();
        assert_eq!(found, [Ok("SELECT 1"), Err(Refused("\\! rm -rf /")), Ok("SELECT 2")]);
    }

    #[test]
    fn roles() {
        assert_eq!(
            on_role(r#"CREATE ROLE "a ""b""""#),
            Some(OnRole::Create(r#"a "b""#.to_owned()))
        );
        assert_eq!(
            on_role("ALTER ROLE app WITH LOGIN"),
            Some(OnRole::Alter("app".to_owned()))
        );
        assert_eq!(on_role("GRANT a TO b"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_hang(text in "[a-zE$'\"\\\\;/*\\-\n é]{0,60}") {
            prop_assert!(statements(&text).count() <= text.len());
        }
    }
}
