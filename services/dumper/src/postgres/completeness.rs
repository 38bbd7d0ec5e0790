//! The check of a dump itself, that it is complete. A program that was cut off and ends without an error all the same
//! (a wrapper script around a pipe, a full disk that nobody looked for) would else be believed.

mod archive;

use std::io::Read;

use archive::Archive;

/// The last comment that `pg_dumpall` writes.
const SCRIPT_END: &[u8] = b"PostgreSQL database cluster dump complete";

/// The bytes of a script's end that are kept: its last comment, and the lines that some versions put around it.
const TAIL: usize = 512;

/// Checks that a dump is complete, while its bytes pass.
pub(crate) enum Completeness {
    /// A dump of one database, in the custom format.
    Archive(Box<Archive>),
    /// The end of a dump of roles and tablespaces, as SQL.
    Script(Vec<u8>),
}

impl Completeness {
    pub(crate) fn archive() -> Self {
        Self::Archive(Box::default())
    }

    pub(crate) fn script() -> Self {
        Self::Script(Vec::new())
    }

    /// Hands on what `inner` gives, and looks at it.
    pub(crate) fn watch<R: Read>(&mut self, inner: R) -> Watched<'_, R> {
        Watched {
            inner,
            completeness: self,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Archive(archive) => archive.take(bytes),
            Self::Script(tail) => {
                tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
                tail.drain(..tail.len().saturating_sub(TAIL));
            }
        }
    }

    /// Ends the check after the last byte. Returns the reason if the check cannot tell.
    ///
    /// # Errors
    /// The part of the dump that is missing.
    pub(crate) fn end(self) -> Result<Option<String>, String> {
        match self {
            Self::Archive(archive) => archive.end(),
            Self::Script(tail) if tail.windows(SCRIPT_END.len()).any(|part| part == SCRIPT_END) => Ok(None),
            Self::Script(_) => Err("its last line, which says that it is complete, is missing".to_owned()),
        }
    }
}

/// A reader whose bytes a [`Completeness`] looks at while they pass.
pub(crate) struct Watched<'a, R> {
    inner: R,
    completeness: &'a mut Completeness,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.completeness.take(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_script_is_whole_with_its_last_line() {
        let text = format!(
            "--\n{}-- {}\n--\n\n",
            "CREATE ROLE x;\n".repeat(100),
            String::from_utf8_lossy(SCRIPT_END)
        );
        for (length, good) in [(text.len(), true), (text.len() - 10, false), (200, false), (0, false)] {
            for step in [1, 7, 4096] {
                let mut completeness = Completeness::script();
                let mut reader = completeness.watch(&text.as_bytes()[..length]);
                let mut buffer = vec![0; step];
                while reader.read(&mut buffer).unwrap() > 0 {}
                assert_eq!(completeness.end().is_ok(), good, "{length} by {step}");
            }
        }
    }
}
