//! Makes new keys.

use std::{fmt, time::SystemTime};

use sequoia_openpgp::{
    Cert, Packet, Profile as KeyProfile,
    armor::{Kind, Writer},
    cert::{CertBuilder, CipherSuite},
    crypto::Password,
    packet::Signature,
    serialize::{Serialize, SerializeInto},
    types::{Features, KeyFlags},
};
use zeroize::Zeroizing;

use crate::KeyError;

const USER_ID_LENGTH: usize = 200;

/// The use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Opens backups: an encryption subkey. Its secret part belongs to the operator and the verifier.
    Backup,
    /// Reads metadata: an encryption subkey. Its secret part is on the services.
    Reader,
    /// Signs: a signing subkey. The owner key and the keys of roles are such.
    Signing,
}

/// A new key pair. `Debug` leaves the secret part out.
pub struct GeneratedKey {
    /// The certificate, armoured.
    pub public_armored: String,
    /// The secret key, armoured; locked if a passphrase was given. Overwritten with zeros when dropped.
    pub secret_armored: Zeroizing<String>,
    /// A certificate of revocation, to be kept with the offline copy: importing it withdraws the key.
    pub revocation_armored: String,
    /// Fingerprint of the key in upper-case hexadecimal.
    pub fingerprint: String,
}

impl fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedKey")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Makes a version 4 key (Ed25519, Curve25519) without expiry, which GnuPG 2.2 imports and uses.
///
/// # Errors
/// [`KeyError::UserId`] for an unusable name; [`KeyError::Generate`] if the library fails.
pub fn generate(
    purpose: KeyPurpose,
    user_id: &str,
    passphrase: Option<&str>,
    now: SystemTime,
) -> Result<GeneratedKey, KeyError> {
    let length = user_id.chars().count();
    if user_id.trim().is_empty() || length > USER_ID_LENGTH || user_id.chars().any(char::is_control) {
        return Err(KeyError::UserId);
    }
    let fault = |source| KeyError::Generate { source };
    let (cert, revocation) = build(purpose, user_id, passphrase, now).map_err(fault)?;
    export(&cert, revocation).map_err(fault)
}

fn build(
    purpose: KeyPurpose,
    user_id: &str,
    passphrase: Option<&str>,
    now: SystemTime,
) -> anyhow::Result<(Cert, Signature)> {
    let encryption = KeyFlags::empty().set_transport_encryption().set_storage_encryption();
    let mut builder = CertBuilder::new()
        .set_profile(KeyProfile::RFC4880)?
        // Advertises only what every reader of the default profile can do; the rfc9580 profile does not ask.
        .set_features(Features::empty().set_seipdv1())?
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_creation_time(now)
        .set_primary_key_flags(KeyFlags::empty().set_certification())
        .add_userid(user_id);
    builder = match purpose {
        KeyPurpose::Backup | KeyPurpose::Reader => builder.add_subkey(encryption, None, None),
        KeyPurpose::Signing => builder.add_signing_subkey(),
    };
    builder.set_password(passphrase.map(Password::from)).generate()
}

fn export(cert: &Cert, revocation: Signature) -> anyhow::Result<GeneratedKey> {
    let mut armoured = Writer::new(Vec::new(), Kind::PublicKey)?;
    Packet::from(revocation).serialize(&mut armoured)?;
    Ok(GeneratedKey {
        public_armored: String::from_utf8(cert.armored().to_vec()?)?,
        secret_armored: Zeroizing::new(String::from_utf8(cert.as_tsk().armored().to_vec()?)?),
        revocation_armored: String::from_utf8(armoured.finalize()?)?,
        fingerprint: cert.fingerprint().to_hex(),
    })
}
