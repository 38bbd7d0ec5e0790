//! The OpenPGP packets that sealed objects are made of.

use std::{fmt, str::FromStr};

use sequoia_openpgp::types::AEADAlgorithm;
use serde::{Deserialize, Serialize};

/// The OpenPGP format of sealed objects. Both formats use AES-256; they differ in the programs that read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// SEIPDv1 (CFB with MDC) and version 3 PKESK. Every OpenPGP program reads it, GnuPG 2.2 included.
    #[default]
    Gnupg,
    /// SEIPDv2 (OCB) and version 6 PKESK of RFC 9580: several times faster; read by `sq` and others, not by GnuPG.
    Rfc9580,
}

impl Profile {
    /// Returns the name used in configuration files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gnupg => "gnupg",
            Self::Rfc9580 => "rfc9580",
        }
    }

    /// The AEAD mode of the encryption container; none means SEIPDv1.
    pub(crate) fn aead(self) -> Option<AEADAlgorithm> {
        match self {
            Self::Gnupg => None,
            Self::Rfc9580 => Some(AEADAlgorithm::OCB),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A profile name that is neither `gnupg` nor `rfc9580`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown OpenPGP profile {0:?}: use \"gnupg\" or \"rfc9580\"")]
pub struct UnknownProfile(pub String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "gnupg" => Ok(Self::Gnupg),
            "rfc9580" => Ok(Self::Rfc9580),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_names_in_configuration_display_and_parser_agree() {
        for profile in [Profile::Gnupg, Profile::Rfc9580] {
            let text = profile.to_string();
            assert_eq!(text.parse(), Ok(profile));
            assert_eq!(serde_json::to_string(&profile).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Profile>(&format!("{text:?}")).unwrap(), profile);
        }
        assert!("GnuPG".parse::<Profile>().is_err());
    }
}
