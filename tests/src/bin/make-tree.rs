//! Makes a large tree of files for `tests/bench`, or changes one.
//!
//! ```text
//! make-tree DIRECTORY FILES BYTES SEED
//! make-tree --edit DIRECTORY FILES COUNT SEED     FILES as when it was made
//! ```

use std::path::Path;

use anyhow::{Context, Result, bail};
use holdfast_tests::tree::{Bulk, edit_bulk, make_bulk};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().with_context(|| format!("{word:?} is not a number"));
    match words.as_slice() {
        ["--edit", dir, files, count, seed] => {
            let bulk = Bulk {
                files: number(files)?,
                bytes: 0,
                seed: 0,
            };
            edit_bulk(Path::new(dir), bulk, number(count)?, number(seed)?)
        }
        [dir, files, bytes, seed] => {
            let bulk = Bulk {
                files: number(files)?,
                bytes: number(bytes)?,
                seed: number(seed)?,
            };
            make_bulk(Path::new(dir), bulk)
        }
        _ => bail!("usage: make-tree [--edit] DIRECTORY FILES BYTES|COUNT SEED"),
    }
}
