//! SQL text cut into statements, so that no `psql` has to read it: its backslash commands run programs. Text in any encoding
//! in which ASCII stands for itself, as it does in all of a server's.

use holdfast_format::Text;
use holdfast_postgres::sql::unquoted;

/// One statement, or why there is none.
pub(super) type Piece<'a> = Result<&'a [u8], Refused<'a>>;

/// A line that only `psql` would understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused<'a>(pub(super) &'a [u8]);

/// Cuts `text` at the semicolons that end statements. Comments between statements are left out, and so are the lines
/// `\restrict` and `\unrestrict`, which only guard `psql`.
pub(super) fn statements(text: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = skip_blank(rest);
            if rest.is_empty() {
                return None;
            }
            if rest.starts_with(b"\\") {
                let line = &rest[..line_end(rest)];
                rest = &rest[line.len()..];
                if line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ") {
                    continue;
                }
                return Some(Err(Refused(line.trim_ascii_end())));
            }
            let end = statement_end(rest);
            let statement = rest[..end].trim_ascii_end();
            rest = rest[end..].strip_prefix(b";").unwrap_or(&rest[end..]);
            if !statement.is_empty() {
                return Some(Ok(statement));
            }
        }
    })
}

/// The encoding that a script says it is in.
pub(super) fn encoding_set(statement: &[u8]) -> Option<&str> {
    let value = statement.strip_prefix(b"SET client_encoding = '")?.strip_suffix(b"'")?;
    let is_word = value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    std::str::from_utf8(value).ok().filter(|_| is_word)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn line_end(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())
}

/// White space and comments at the beginning.
fn skip_blank(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        let skipped = comment(text);
        if skipped == 0 {
            return text;
        }
        text = &text[skipped..];
    }
}

/// Bytes of the comment at the beginning; zero if there is none.
fn comment(text: &[u8]) -> usize {
    if text.starts_with(b"--") {
        return line_end(text);
    }
    if !text.starts_with(b"/*") {
        return 0;
    }
    let mut at = 2;
    let mut depth = 1;
    while depth > 0 && at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

/// Bytes before the semicolon that ends the statement at the beginning.
fn statement_end(text: &[u8]) -> usize {
    let mut at = 0;
    // Whether what stands before could begin a name: `E'...'` is a string with escapes, `type'...'` is not.
    let mut word = 0;
    while at < text.len() {
        match text[at] {
            b';' => return at,
            b'\'' => {
                let escapes = at - word == 1 && matches!(text[word], b'e' | b'E');
                at = quoted_end(text, at, b'\'', escapes);
            }
            b'"' => at = quoted_end(text, at, b'"', false),
            b'$' if at == word => at = dollar_end(text, at),
            b'-' | b'/' if comment(&text[at..]) > 0 => at += comment(&text[at..]),
            byte if is_of_word(byte) || byte == b'$' => {
                at += 1;
                continue;
            }
            _ => at += 1,
        }
        word = at;
    }
    at
}

/// Tells whether a byte can stand in a word. Bytes beyond ASCII are letters to PostgreSQL.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The end of what is quoted from `at` on.
fn quoted_end(text: &[u8], mut at: usize, quote: u8, escapes: bool) -> usize {
    at += 1;
    while at < text.len() {
        if (escapes && text[at] == b'\\') || text[at..].starts_with(&[quote, quote]) {
            at += 2;
        } else if text[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The end of a dollar-quoted string that begins at `at`, or the byte behind the dollar sign if none does.
fn dollar_end(text: &[u8], at: usize) -> usize {
    let tail = &text[at + 1..];
    let Some(length) = tail.iter().position(|byte| *byte == b'$') else {
        return at + 1;
    };
    let name = &tail[..length];
    if name.first().is_some_and(u8::is_ascii_digit) || !name.iter().all(|byte| is_of_word(*byte)) {
        return at + 1;
    }
    let tag = &text[at..at + length + 2];
    let body = at + tag.len();
    find(&text[body..], tag).map_or(text.len(), |end| body + end + tag.len())
}

/// The effect of a statement of `pg_dumpall` on a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnRole {
    /// `CREATE ROLE`
    Create(Text),
    /// `ALTER ROLE`, `COMMENT ON ROLE`, `SECURITY LABEL ... ON ROLE`
    Alter(Text),
}

/// Reads as much of a statement as tells what it does to which role.
pub(super) fn on_role(statement: &[u8]) -> Option<OnRole> {
    for (start, make) in [
        (&b"CREATE ROLE "[..], OnRole::Create as fn(Text) -> OnRole),
        (b"ALTER ROLE ", OnRole::Alter),
        (b"COMMENT ON ROLE ", OnRole::Alter),
    ] {
        if let Some(rest) = statement.strip_prefix(start) {
            return identifier(rest).map(make);
        }
    }
    None
}

fn identifier(text: &[u8]) -> Option<Text> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        return unquoted(quoted).map(|(name, _)| Text::from(name));
    }
    let end = text.iter().position(|byte| !is_of_word(*byte) && *byte != b'$');
    let name = &text[..end.unwrap_or(text.len())];
    (!name.is_empty()).then(|| Text::from(name.to_vec()))
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
        let found: Vec<&[u8]> = statements(text.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(found[0], b"SET x = on");
        assert_eq!(found[1], br#"CREATE ROLE "a;b""c""#);
        assert!(found[2].ends_with(br"VALID UNTIL E'\'; \\'"), "{:?}", found[2]);
        assert_eq!(found[3], b"COMMENT ON ROLE x IS $q$ ; $$ ; '$q$");
        assert_eq!(found[4], b"SELECT a$b");
    }

    #[test]
    fn commands_for_psql_are_refused() {
        let found: Vec<_> = statements(b"SELECT 1;\n\\! rm -rf /\nSELECT 2;").collect();
        let expected: [Piece<'_>; 3] = [Ok(b"SELECT 1"), Err(Refused(b"\\! rm -rf /")), Ok(b"SELECT 2")];
        assert_eq!(found, expected);
    }

    #[test]
    fn roles() {
        assert_eq!(
            on_role(br#"CREATE ROLE "a ""b""""#),
            Some(OnRole::Create(r#"a "b""#.into()))
        );
        assert_eq!(on_role(b"ALTER ROLE app WITH LOGIN"), Some(OnRole::Alter("app".into())));
        assert_eq!(on_role(b"GRANT a TO b"), None);
    }

    #[test]
    fn text_in_any_encoding_is_cut_as_well() {
        let script =
            b"SET client_encoding = 'LATIN1';\nCREATE ROLE \"caf\xe9;\";\nCOMMENT ON ROLE caf\xe9 IS '\xe9;';\n";
        let found: Vec<&[u8]> = statements(script).collect::<Result<_, _>>().unwrap();
        assert_eq!(encoding_set(found[0]), Some("LATIN1"));
        assert_eq!(encoding_set(b"SET client_encoding = 'a''b'"), None);
        assert_eq!(
            on_role(found[1]),
            Some(OnRole::Create(Text::from(b"caf\xe9;".to_vec())))
        );
        assert_eq!(on_role(found[2]), Some(OnRole::Alter(Text::from(b"caf\xe9".to_vec()))));
        assert_eq!(found.len(), 3);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_hang(text in "[a-zE$'\"\\\\;/*\\-\n é]{0,60}") {
            prop_assert!(statements(text.as_bytes()).count() <= text.len());
        }
    }
}
