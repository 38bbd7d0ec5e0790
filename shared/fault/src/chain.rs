//! An error with all its causes.

use std::error::Error;
use std::fmt;

/// Shows an error and its causes as `a: b: c`; made by [`chain`].
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(&'a (dyn Error + 'a));

/// Shows the whole chain of causes on one line.
///
/// Our errors never print their source; some foreign ones do. So a cause that the text before it already contains is
/// not said again.
#[must_use]
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> Chain<'a> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            next = cause.source();
            let text = cause.to_string();
            if text.is_empty() || says(&said, &text) {
                continue;
            }
            write!(f, ": {text}")?;
            said = text;
        }
        Ok(())
    }
}

/// Tells whether `text` holds `part` as whole words: `no` is not said by `unknown`.
fn says(text: &str, part: &str) -> bool {
    text.match_indices(part).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|link| link as &dyn Error)
        }
    }

    fn shown(links: &[&'static str]) -> String {
        let error = links
            .iter()
            .rev()
            .fold(None, |next, text| Some(Box::new(Link(text, next))));
        error.map(|error| chain(&*error).to_string()).unwrap_or_default()
    }

    #[test]
    fn causes_are_joined_and_not_repeated() {
        assert_eq!(shown(&["write pack 7"]), "write pack 7");
        assert_eq!(
            shown(&["write pack 7", "open file", "disk full"]),
            "write pack 7: open file: disk full"
        );
        assert_eq!(shown(&["connect: refused", "refused"]), "connect: refused");
        assert_eq!(
            shown(&["connect: io: refused", "io: refused", "refused", "os 111"]),
            "connect: io: refused: os 111"
        );
        assert_eq!(shown(&["unknown thing", "no"]), "unknown thing: no");
        assert_eq!(shown(&["a", "", "b"]), "a: b");
    }
}
