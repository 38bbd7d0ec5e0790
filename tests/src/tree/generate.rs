//! Small trees with everything that is hard to back up.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

use super::content::{Kind, append};
use crate::random::Random;

/// Sizes at the limits of tar's blocks and of the chunker.
const EDGES: &[usize] = &[
    0, 1, 511, 512, 513, 4096, 262_143, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577,
];

/// The apparent size of the sparse file, which has only some KiB of data.
const SPARSE: u64 = 64 << 20;

/// The properties of a small tree.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The number of ordinary files.
    pub files: usize,
    /// The approximate size of the largest file, in bytes.
    pub largest: usize,
    /// True to add unusual things: names, links, sparse files, sockets, fifos, modes, times, extended attributes.
    pub odd: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            files: 60,
            largest: 3 << 20,
            odd: true,
        }
    }
}

/// Makes a tree in `dir`, which is created. The same seed and shape give the same tree (but for inode numbers).
///
/// # Errors
/// If the file system refuses something.
pub fn generate(dir: &Path, seed: u64, shape: Shape) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let mut random = Random::new(seed);
    for index in 0..shape.files {
        let folder = dir.join(folder(&mut random));
        fs::create_dir_all(&folder)?;
        let size = size(index, shape.largest, &mut random);
        let path = folder.join(format!("file-{index:04}"));
        let kind = Kind::any(&mut random);
        write(&path, kind, size, &mut random)?;
        touch(&path, &mut random)?;
    }
    if shape.odd {
        odd(dir, &mut random).context("make the odd part of the tree")?;
    }
    touch_folders(dir, &mut random)
}

fn folder(random: &mut Random) -> String {
    let depth = random.below(4);
    let parts: Vec<String> = (0..depth).map(|_| format!("d{}", random.below(4))).collect();
    parts.join("/")
}

/// Returns the size of a file: first those of [`EDGES`], then mostly small ones and a few large ones, as on real
/// machines.
fn size(index: usize, largest: usize, random: &mut Random) -> usize {
    if let Some(edge) = EDGES.get(index) {
        return (*edge).min(largest);
    }
    let limit = match random.below(10) {
        0..6 => 8 << 10,
        6..9 => 256 << 10,
        _ => largest,
    };
    usize::try_from(random.below(limit.min(largest) as u64 + 1)).unwrap_or(0)
}

fn write(path: &Path, kind: Kind, size: usize, random: &mut Random) -> Result<()> {
    let mut bytes = Vec::with_capacity(size + 256);
    append(&mut bytes, kind, size, random);
    fs::write(path, &bytes).with_context(|| format!("write {}", path.display()))
}

/// Sets a time of the last years, with nanoseconds.
fn touch(path: &Path, random: &mut Random) -> Result<()> {
    let seconds = 1_500_000_000 + i64::try_from(random.below(200_000_000))?;
    set_time(path, seconds, i64::try_from(random.below(1_000_000_000))?)
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("set the time of {}", path.display()))
}

/// Sets the times of folders: last of all and deepest first, since making a file changes the time of its folder.
fn touch_folders(dir: &Path, random: &mut Random) -> Result<()> {
    for path in sorted(dir)? {
        if fs::symlink_metadata(&path)?.is_dir() {
            touch_folders(&path, random)?;
        }
    }
    touch(dir, random)
}

fn odd(dir: &Path, random: &mut Random) -> Result<()> {
    let dir = dir.join("odd");
    fs::create_dir_all(&dir)?;
    names(&dir, random)?;
    links(&dir)?;
    sparse(&dir)?;
    modes(&dir, random)?;
    attributes(&dir)?;
    nodes(&dir)?;
    fs::create_dir_all(dir.join("empty folder"))?;
    let deep = (0..60).fold(dir.join("deep"), |path, level| path.join(format!("level-{level:02}")));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), "deep down\n")?;
    touch_entries(&dir, random)?;
    times(&dir)
}

/// Sets the times of everything but folders.
fn touch_entries(dir: &Path, random: &mut Random) -> Result<()> {
    for path in sorted(dir)? {
        if fs::symlink_metadata(&path)?.is_dir() {
            touch_entries(&path, random)?;
        } else {
            touch(&path, random)?;
        }
    }
    Ok(())
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn names(dir: &Path, random: &mut Random) -> Result<()> {
    let longest = vec![b'n'; 255];
    let names: [&[u8]; 14] = [
        b"with space",
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\rreturn",
        b"-rf",
        b"--",
        b"*",
        b"quote'\"`$(touch nothing)",
        b"back\\slash",
        b"caf\xc3\xa9 and cafe\xcc\x81",
        b"not utf-8 \xff\xfe",
        b"\x01\x1b[31mcontrol",
        b"..hidden.",
        &longest,
    ];
    let dir = dir.join("names");
    fs::create_dir_all(&dir)?;
    for name in names {
        let path = dir.join(OsStr::from_bytes(name));
        write(&path, Kind::Prose, 300, random)?;
        touch(&path, random)?;
    }
    // A path that is too long for a tar header.
    let long = (0..4).fold(dir, |path, _| path.join("f".repeat(200)));
    fs::create_dir_all(&long)?;
    write(&long.join("at the end of a long path"), Kind::Prose, 10, random)
}

fn links(dir: &Path) -> Result<()> {
    let dir = dir.join("links");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("one"), "one file with three names\n")?;
    fs::hard_link(dir.join("one"), dir.join("two"))?;
    fs::create_dir_all(dir.join("below"))?;
    fs::hard_link(dir.join("one"), dir.join("below/three"))?;
    symlink("one", dir.join("relative"))?;
    symlink("/etc/hostname", dir.join("absolute"))?;
    symlink("../../../../nowhere", dir.join("dangling"))?;
    symlink(".", dir.join("loop"))?;
    symlink(OsStr::from_bytes(b"not utf-8 \xff"), dir.join("odd target"))?;
    symlink("t".repeat(1000), dir.join("long target")).context("make a symbolic link")
}

