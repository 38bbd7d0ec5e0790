//! One line of contents as JSON. A single flat structure keeps reading at one pass without a tree in between: a tree of
//! a hundred thousand files is read at every capture.

use std::borrow::Cow;
use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Content, Entry, EntryKind, Extent, Path, SkipReason, Stamp, check_version};
use crate::record::FORMAT_VERSION;
use crate::{ArtefactId, ChunkId};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    e: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artefact: Option<ArtefactId>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    p: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pb: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    g: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mt: Option<(i64, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ct: Option<(i64, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ino: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    l: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    lb: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    why: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    n: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "<[Extent]>::is_empty")]
    x: Cow<'a, [Extent]>,
}

const KINDS: [(EntryKind, &str); 7] = [
    (EntryKind::File, "file"),
    (EntryKind::Dir, "dir"),
    (EntryKind::Symlink, "symlink"),
    (EntryKind::Hardlink, "hardlink"),
    (EntryKind::Fifo, "fifo"),
    (EntryKind::Char, "char"),
    (EntryKind::Block, "block"),
];

const REASONS: [(SkipReason, &str); 4] = [
    (SkipReason::Socket, "socket"),
    (SkipReason::Unreadable, "unreadable"),
    (SkipReason::Vanished, "vanished"),
    (SkipReason::ExcludedMount, "excluded-mount"),
];

impl SkipReason {
    /// Returns the word for it in contents and warnings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        word(&REASONS, self)
    }
}

impl EntryKind {
    /// Returns the word for it in contents and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        word(&KINDS, self)
    }
}

fn word<T: Copy + PartialEq>(words: &[(T, &'static str)], value: T) -> &'static str {
    words.iter().find(|(v, _)| *v == value).map_or("", |(_, w)| w)
}

fn value<T: Copy>(words: &[(T, &str)], word: &str) -> Option<T> {
    words.iter().find(|(_, w)| *w == word).map(|(v, _)| *v)
}

/// Splits a path into text if it is UTF-8, or base64 if it is not.
fn path_fields(path: &Path) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    match std::str::from_utf8(&path.0) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(BASE64.encode(&path.0).into())),
    }
}

fn path_of(text: Option<Cow<'_, str>>, base64: Option<Cow<'_, str>>) -> Result<Option<Path>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(Some(Path(text.into_owned().into_bytes()))),
        (None, Some(text)) => BASE64
            .decode(text.as_bytes())
            .map(|bytes| Some(Path(bytes)))
            .map_err(|e| format!("a path: {e}")),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err("a path in two spellings".to_owned()),
    }
}

pub(super) fn encode(content: &Content, out: &mut Vec<u8>) -> io::Result<()> {
    let mut line = Line::default();
    match content {
        Content::Head(artefact) => {
            line.e = "head".into();
            line.version = Some(FORMAT_VERSION);
            line.artefact = Some(*artefact);
        }
        Content::Entry(entry) => fill_entry(&mut line, entry),
        Content::Skip(path, reason) => {
            line.e = "skip".into();
            (line.p, line.pb) = path_fields(path);
            line.why = Some(reason.as_str().into());
        }
        Content::Table(name, rows) => {
            line.e = "table".into();
            line.n = Some(name.into());
            line.rows = Some(*rows);
        }
        Content::Data(extents) => {
            line.e = "data".into();
            line.x = extents.into();
        }
        Content::End(extents) => {
            line.e = "end".into();
            line.x = extents.into();
        }
    }
    serde_json::to_writer(out, &line).map_err(io::Error::other)
}

fn fill_entry<'a>(line: &mut Line<'a>, entry: &'a Entry) {
    line.e = entry.kind.as_str().into();
    (line.p, line.pb) = path_fields(&entry.path);
    line.m = Some(entry.mode);
    line.u = Some(entry.uid);
    line.g = Some(entry.gid);
    line.s = (entry.kind == EntryKind::File).then_some(entry.size);
    line.mt = Some((entry.mtime.seconds, entry.mtime.nanoseconds));
    line.ct = Some((entry.ctime.seconds, entry.ctime.nanoseconds));
    line.ino = Some(entry.inode);
    if let Some(link) = &entry.link {
        (line.l, line.lb) = path_fields(link);
    }
    line.changed = entry.changed.then_some(true);
    line.x = (&entry.extents).into();
}

pub(super) fn decode(json: &[u8]) -> Result<Content, String> {
    let line: Line<'_> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let missing = |what: &str| format!("a {:?} line without {what}", line.e);
    Ok(match &*line.e {
        "head" => {
            check_version(line.version.ok_or_else(|| missing("version"))?)?;
            Content::Head(line.artefact.ok_or_else(|| missing("artefact"))?)
        }
        "skip" => {
            let reason = value(&REASONS, line.why.as_deref().unwrap_or("")).ok_or_else(|| missing("a known why"))?;
            let path = path_of(line.p, line.pb)?.ok_or("a skip line without a path")?;
            Content::Skip(path, reason)
        }
        "table" => {
            let rows = line.rows.ok_or_else(|| missing("rows"))?;
            Content::Table(line.n.ok_or("a table line without a name")?.into_owned(), rows)
        }
        "data" => Content::Data(line.x.into_owned()),
        "end" => Content::End(line.x.into_owned()),
        other => match value(&KINDS, other) {
            Some(kind) => Content::Entry(entry_of(kind, line)?),
            None => return Err(format!("an unknown line, {other:?}")),
        },
    })
}

fn entry_of(kind: EntryKind, line: Line<'_>) -> Result<Entry, String> {
    let stamp = |t: Option<(i64, u32)>| {
        t.map(|(seconds, nanoseconds)| Stamp { seconds, nanoseconds })
            .ok_or("an entry without its times")
    };
    Ok(Entry {
        kind,
        path: path_of(line.p, line.pb)?.ok_or("an entry without a path")?,
        mode: line.m.ok_or("an entry without a mode")?,
        uid: line.u.ok_or("an entry without an owner")?,
        gid: line.g.ok_or("an entry without a group")?,
        size: line.s.unwrap_or(0),
        mtime: stamp(line.mt)?,
        ctime: stamp(line.ct)?,
        inode: line.ino.unwrap_or(0),
        link: path_of(line.l, line.lb)?,
        changed: line.changed.unwrap_or(false),
        extents: line.x.into_owned(),
    })
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(if self.id.is_some() { 4 } else { 3 }))?;
        seq.serialize_element(&self.pack)?;
        seq.serialize_element(&self.offset)?;
        seq.serialize_element(&self.length)?;
        if let Some(id) = &self.id {
            seq.serialize_element(id)?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExtentVisitor;

        impl<'de> Visitor<'de> for ExtentVisitor {
            type Value = Extent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an extent: [pack, offset, length] or [pack, offset, length, id]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Extent, A::Error> {
                use serde::de::Error;
                let mut number = |what| seq.next_element::<u32>()?.ok_or_else(|| A::Error::missing_field(what));
                let pack = number("pack")?;
                let offset = number("offset")?;
                let length = number("length")?;
                let id = seq.next_element::<ChunkId>()?;
                if length == 0 {
                    return Err(A::Error::custom("an empty extent"));
                }
                Ok(Extent {
                    pack,
                    offset,
                    length,
                    id,
                })
            }
        }

        deserializer.deserialize_seq(ExtentVisitor)
    }
}
