//! Words of records, settings and commands that are one of a few.

/// A text that is none of the words of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {}", .words.join(", "))]
pub struct UnknownWord {
    /// The text that was read.
    pub text: String,
    /// The words of the kind, in order.
    pub words: Vec<&'static str>,
}

impl UnknownWord {
    /// Returns the rule that the text breaks, as a phrase without the text: `must be one of …`.
    #[must_use]
    pub fn rule(&self) -> String {
        format!("must be one of {}", self.words.join(", "))
    }
}

/// Declares an enum together with the words that stand for its values in records, settings, commands and output. Makes
/// `ALL`, `as_str`, `Display`, `FromStr`, `Serialize` and `Deserialize`. The caller's package needs `serde`.
#[macro_export]
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word that stands for the value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(text: &str) -> Result<Self, $crate::UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownWord {
                        text: text.to_owned(),
                        words: vec![$($word),+],
                    }),
                }
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
    /// The verdict of a verification. Good and damaged are findings; unknown is none, and nothing may follow from it.
    Verdict {
        /// All objects are as they were captured, as far as the level goes.
        Good = "good",
        /// An object of the artefact is missing, or is not what it should be.
        Damaged = "damaged",
        /// The artefact could not be judged: a key is not at hand.
        Unknown = "unknown",
    }
);

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
            "GnuPG".parse::<Profile>().unwrap_err().to_string(),
            "\"GnuPG\" is not one of gnupg, rfc9580"
        );
    }
}
