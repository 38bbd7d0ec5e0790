//! Words of records, settings and commands that are one of a few.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word for it in records, commands and output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    format!("{text:?} is not one of {}", words.join(", "))
                })
            }
        }
    };
}

word_enum!(
    /// The class of a run, by which retention keeps it. Ordered: a monthly backup also counts as a weekly and a daily
    /// one.
    Class {
        /// Kept for the shortest period.
        Daily = "daily",
        /// The first run of a week.
        Weekly = "weekly",
        /// The first run of a month.
        Monthly = "monthly",
        /// Kept until somebody says otherwise.
        Pinned = "pinned",
    }
);

word_enum!(
    /// The depth of a verification. Each level includes those before it.
    Level {
        /// Every object is there, with the size and SHA-256 that the signed manifest names.
        Integrity = "integrity",
        /// Every pack opens; every chunk has its id; the stream has its digest; a dump's table of contents reads.
        Decrypt = "decrypt",
        /// Restored into a scratch server or directory, and compared.
        Restore = "restore",
    }
);

impl Level {
    /// True if packs are opened, so that a secret backup key is needed.
    #[must_use]
    pub fn opens(self) -> bool {
        match self {
            Self::Integrity => false,
            Self::Decrypt | Self::Restore => true,
        }
    }

    /// True if the backup is restored.
    #[must_use]
    pub fn restores(self) -> bool {
        match self {
            Self::Integrity | Self::Decrypt => false,
            Self::Restore => true,
        }
    }

    /// True if a verification of this level proves all that one of the `other` level does.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self >= other
    }
}

word_enum!(
    /// The kind of a source. It decides who lists and captures it.
    SourceKind {
        /// A PostgreSQL server.
        Postgres = "postgres",
        /// Directories and system paths.
        Files = "files",
    }
);

word_enum!(
    /// A stage of the pipeline, as failures name it.
    Stage {
        /// Listing the artefacts of a source.
        List = "list",
        /// Capturing an artefact.
        Capture = "capture",
        /// Sealing the packs of an artefact.
        Seal = "seal",
        /// Writing an artefact's contents and manifest.
        Close = "close",
        /// Reading an artefact back.
        Verify = "verify",
        /// Copying an artefact or a restore point to a target.
        Sync = "sync",
        /// Applying retention at a place.
        Clean = "clean",
    }
);

word_enum!(
    /// The OpenPGP packets that sealed objects are made of, and so what can read them. Both use AES-256.
    #[derive(Default)]
    Profile {
        /// SEIPDv1 (CFB with MDC) and version 3 PKESK: every OpenPGP program reads it, GnuPG 2.2 included.
        #[default]
        Gnupg = "gnupg",
        /// SEIPDv2 (OCB) and version 6 PKESK of RFC 9580: about five times faster; read by `sq` and others, not by GnuPG 2.2.
        Rfc9580 = "rfc9580",
    }
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_text_and_parser_have_one_word() {
        for profile in Profile::ALL {
            let text = profile.to_string();
            assert_eq!(text.parse(), Ok(*profile));
            assert_eq!(serde_json::to_string(profile).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Profile>(&format!("{text:?}")).unwrap(), *profile);
        }
        assert_eq!(
            "GnuPG".parse::<Profile>().unwrap_err(),
            "\"GnuPG\" is not one of gnupg, rfc9580"
        );
    }
}
