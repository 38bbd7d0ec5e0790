//! Tar entries for tests.

use holdfast_format::{ArtefactId, ArtefactKind, Entry, EntryKind, Path, Stamp};

use super::{Draft, Repo};

/// An entry of an archive that a test makes.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) kind: EntryKind,
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: Stamp,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) data: Vec<u8>,
    /// Offsets and lengths of data in a sparse file, and its size.
    pub(crate) sparse: Option<(Vec<(u64, u64)>, u64)>,
}

impl Spec {
    pub(crate) fn new(kind: EntryKind, path: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            path: path.as_ref().to_vec(),
            mode: if kind == EntryKind::Dir { 0o755 } else { 0o644 },
            owner: (0, 0),
            mtime: Stamp {
                seconds: 1_600_000_000,
                nanoseconds: 123_456_789,
            },
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            data: Vec::new(),
            sparse: None,
        }
    }

    pub(crate) fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(EntryKind::Dir, path)
    }

    pub(crate) fn file(path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        Self {
            data: data.as_ref().to_vec(),
            ..Self::new(EntryKind::File, path)
        }
    }

    pub(crate) fn link(kind: EntryKind, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(kind, path)
        }
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owner(self, uid: u32, gid: u32) -> Self {
        Self {
            owner: (uid, gid),
            ..self
        }
    }

    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.as_bytes().to_vec(), value.to_vec()));
        self
    }

    /// The contents' line, without extents.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            kind: self.kind,
            path: Path(self.path.clone()),
            mode: self.mode,
            uid: self.owner.0,
            gid: self.owner.1,
            size: match (&self.sparse, self.kind) {
                (Some((_, size)), _) => *size,
                (None, EntryKind::File) => self.data.len() as u64,
                _ => 0,
            },
            mtime: self.mtime,
            ctime: self.mtime,
            inode: 1,
            link: (!self.link.is_empty()).then(|| Path(self.link.clone())),
            changed: false,
            extents: Vec::new(),
        }
    }

    /// Data in the archive: a sparse file's begins with its map.
    pub(crate) fn stored(&self) -> Vec<u8> {
        let Some((segments, _)) = &self.sparse else {
            return self.data.clone();
        };
        let mut map = format!("{}\n", segments.len());
        for (offset, length) in segments {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut out = map.into_bytes();
        out.resize(out.len().next_multiple_of(512), 0);
        out.extend_from_slice(&self.data);
        out
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut path = self.path.clone();
        if self.kind == EntryKind::Dir {
            path.push(b'/');
        }
        if self.sparse.is_none() {
            record(&mut records, b"path", &path);
        }
        if !self.link.is_empty() {
            record(&mut records, b"linkpath", &self.link);
        }
        let time = format!("{}.{:09}", self.mtime.seconds, self.mtime.nanoseconds);
        record(&mut records, b"mtime", time.as_bytes());
        if let Some((_, size)) = &self.sparse {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", &self.path);
            record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
        }
        for (name, value) in &self.xattrs {
            let name = String::from_utf8(name.clone()).unwrap();
            let name = name.replace('%', "%25").replace('=', "%3D");
            record(&mut records, format!("SCHILY.xattr.{name}").as_bytes(), value);
        }
        let mut out = block(tar::EntryType::XHeader, records.len() as u64, self).to_vec();
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(512), 0);
        let kind = match self.kind {
            EntryKind::File => tar::EntryType::Regular,
            EntryKind::Dir => tar::EntryType::Directory,
            EntryKind::Symlink => tar::EntryType::Symlink,
            EntryKind::Hardlink => tar::EntryType::Link,
            EntryKind::Fifo => tar::EntryType::Fifo,
            EntryKind::Char => tar::EntryType::Char,
            EntryKind::Block => tar::EntryType::Block,
        };
        out.extend_from_slice(&block(kind, self.stored().len() as u64, self));
        out
    }
}

fn block(kind: tar::EntryType, size: u64, spec: &Spec) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.set_path("in-its-records").unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(spec.mode);
    header.set_uid(u64::from(spec.owner.0));
    header.set_gid(u64::from(spec.owner.1));
    header.set_device_major(spec.device.0).unwrap();
    header.set_device_minor(spec.device.1).unwrap();
    header.set_cksum();
    *header.as_bytes()
}

fn record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Draft<'_> {
    pub(crate) fn add(&mut self, spec: &Spec) {
        self.entry(spec.entry(), &spec.header(), &spec.stored());
    }
}

/// Stores a tree; small packs and chunks, so that files lie in several.
pub(crate) fn tree(repo: &Repo, specs: &[Spec]) -> ArtefactId {
    draft(repo, specs).close_tar(ArtefactKind::Directory, "uploads")
}

/// Begins to store a tree.
pub(crate) fn draft<'r>(repo: &'r Repo, specs: &[Spec]) -> Draft<'r> {
    let mut draft = Draft::new(repo, 48 << 10, 10_000);
    for spec in specs {
        draft.add(spec);
    }
    draft
}

/// One of everything.
pub(crate) fn everything() -> Vec<Spec> {
    let sparse = Spec {
        data: [super::noise(4096, 5), super::noise(700, 6)].concat(),
        sparse: Some((vec![(1 << 20, 4096), ((3 << 20) - 188 - 512, 700)], 3 << 20)),
        ..Spec::new(EntryKind::File, "sparse")
    };
    vec![
        Spec::dir(".").mode(0o750).xattr("user.root", b"r"),
        Spec::dir("a").mode(0o2775).owner(1001, 1002),
        Spec::file("a/big", super::noise(200_000, 1)).mode(0o600).owner(1001, 0),
        Spec::file("a/empty", b""),
        Spec::file("a/exact", super::noise(512, 2)).xattr("user.a=b%", b"\x00\xff\n"),
        Spec::link(EntryKind::Hardlink, "a/hard", "a/big"),
        Spec::file("a/setuid", b"#!").mode(0o4755).owner(1001, 1001),
        Spec::dir("b"),
        Spec::dir("b/c").mode(0o555),
        Spec::file("b/c/deep", b"deep"),
        Spec::new(EntryKind::Fifo, "b/fifo").mode(0o640),
        Spec::link(EntryKind::Symlink, "b/link", "/etc/passwd"),
        Spec {
            device: (1, 3),
            ..Spec::new(EntryKind::Char, "b/null").mode(0o666)
        },
        Spec::link(EntryKind::Hardlink, "b/second-link", "b/link"),
        Spec::file(b"odd \xff\n name", b"odd"),
        sparse,
    ]
}
