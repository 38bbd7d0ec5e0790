//! Both ways with GnuPG 2.2: it reads what Holdfast seals and signs, and its keys work here.

use std::time::SystemTime;

use holdfast_sealing::{
    KeyError, KeyPurpose, PackSealer, Profile, Recipients, SecretKeys, Signer, TrustedSigners, generate, open_signed,
    recipients_of, seal, seal_stream, sign_and_seal,
};

use crate::support::{GnupgKey, Gpg, MIB, Pair, noise, recipients};

fn mixed() -> Recipients {
    GnupgKey::all()
        .into_iter()
        .map(GnupgKey::recipients)
        .reduce(|all, next| all.union(&next))
        .unwrap()
}

#[test]
fn gpg_opens_every_pack_of_one_sealer_with_any_of_several_keys() {
    let sealer = PackSealer::new(&mixed(), Profile::Gnupg).unwrap();
    let homes = GnupgKey::all().map(GnupgKey::home);
    for size in [0, 1, 5000, 9 * MIB] {
        let plaintext = noise(size);
        let sealed = sealer.seal(&plaintext).unwrap();
        assert_eq!(recipients_of(&sealed).unwrap().len(), 3);
        for home in &homes {
            let opened = home.decrypt(&sealed, "");
            assert!(opened.success, "{}", opened.status);
            assert!(opened.plaintext == plaintext, "{size} bytes differ");
        }
    }
}

#[test]
fn gpg_opens_a_sealed_stream() {
    let key = GnupgKey::curve();
    let plaintext = noise(11 * MIB + 3);
    let mut sealed = Vec::new();
    let bytes = seal_stream(&key.recipients(), Profile::Gnupg, plaintext.as_slice(), &mut sealed).unwrap();
    assert_eq!(bytes, plaintext.len() as u64);
    let opened = key.home().decrypt(&sealed, "");
    assert!(opened.success && opened.plaintext == plaintext, "{}", opened.status);
}

#[test]
fn keys_made_by_gpg_open_both_profiles() {
    for profile in [Profile::Gnupg, Profile::Rfc9580] {
        let sealed = PackSealer::new(&mixed(), profile).unwrap().seal(b"pack").unwrap();
        for key in GnupgKey::all() {
            let keys = SecretKeys::from_bytes(&key.secret, None).unwrap();
            assert_eq!(keys.fingerprints(), [key.fingerprint.as_str()]);
            assert_eq!(keys.open(&sealed, 100).unwrap(), b"pack");
            assert_eq!(keys.private_key_operations(), 1);
        }
    }
}

#[test]
fn a_locked_key_made_by_gpg_needs_its_passphrase() {
    for kind in ["cv25519", "rsa3072"] {
        let gpg = Gpg::new();
        let fingerprint = gpg.make(kind, Some("correct horse"));
        let everyone = Recipients::from_bytes(&[gpg.public(&fingerprint)], SystemTime::now()).unwrap();
        let sealed = seal(&everyone, Profile::Gnupg, b"data").unwrap();
        let secret = gpg.secret(&fingerprint, "correct horse");
        let keys = SecretKeys::from_bytes(&secret, Some("correct horse")).unwrap();
        assert_eq!(keys.open(&sealed, 100).unwrap(), b"data");
        assert!(matches!(
            SecretKeys::from_bytes(&secret, None),
            Err(KeyError::PassphraseNeeded { .. })
        ));
        assert!(matches!(
            SecretKeys::from_bytes(&secret, Some("wrong")),
            Err(KeyError::WrongPassphrase { .. })
        ));
        let now = SystemTime::now();
        let signer = Signer::from_bytes(&secret, Some("correct horse"), now).unwrap();
        let record = sign_and_seal(&signer, &everyone, Profile::Gnupg, b"record").unwrap();
        assert_eq!(gpg.decrypt(&record, "correct horse").plaintext, b"record");
        assert!(matches!(
            Signer::from_bytes(&secret, Some("wrong"), now),
            Err(KeyError::WrongPassphrase { .. })
        ));
    }
}

