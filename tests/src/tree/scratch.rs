//! A generated tree in a temporary folder.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use super::{Shape, generate};

/// A generated tree, the folder `uploads` in a temporary folder. Both are removed with this value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _dir: TempDir,
}

impl Scratch {
    /// Makes a tree of this shape, the same each time.
    ///
    /// # Errors
    /// If the file system refuses something.
    pub fn new(shape: Shape) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("uploads");
        generate(&path, 1, shape)?;
        Ok(Self { path, _dir: dir })
    }

    /// Makes a tree of this many ordinary files, and the unusual things.
    ///
    /// # Errors
    /// As of [`Scratch::new`].
    pub fn few(files: usize) -> Result<Self> {
        Self::new(Shape {
            files,
            ..Shape::default()
        })
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}