fn sparse(dir: &Path) -> Result<()> {
    let mut file = File::create(dir.join("sparse"))?;
    file.write_all(b"at the beginning")?;
    file.seek(SeekFrom::Start(SPARSE / 2))?;
    file.write_all(b"in the middle")?;
    file.set_len(SPARSE)?;
    File::create(dir.join("nothing but a hole"))?.set_len(SPARSE)?;
    Ok(())
}

fn modes(dir: &Path, random: &mut Random) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    for mode in [0o000_u32, 0o400, 0o600, 0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o6711] {
        let path = dir.join(format!("mode-{mode:04o}"));
        // A user who is not root could not read the file back.
        if !root && mode & 0o400 == 0 {
            continue;
        }
        write(&path, Kind::Prose, 20, random)?;
        if root {
            lchown(&path, Some(1000 + mode), Some(2_000_000))?;
        }
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let folder = dir.join("sticky folder");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o1777))?;
    Ok(())
}

fn times(dir: &Path) -> Result<()> {
    let times = [
        ("before 1970", -86_400, 0),
        ("epoch", 0, 0),
        ("one nanosecond", 1_700_000_000, 1),
        ("last nanosecond", 1_700_000_000, 999_999_999),
        // A time that needs more than the eleven octal digits of tar's own field. (ext4 ends in 2446.)
        ("year 2400", 13_569_465_600, 500_000_000),
    ];
    for (name, seconds, nanoseconds) in times {
        let path = dir.join(format!("time {name}"));
        fs::write(&path, name)?;
        set_time(&path, seconds, nanoseconds)?;
    }
    Ok(())
}

fn attributes(dir: &Path) -> Result<()> {
    let path = dir.join("with attributes");
    fs::write(&path, "see my attributes\n")?;
    let values: [(&str, &[u8]); 4] = [
        ("user.plain", b"a value"),
        ("user.empty", b""),
        ("user.binary", b"\x00\xff\n=\x00"),
        ("user.name = with\nodd parts", b"x"),
    ];
    for (name, value) in values {
        if !settable(xattr::set(&path, name, value))? {
            return Ok(());
        }
    }
    let folder = dir.join("folder with attributes");
    fs::create_dir_all(&folder)?;
    xattr::set(&folder, "user.folder", b"yes").context("set an attribute of a folder")
}

/// Returns true if the file system has extended attributes. (A tmpfs of an older kernel has none.)
fn settable(result: std::io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error).context("set an extended attribute"),
    }
}

fn nodes(dir: &Path) -> Result<()> {
    let fifo = dir.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o640), 0).context("make a fifo")?;
    // The path of a socket may have at most 107 bytes, so the socket is bound under a short name, and moved.
    let short = std::env::temp_dir().join(format!("hf-socket-{}-{}", std::process::id(), dir.as_os_str().len()));
    let _ = fs::remove_file(&short);
    drop(UnixListener::bind(&short).context("make a socket")?);
    let moved = fs::rename(&short, dir.join("socket"));
    if moved.is_err() {
        // The short name is on another file system. Only this one special file is lost.
        fs::remove_file(&short)?;
    }
    if rustix::process::geteuid().is_root() {
        // Many containers do not allow devices, even to root.
        let null = rustix::fs::makedev(1, 3);
        let _ = mknodat(
            CWD,
            dir.join("device"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            null,
        );
    }
    Ok(())
}

/// Changes `count` ordinary files made by [`generate`] (or all if there are fewer), each in one of five ways. Returns
/// their paths.
///
/// # Errors
/// If the file system refuses something.
pub fn edit(dir: &Path, count: usize, seed: u64) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    ordinary(dir, &mut files)?;
    files.sort();
    let mut random = Random::new(seed);
    let mut edited = Vec::new();
    while edited.len() < count && !files.is_empty() {
        let index = usize::try_from(random.below(files.len() as u64))?;
        let path = files.swap_remove(index);
        edit_file(&path, &mut random).with_context(|| format!("change {}", path.display()))?;
        edited.push(path);
    }
    Ok(edited)
}

fn edit_file(path: &Path, random: &mut Random) -> Result<()> {
    let mut noise = [0; 700];
    random.fill(&mut noise);
    let length = fs::metadata(path)?.len();
    match random.below(5) {
        0 => OpenOptions::new().append(true).open(path)?.write_all(&noise)?,
        1 => {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.seek(SeekFrom::Start(length / 2))?;
            file.write_all(&noise)?;
        }
        2 => OpenOptions::new().write(true).open(path)?.set_len(length / 2)?,
        3 => {
            // A new file under the old name, as editors save.
            let beside = path.with_extension("new");
            fs::write(&beside, noise)?;
            fs::rename(&beside, path)?;
        }
        _ => {
            // Data put in front, so that everything behind it moves.
            let old = fs::read(path)?;
            fs::write(path, [&noise[..], &old[..]].concat())?;
        }
    }
    Ok(())
}

fn ordinary(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name();
        if kind.is_dir() && name != "odd" {
            ordinary(&entry.path(), files)?;
        } else if kind.is_file() && name.as_bytes().starts_with(b"file-") {
            files.push(entry.path());
        }
    }
    Ok(())
}
