//! Large trees for measurements, made quickly.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::content::{Kind, append};
use crate::random::Random;

/// The number of files in one folder.
const PER_FOLDER: u64 = 100;

/// The number of threads that write. Files are small, and creating them takes most of the time.
const THREADS: u64 = 4;

/// The properties of a large tree.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// The number of files.
    pub files: u64,
    /// The size of all files together in bytes, exact to within one byte per file.
    pub bytes: u64,
    /// The seed. The same seed gives the same tree.
    pub seed: u64,
}

impl Bulk {
    /// Returns the size of a file in proportion to the others: most are small, and one in a thousand is a thousand
    /// times as large.
    fn weight(self, index: u64) -> u64 {
        let mut random = self.random(index);
        let small = 1 + random.below(20);
        match random.below(1000) {
            0 => small * 2_000,
            1..20 => small * 100,
            20..200 => small * 10,
            _ => small,
        }
    }

    fn random(self, index: u64) -> Random {
        Random::new(Random::new(self.seed ^ index.wrapping_mul(0x5851_f42d_4c95_7f2d)).number())
    }
}

fn path(dir: &Path, index: u64) -> PathBuf {
    let folder = index / PER_FOLDER;
    dir.join(format!("{:02}/{folder:05}/{index:07}.dat", folder % 100))
}

/// Makes the tree in `dir`, which must not exist.
///
/// # Errors
/// If `dir` exists, or the file system refuses something.
pub fn make_bulk(dir: &Path, bulk: Bulk) -> Result<()> {
    if dir.exists() {
        bail!("{} exists", dir.display());
    }
    let total: u64 = (0..bulk.files).map(|index| bulk.weight(index)).sum();
    for folder in 0..bulk.files.div_ceil(PER_FOLDER) {
        let first = path(dir, folder * PER_FOLDER);
        fs::create_dir_all(first.parent().unwrap_or(dir))?;
    }
    std::thread::scope(|scope| {
        let part = |thread: u64| move || write_part(dir, bulk, total, thread);
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(part(thread))).collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a writing thread ended badly"),
            }
        }
        Ok(())
    })
}

fn write_part(dir: &Path, bulk: Bulk, total: u64, thread: u64) -> Result<()> {
    let mut buffer = Vec::new();
    for index in (thread..bulk.files).step_by(usize::try_from(THREADS)?) {
        let share = u128::from(bulk.weight(index)) * u128::from(bulk.bytes) / u128::from(total.max(1));
        let size = usize::try_from(share)?;
        let mut random = bulk.random(index);
        let kind = Kind::any(&mut random);
        buffer.clear();
        append(&mut buffer, kind, size, &mut random);
        let path = path(dir, index);
        fs::write(&path, &buffer).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Changes `count` files of a tree made by [`make_bulk`], evenly spread: adds a line, overwrites a few bytes, or
/// replaces the file by a new one of 2 KiB.
///
/// # Errors
/// If the file system refuses something.
pub fn edit_bulk(dir: &Path, bulk: Bulk, count: u64, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut left = count.min(bulk.files);
    let mut index = random.below(bulk.files / left.max(1));
    let step = (bulk.files / left.max(1)).max(1);
    while left > 0 && index < bulk.files {
        let path = path(dir, index);
        let length = fs::metadata(&path)?.len();
        // Only small files are changed, as documented: a large file that changes is another measurement.
        if length <= 64 << 10 {
            change(&path, length, &mut random).with_context(|| format!("change {}", path.display()))?;
            left -= 1;
            index += step;
        } else {
            index += 1;
        }
    }
    Ok(())
}

fn change(path: &Path, length: u64, random: &mut Random) -> Result<()> {
    let mut bytes = Vec::new();
    append(&mut bytes, Kind::Prose, 100, random);
    match random.below(3) {
        0 => OpenOptions::new().append(true).open(path)?.write_all(&bytes)?,
        1 => {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.seek(SeekFrom::Start(length / 2))?;
            file.write_all(&bytes)?;
        }
        _ => {
            append(&mut bytes, Kind::Records, 1948, random);
            fs::write(path, &bytes)?;
        }
    }
    Ok(())
}
