//! The two forms of libpq's connections, read as pairs of a parameter and its value.

use crate::values::percent::decoded;

/// A parameter and its value.
pub(super) type Pair = (String, String);

/// The form that an address must have.
const FORM: &str = "must be postgres://user@host:port/database";

/// Reads a connection URL, or `key=value` words. The error is a rule. It never shows a part of the text, which may be a
/// password.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, String> {
    let url = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"));
    match url {
        Some(rest) => of_url(rest),
        None if text.contains('=') && !text.contains("://") => of_words(text),
        None => Err(FORM.to_owned()),
    }
}

fn of_url(rest: &str) -> Result<Vec<Pair>, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: String| pairs.push((key.to_owned(), value));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user
        .split_once(':')
        .map_or((user, None), |(user, password)| (user, Some(password)));
    add("user", decoded(user)?);
    if let Some(password) = password {
        add("password", decoded(password)?);
    }
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(decoded(name)?);
        ports.push(decoded(port)?);
    }
    for (key, values) in [("host", names), ("port", ports)] {
        if values.iter().any(|value| !value.is_empty()) {
            add(key, values.join(","));
        }
    }
    add("dbname", decoded(path)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(
            "must have a value for each parameter, as in ?key=value (write @, ?, & in a user's name or password as %40, %3F, %26)",
        )?;
        add(&decoded(key)?, decoded(value)?);
    }
    Ok(pairs)
}

/// Separates host and port, and removes the brackets of an IPv6 address.
fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    let brackets = "must have IPv6 addresses in brackets, as in [::1]:5432";
    if let Some(rest) = text.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').ok_or(brackets)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((name, port)),
            None if rest.is_empty() => Ok((name, "")),
            None => Err(brackets.to_owned()),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(brackets.to_owned()),
        Some(both) => Ok(both),
        None => Ok((text, "")),
    }
}

/// Reads `key = value 'key' = 'va lue'`. Quotes keep white space, and a backslash keeps the character after it.
fn of_words(text: &str) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or("must have a value for each word, as in key=value")?;
        let key = key.trim();
        if key.contains(char::is_whitespace) {
            return Err("must have a value for each word, as in key=value".to_owned());
        }
        let (value, after) = word_value(after.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Returns the value at the beginning of the text, and the rest.
fn word_value(text: &str) -> Result<(String, &str), String> {
    let (quoted, inner) = match text.strip_prefix('\'') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &inner[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &inner[at..])),
            other => value.push(other),
        }
    }
    if quoted {
        return Err("must end each quoted value with a quote".to_owned());
    }
    Ok((value, ""))
}
