//! Percent-escapes in URLs.

/// Resolves the percent-escapes in `text`. The error is a rule.
pub(crate) fn decoded(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "must not have a % that is not followed by two hex digits (write % as %25)";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(RULE);
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| RULE)?);
        rest = &tail[2..];
    }
    if bytes.contains(&0) {
        return Err("must not have a %00");
    }
    String::from_utf8(bytes).map_err(|_| "must have percent-escapes of UTF-8 text alone")
}

/// Writes `text` so that it means itself in any part of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_as_it_was() {
        for text in ["", "a b", "50% + é/ü?&=#@:", "[::1]"] {
            assert_eq!(decoded(&encoded(text)).as_deref(), Ok(text));
        }
        assert_eq!(decoded("a+b%2B").as_deref(), Ok("a+b+"));
        for bad in ["%", "%4", "%4g", "%+1", "%00", "%E9"] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
    }
}
