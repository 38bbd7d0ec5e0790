//! Statements, of text in any encoding.

use tokio_postgres::{Client, Error};

/// A name as an SQL identifier.
#[must_use]
pub fn identifier(name: impl AsRef<[u8]>) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in name.as_ref() {
        quoted.push(*byte);
        if *byte == b'"' {
            quoted.push(b'"');
        }
    }
    quoted.push(b'"');
    quoted
}

/// Reads a quoted identifier from behind its opening quote: the reverse of [`identifier`]. Gives the name, and the rest behind
/// the closing quote; `None` if the quote is never closed.
#[must_use]
pub fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut name = Vec::new();
    let mut rest = text;
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        if *first == b'"' {
            match rest.strip_prefix(b"\"") {
                Some(after) => rest = after,
                None => return Some((name, rest)),
            }
        }
        name.push(*first);
    }
}

/// Text as an SQL string, whatever `standard_conforming_strings` says. What is not UTF-8 is written in escapes, which the
/// server takes if its encoding has such bytes.
#[must_use]
pub fn literal(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let is_utf8 = std::str::from_utf8(text).is_ok();
    let mut quoted = Vec::with_capacity(text.len() + 2);
    if !is_utf8 || text.contains(&b'\\') {
        quoted.push(b'E');
    }
    quoted.push(b'\'');
    for byte in text {
        match byte {
            b'\'' | b'\\' => quoted.extend([*byte, *byte]),
            0x80.. if !is_utf8 => quoted.extend(format!("\\x{byte:02x}").into_bytes()),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Joins parts to a statement.
#[must_use]
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Runs statements that have no result. Those that are not UTF-8, which the driver cannot say, go as a block that says them.
///
/// # Errors
/// The driver's.
pub async fn run(client: &Client, statements: &[u8]) -> Result<(), Error> {
    match std::str::from_utf8(statements) {
        Ok(text) => client.batch_execute(text).await,
        Err(_) => run_as(client, statements, None).await,
    }
}

/// Runs statements that are written in `encoding`, the database's own if there is none, in a block that converts them.
///
/// # Errors
/// The driver's.
pub(crate) async fn run_as(client: &Client, statements: &[u8], encoding: Option<&str>) -> Result<(), Error> {
    let encoding = match encoding {
        Some(name) => String::from_utf8_lossy(&literal(name)).into_owned(),
        None => "pg_catalog.getdatabaseencoding()".to_owned(),
    };
    let block = format!(
        "DO LANGUAGE plpgsql $holdfast$ BEGIN EXECUTE \
         pg_catalog.convert_from(pg_catalog.decode('{}', 'hex'), {encoding}); END $holdfast$",
        hex::encode(statements)
    );
    client.batch_execute(&block).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_is_read_up_to_its_closing_quote() {
        assert_eq!(unquoted(br#"a""b" TO x"#), Some((b"a\"b".to_vec(), &b" TO x"[..])));
        assert_eq!(unquoted(b"\xe9\""), Some((b"\xe9".to_vec(), &b""[..])));
        assert_eq!(unquoted(b"open\"\""), None);
    }

    #[test]
    fn text_stays_within_its_quotes() {
        assert_eq!(identifier(r#"a"b"#), br#""a""b""#);
        assert_eq!(identifier(b"\xe9"), b"\"\xe9\"");
        assert_eq!(literal("it's"), b"'it''s'");
        assert_eq!(literal(r"\'; DROP"), br"E'\\''; DROP'");
        assert_eq!(literal("é"), "'é'".as_bytes());
        assert_eq!(literal(b"caf\xe9's"), br"E'caf\xe9''s'");
    }
}
