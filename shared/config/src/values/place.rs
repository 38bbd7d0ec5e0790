//! Addresses of places.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::serialize_as_display;
use crate::InvalidValue;
use crate::reader::{self, At, Read};

const RULE: &str = "must be a directory, \"file:///directory\" or \"s3://bucket/prefix\"";

/// The address of a place: a directory or a bucket with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlaceUrl {
    kind: Kind,
    url: Url,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// A directory on this host (or mounted on it), as an absolute path.
    Directory(PathBuf),
    /// A bucket of S3, or of a service with the same protocol. The prefix has no slashes at either end, and may be empty.
    Bucket { bucket: String, prefix: String },
}

impl PlaceUrl {
    /// Reads an address. A relative directory starts from `base`.
    ///
    /// # Errors
    /// If the text is neither a directory nor an address of a known kind, or has a user, password or query.
    pub fn parse(text: &str, base: &Path) -> Result<Self, InvalidValue> {
        let refused = || InvalidValue::new(RULE);
        if text.is_empty() {
            return Err(refused());
        }
        if !text.contains("://") {
            let path = std::path::absolute(base.join(text)).map_err(|_| refused())?;
            return Self::directory_at(path).ok_or_else(refused);
        }
        let url = Url::parse(text).map_err(|_| refused())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidValue::new(
                "must not carry a user or password; give credentials by their own keys",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidValue::new(
                "must not carry a query or fragment (write ? as %3F and # as %23)",
            ));
        }
        match url.scheme() {
            "file" => url.to_file_path().ok().and_then(Self::directory_at).ok_or_else(refused),
            "s3" => Self::bucket(text),
            _ => Err(refused()),
        }
    }

    fn directory_at(path: PathBuf) -> Option<Self> {
        let url = Url::from_directory_path(&path).ok()?;
        let kind = Kind::Directory(path);
        Some(Self { kind, url })
    }

    /// Reads bucket and prefix from the text itself. A URL's host would be lower-cased, and its path percent-encoded.
    fn bucket(text: &str) -> Result<Self, InvalidValue> {
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(fits) {
            return Err(InvalidValue::new("must name a bucket: \"s3://bucket/prefix\""));
        }
        let prefix = prefix.trim_matches('/');
        if prefix
            .split('/')
            .any(|part| matches!(part, "." | "..") || (part.is_empty() && !prefix.is_empty()))
        {
            return Err(InvalidValue::new("must have a prefix without empty, `.` or `..` parts"));
        }
        let kind = Kind::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        let url = Url::parse(&kind.to_string()).map_err(|_| InvalidValue::new(RULE))?;
        Ok(Self { kind, url })
    }

    /// Returns the address as a URL: `file:///directory/` or `s3://bucket/prefix`.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the directory, if the place is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Directory(path) => Some(path),
            Kind::Bucket { .. } => None,
        }
    }

    /// True if one of the places is the other, or lies in it. Symbolic links are followed as far as they exist now. Two
    /// names of one bucket are not recognised.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Directory(one), Kind::Directory(other)) => {
                let one = real(one);
                let other = real(other);
                one.starts_with(&other) || other.starts_with(&one)
            }
            (
                Kind::Bucket { bucket, prefix },
                Kind::Bucket {
                    bucket: other_bucket,
                    prefix: other_prefix,
                },
            ) => {
                let one = Path::new(prefix);
                let other = Path::new(other_prefix);
                bucket == other_bucket && (one.starts_with(other) || other.starts_with(one))
            }
            _ => false,
        }
    }

    /// True if the place is an S3 bucket.
    #[must_use]
    pub fn is_s3(&self) -> bool {
        matches!(self.kind, Kind::Bucket { .. })
    }
}

/// Returns the path without `.`, `..` and symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => real(parent).join(name),
        (Some(parent), Some(Component::ParentDir)) => real(parent).parent().map_or_else(|| "/".into(), Path::to_owned),
        (Some(parent), _) => real(parent),
        (None, _) => path.to_owned(),
    }
}

impl fmt::Display for PlaceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => match Url::from_file_path(path) {
                Ok(url) => write!(f, "{url}"),
                Err(()) => write!(f, "{}", path.display()),
            },
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

serialize_as_display!(PlaceUrl);

impl Read for PlaceUrl {
    fn read(at: &At<'_>, kind: reader::Kind) -> Option<Self> {
        let text = at.text(kind, RULE)?;
        Self::parse(&text, at.dir()).map_err(|error| at.fault(error.rule)).ok()
    }
}
