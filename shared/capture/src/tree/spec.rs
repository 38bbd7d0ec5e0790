//! The specification of a tree to capture: its roots, and the paths to leave out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::CaptureError;

const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// One place of the file system, and where it stands in the artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The file or directory. If it is a symbolic link, what it points to.
    pub path: PathBuf,
    /// The root's path in the artefact: `.`, or components joined by `/`.
    pub as_path: Vec<u8>,
}

impl Root {
    /// A directory that is the artefact's root.
    #[must_use]
    pub fn directory(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            as_path: b".".to_vec(),
        }
    }

    /// A path of the system, which stands in the artefact under its own name: `/etc` as `etc`.
    #[must_use]
    pub fn system(path: &Path) -> Self {
        let parts: Vec<&[u8]> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            })
            .collect();
        let as_path = parts.join(&b'/');
        Self {
            path: path.to_owned(),
            as_path: if as_path.is_empty() { b".".to_vec() } else { as_path },
        }
    }
}

/// The specification of a tree to capture.
#[derive(Clone, Debug)]
pub struct TreeSpec {
    pub(super) roots: Vec<Root>,
    names: Vec<Pattern>,
    paths: Vec<Pattern>,
    pub(super) one_file_system: bool,
}

impl TreeSpec {
    /// A tree of these roots. A root within another one is captured with that one. What matches a pattern of `exclude` is
    /// left out, with all that is in it, and not looked at: a pattern without `/` is matched with names at any depth
    /// (`*.tmp`), any other with whole paths, relative to their root or as they stand in the artefact (`cache/**`,
    /// `/etc/ssl/private`); there `*` stops at `/`, and `**` does not. With `one_file_system`, other file systems mounted
    /// within a root are passed over.
    ///
    /// # Errors
    /// [`CaptureError::Roots`] and [`CaptureError::Pattern`].
    pub fn new(mut roots: Vec<Root>, exclude: &[String], one_file_system: bool) -> Result<Self, CaptureError> {
        let refuse = |root: &Root, problem| CaptureError::Roots {
            path: String::from_utf8_lossy(&root.as_path).into_owned(),
            problem,
        };
        for root in &roots {
            let whole = root.as_path == b".";
            let parts = || root.as_path.split(|b| *b == b'/');
            if !whole && parts().any(|part| matches!(part, b"" | b"." | b"..")) {
                return Err(refuse(root, "must be '.', or names joined by '/'"));
            }
        }
        let order = |root: &Root| holdfast_format::Path(root.as_path.clone());
        roots.sort_by(|a, b| order(a).compare(&order(b)));
        roots.dedup_by(|inner, outer| contains(&outer.as_path, &inner.as_path));
        let mut names = Vec::new();
        let mut paths = Vec::new();
        for text in exclude {
            let bare = text.trim_start_matches("./").trim_end_matches('/');
            let list = if bare.contains('/') { &mut paths } else { &mut names };
            let pattern = Pattern::new(bare.trim_start_matches('/')).map_err(|source| CaptureError::Pattern {
                pattern: text.clone(),
                source,
            })?;
            list.push(pattern);
        }
        Ok(Self {
            roots,
            names,
            paths,
            one_file_system,
        })
    }

    /// True if a path is left out. `below` is the number of bytes at its beginning that lead to its root.
    pub(super) fn excludes(&self, path: &[u8], below: usize) -> bool {
        if self.names.is_empty() && self.paths.is_empty() {
            return false;
        }
        let matches = |patterns: &[Pattern], bytes: &[u8]| {
            let text = OsStr::from_bytes(bytes).to_string_lossy();
            patterns.iter().any(|p| p.matches_with(&text, MATCHING))
        };
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        matches(&self.names, name)
            || (!self.paths.is_empty() && (matches(&self.paths, path) || matches(&self.paths, &path[below..])))
    }
}

/// True if `inner` is `outer`, or lies within it.
fn contains(outer: &[u8], inner: &[u8]) -> bool {
    outer == b"."
        || inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(roots: &[&str], exclude: &[&str]) -> TreeSpec {
        let roots = roots.iter().map(|p| Root::system(Path::new(p))).collect();
        let exclude: Vec<String> = exclude.iter().map(ToString::to_string).collect();
        TreeSpec::new(roots, &exclude, false).unwrap()
    }

    #[test]
    fn patterns_match_names_or_paths() {
        let spec = spec(&["/etc"], &["*.tmp", "cache/**", "/etc/ssl/private", "logs/*/old/"]);
        for out in [
            "etc/a.tmp",
            "etc/x/a.tmp",
            "etc/cache/a/b",
            "etc/ssl/private",
            "etc/logs/a/old",
        ] {
            assert!(spec.excludes(out.as_bytes(), 4), "{out}");
        }
        for kept in [
            "etc/a.tmpx",
            "etc/cache",
            "etc/x/cache/a",
            "etc/ssl/private2",
            "etc/logs/a/b/old",
        ] {
            assert!(!spec.excludes(kept.as_bytes(), 4), "{kept}");
        }
    }

    #[test]
    fn roots_are_sorted_and_nested_ones_are_one() {
        let names = |s: TreeSpec| -> Vec<Vec<u8>> { s.roots.into_iter().map(|r| r.as_path).collect() };
        assert_eq!(
            names(spec(&["/srv/b", "/etc-x", "/etc/ssh", "/etc", "/srv/b"], &[])),
            [b"etc".to_vec(), b"etc-x".to_vec(), b"srv/b".to_vec()]
        );
        assert_eq!(names(spec(&["/etc", "/"], &[])), [b".".to_vec()]);
        let odd = vec![Root {
            path: "/x".into(),
            as_path: b"a/../b".to_vec(),
        }];
        assert!(matches!(
            TreeSpec::new(odd, &[], false),
            Err(CaptureError::Roots { .. })
        ));
        assert!(matches!(
            TreeSpec::new(vec![], &["a[".to_owned()], false),
            Err(CaptureError::Pattern { .. })
        ));
    }
}
