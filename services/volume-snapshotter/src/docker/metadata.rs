//! The engine's metadata, and the Compose files of its stacks: enough to rebuild them on a new host.
//!
//! It holds the environments of containers, and so secrets: it goes into the sealed stream, and nowhere else.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use holdfast_capture::{LAYOUT, capture_archive};
use holdfast_docker::inventory::Inventory;
use holdfast_service::{Context, JobError};
use holdfast_session::{Input, Session, SourceFacts};

use super::Docker;
use crate::stage::tools;

/// The largest Compose file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// The longest name of a stack, or of one of its files, in bytes: both fit into a plain header.
const NAME_MAX: usize = 42;

/// The largest size of all metadata together, in bytes.
const ALL_MAX: usize = 64 << 20;

impl Docker {
    pub(super) async fn metadata(&self, cx: &Context, session: Session) -> Result<(), JobError> {
        let known = self.engine().await?.metadata().await?;
        let seen = self.look().await?;
        let mut text = serde_json::to_vec_pretty(&known)
            .map_err(|error| JobError::Fail(format!("write the engine's metadata as JSON: {error}")))?;
        text.push(b'\n');
        session
            .capture(cx.now(), move |input| read(&text, &seen.inventory, input))
            .await
    }
}

fn read(known: &[u8], inventory: &Inventory, mut input: Input<'_>) -> Result<SourceFacts, JobError> {
    let failed = |error: io::Error| JobError::Fail(format!("put the engine's metadata together: {error}"));
    let mut archive = MetadataArchive::default();
    let mut unread = Vec::new();
    archive.folder("./").map_err(failed)?;
    archive.folder("./compose/").map_err(failed)?;
    for (name, stack) in &inventory.stacks {
        if !is_plain(name) {
            unread.push((name.clone(), "Compose gives no project such a name".to_owned()));
            continue;
        }
        archive.folder(&format!("./compose/{name}/")).map_err(failed)?;
        let mut files: Vec<(String, &String)> = Vec::new();
        for file in &stack.config_files {
            let short = Path::new(file)
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            // Two files of the same name from different folders are both kept.
            let taken = files.iter().filter(|(name, _)| name.ends_with(short)).count();
            let short = if taken == 0 {
                short.to_owned()
            } else {
                format!("{taken}-{short}")
            };
            files.push((short, file));
        }
        files.sort();
        for (short, file) in files {
            match content(Path::new(file)) {
                Ok(content) if is_plain(&short) => archive
                    .file(&format!("./compose/{name}/{short}"), &content)
                    .map_err(failed)?,
                Ok(_) => unread.push((file.clone(), "a file of this name cannot be kept".to_owned())),
                Err(error) => unread.push((file.clone(), error.to_string())),
            }
        }
    }
    archive.file("./engine.json", known).map_err(failed)?;
    let archive = archive.end().map_err(failed)?;
    let outcome = capture_archive(
        archive.as_slice(),
        input.earlier.as_ref(),
        input.packer,
        input.contents,
        &mut input.watch,
    )?;
    let mut warnings = outcome.warnings;
    for (file, why) in unread {
        warnings.add("compose-file", &format!("{file}: {why}"));
    }
    Ok(SourceFacts {
        counts: outcome.counts,
        warnings,
        tools: tools(LAYOUT),
        closing: outcome.closing,
        ..SourceFacts::default()
    })
}

/// True if a name can be part of a path, and in the order that a walk has.
fn is_plain(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.chars().all(fits)
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    file.take(FILE_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_MAX {
        return Err(io::Error::other("the file is larger than 1 MiB"));
    }
    Ok(content)
}

/// A small archive in memory.
struct MetadataArchive {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for MetadataArchive {
    fn default() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
        }
    }
}

impl MetadataArchive {
    fn folder(&mut self, name: &str) -> io::Result<()> {
        self.add(name, tar::EntryType::Directory, 0o700, &[])
    }

    fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.add(name, tar::EntryType::Regular, 0o600, content)
    }

    fn add(&mut self, name: &str, kind: tar::EntryType, mode: u32, content: &[u8]) -> io::Result<()> {
        if self.tar.get_ref().len() + content.len() > ALL_MAX {
            return Err(io::Error::other("they are larger than 64 MiB"));
        }
        let mut header = tar::Header::new_ustar();
        // As it stands: the library would leave the dot out of all names but the first.
        let field = &mut header.as_old_mut().name;
        let room = field
            .get_mut(..name.len())
            .ok_or_else(|| io::Error::other("a name is too long"))?;
        room.copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.tar.append(&header, content)
    }

    fn end(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }
}
