//! Contents: an artefact's ordered entries and extents, as JSON lines (docs/format.md, section 4).

use std::io::{self, BufRead, Write};

use crate::record::FORMAT_VERSION;
use crate::{ArtefactId, ChunkId};

mod line;

/// Bytes of the longest line. A longer one is refused before it is read whole.
const LINE_MAX: usize = 64 << 20;

/// A range of a pack's plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index into the manifest's packs.
    pub pack: u32,
    /// Bytes of the pack before the extent.
    pub offset: u32,
    /// Length in bytes, at least 1.
    pub length: u32,
    /// The id of its chunk, if later captures may reference it.
    pub id: Option<ChunkId>,
}

/// A path relative to the artefact's root, as bytes: file names need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<u8>);

impl Path {
    /// Formats the path for people: lossy, with control characters escaped.
    #[must_use]
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.0).chars().flat_map(escape).collect()
    }

    /// Compares paths in the order of entries in contents: component by component, a directory before what is in it.
    #[must_use]
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let root = |p: &Self| p.0 == b".";
        match (root(self), root(other)) {
            (true, true) => std::cmp::Ordering::Equal,
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
            (false, false) => self.0.split(|b| *b == b'/').cmp(other.0.split(|b| *b == b'/')),
        }
    }
}

fn escape(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() {
        Box::new(c.escape_default())
    } else {
        Box::new(std::iter::once(c))
    }
}

/// A time of a file, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Seconds since 1970; may be negative.
    pub seconds: i64,
    /// Nanoseconds of the second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// The kind of a tar entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Dir,
    Symlink,
    /// A further name of an earlier entry.
    Hardlink,
    Fifo,
    Char,
    Block,
}

/// The reason for which something that was seen was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// A socket: it has no content and tar cannot hold it.
    Socket,
    /// The file could not be opened or read.
    Unreadable,
    /// The file was gone when its turn came.
    Vanished,
    /// Another file system is mounted there, and the source stays on one.
    ExcludedMount,
}

/// A file of a tree, as one entry of the tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    pub path: Path,
    /// Permission bits, setuid and sticky included.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a regular file, when it was first seen.
    pub size: u64,
    /// The last change of the content.
    pub mtime: Stamp,
    /// The last change of the inode.
    pub ctime: Stamp,
    pub inode: u64,
    /// The target of a symbolic or hard link.
    pub link: Option<Path>,
    /// True if the file changed while it was read.
    pub changed: bool,
    /// The extents of the entry: its header, then its data.
    pub extents: Vec<Extent>,
}

/// A single line of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The first line, which names the artefact.
    Head(ArtefactId),
    /// A tar entry.
    Entry(Entry),
    /// A file that was seen and not taken.
    Skip(Path, SkipReason),
    /// A table of a database, and the number of its rows.
    Table(String, u64),
    /// Extents of a dump's stream.
    Data(Vec<Extent>),
    /// The last line, with the extents that end the stream.
    End(Vec<Extent>),
}

impl Content {
    /// Returns the extents of this line, in stream order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        match self {
            Self::Entry(entry) => &entry.extents,
            Self::Data(extents) | Self::End(extents) => extents,
            _ => &[],
        }
    }
}

/// The reason why contents cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The reader failed.
    #[error("read contents")]
    Read(#[source] io::Error),
    /// A line is not of the format.
    #[error("contents, line {line}: {problem}")]
    Malformed {
        /// Number of the line, from 1.
        line: u64,
        /// The rule that the line breaks.
        problem: String,
    },
    /// The last line is missing. Holds the number of lines that are there.
    #[error("contents end after line {0} without an end line: they were cut")]
    Cut(u64),
}

/// A writer of contents, line by line.
pub struct ContentsWriter<W> {
    out: W,
    buffer: Vec<u8>,
    written: u64,
}

impl<W: Write> ContentsWriter<W> {
    /// Begins contents with the line that names `artefact`.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn new(out: W, artefact: ArtefactId) -> io::Result<Self> {
        let mut writer = Self {
            out,
            buffer: Vec::with_capacity(4096),
            written: 0,
        };
        writer.write(&Content::Head(artefact))?;
        Ok(writer)
    }

    /// Writes a single line.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write(&mut self, content: &Content) -> io::Result<()> {
        self.buffer.clear();
        line::encode(content, &mut self.buffer)?;
        self.buffer.push(b'\n');
        self.written += self.buffer.len() as u64;
        self.out.write_all(&self.buffer)
    }

    /// Returns the bytes of lines written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends contents and gives the writer back.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn finish(mut self, closing: Vec<Extent>) -> io::Result<(W, u64)> {
        self.write(&Content::End(closing))?;
        Ok((self.out, self.written))
    }
}

/// A reader of contents, one line at a time.
pub struct ContentsReader<R> {
    from: R,
    buffer: Vec<u8>,
    line: u64,
    ended: bool,
}

impl<R: BufRead> ContentsReader<R> {
    /// Makes a reader that expects the contents of `artefact`.
    ///
    /// # Errors
    /// [`ContentsError`] if the first line is not that artefact's head of a version that this program reads.
    pub fn new(from: R, artefact: ArtefactId) -> Result<Self, ContentsError> {
        let mut reader = Self {
            from,
            buffer: Vec::new(),
            line: 0,
            ended: false,
        };
        match reader.read()? {
            Some(Content::Head(found)) if found == artefact => Ok(reader),
            Some(Content::Head(found)) => Err(reader.malformed(format!("contents of another artefact, {found}"))),
            _ => Err(reader.malformed("no head line".to_owned())),
        }
    }

    fn malformed(&self, problem: String) -> ContentsError {
        ContentsError::Malformed {
            line: self.line,
            problem,
        }
    }

    fn read(&mut self) -> Result<Option<Content>, ContentsError> {
        self.buffer.clear();
        let mut limited = io::Read::take(&mut self.from, LINE_MAX as u64);
        let n = limited
            .read_until(b'\n', &mut self.buffer)
            .map_err(ContentsError::Read)?;
        if n == 0 {
            return if self.ended {
                Ok(None)
            } else {
                Err(ContentsError::Cut(self.line))
            };
        }
        self.line += 1;
        if self.ended {
            return Err(self.malformed("more after the end line".to_owned()));
        }
        if self.buffer.pop() != Some(b'\n') {
            return Err(ContentsError::Cut(self.line));
        }
        let content = line::decode(&self.buffer).map_err(|problem| self.malformed(problem))?;
        self.ended = matches!(content, Content::End(_));
        Ok(Some(content))
    }
}

impl<R: BufRead> Iterator for ContentsReader<R> {
    type Item = Result<Content, ContentsError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(Some(Content::Head(_))) => Some(Err(self.malformed("a second head line".to_owned()))),
            Ok(Some(content)) => Some(Ok(content)),
            Ok(None) => None,
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// Refuses a version that this program does not read.
fn check_version(version: u32) -> Result<(), String> {
    if version <= FORMAT_VERSION {
        Ok(())
    } else {
        Err(format!("version {version}; use a newer holdfast"))
    }
}

#[cfg(test)]
mod tests;