#[test]
fn an_export_of_secret_subkeys_alone_opens_but_does_not_sign() {
    let key = GnupgKey::curve();
    let subkeys = key.home().secret_subkeys(&key.fingerprint);
    let sealed = seal(&key.recipients(), Profile::Gnupg, b"data").unwrap();
    assert_eq!(
        SecretKeys::from_bytes(&subkeys, None)
            .unwrap()
            .open(&sealed, 100)
            .unwrap(),
        b"data"
    );
    let signer = Signer::from_bytes(&subkeys, None, SystemTime::now());
    assert!(matches!(signer, Err(KeyError::NotSecret { .. })), "{signer:?}");
}

#[test]
fn gpg_verifies_what_a_generated_key_signed() {
    let signing = generate(KeyPurpose::Signing, "Signing", None, SystemTime::now()).unwrap();
    let reader = GnupgKey::rsa3072();
    let gpg = reader.home();
    gpg.import(signing.public_armored.as_bytes(), "");
    let signer = Signer::from_bytes(signing.secret_armored.as_bytes(), None, SystemTime::now()).unwrap();
    let sealed = sign_and_seal(&signer, &reader.recipients(), Profile::Gnupg, b"manifest").unwrap();
    let opened = gpg.decrypt(&sealed, "");
    assert!(opened.success, "{}", opened.status);
    assert_eq!(opened.plaintext, b"manifest");
    let valid = opened
        .status
        .lines()
        .find(|line| line.contains("VALIDSIG"))
        .expect("a valid signature")
        .to_owned();
    assert!(valid.ends_with(&signing.fingerprint), "{valid}");
}

#[test]
fn gpg_imports_generated_keys_and_opens_with_them() {
    for (purpose, passphrase) in [
        (KeyPurpose::Backup, None),
        (KeyPurpose::Backup, Some("geheim")),
        (KeyPurpose::Reader, Some("geheim")),
    ] {
        let key = generate(
            purpose,
            "Holdfast Müller <b@example.org>",
            passphrase,
            SystemTime::now(),
        )
        .unwrap();
        let sealed = seal(&recipients(&key.public_armored), Profile::Gnupg, b"data").unwrap();
        let gpg = Gpg::new();
        gpg.import(key.secret_armored.as_bytes(), passphrase.unwrap_or_default());
        let opened = gpg.decrypt(&sealed, passphrase.unwrap_or_default());
        assert!(opened.success && opened.plaintext == b"data", "{}", opened.status);
        let keys = SecretKeys::from_bytes(key.secret_armored.as_bytes(), passphrase).unwrap();
        assert_eq!(keys.open(&sealed, 100).unwrap(), b"data");
    }
}

#[test]
fn gpg_honours_the_revocation_of_a_generated_key() {
    let key = Pair::new(KeyPurpose::Backup).key;
    let gpg = Gpg::new();
    gpg.import(key.public_armored.as_bytes(), "");
    gpg.import(key.revocation_armored.as_bytes(), "");
    let revoked = Recipients::from_bytes(&[gpg.public(&key.fingerprint)], SystemTime::now());
    assert!(matches!(revoked, Err(KeyError::Revoked { .. })), "{revoked:?}");
}

#[test]
fn what_gpg_signed_and_encrypted_opens_here() {
    let signer = GnupgKey::curve();
    let reader = Pair::new(KeyPurpose::Backup);
    let gpg = signer.home();
    gpg.import(reader.key.public_armored.as_bytes(), "");
    let sealed = gpg.sign_and_encrypt(&signer.fingerprint, &reader.key.fingerprint, b"by hand");
    let trusted = TrustedSigners::from_bytes(&signer.public).unwrap();
    let opened = open_signed(&reader.secret, &trusted, &sealed, 100).unwrap();
    assert_eq!(
        (opened.plaintext.as_slice(), &opened.signer),
        (b"by hand".as_slice(), &signer.fingerprint)
    );
}
