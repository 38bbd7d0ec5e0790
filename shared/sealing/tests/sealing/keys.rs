//! Loading certificates and secret keys: what is accepted, what is refused, and why.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use holdfast_sealing::{
    KeyError, KeyPurpose, OpenError, Profile, Recipients, SecretKeys, Signer, TrustedSigners, generate,
    missing_readers, seal,
};
use sequoia_openpgp::{
    Cert, Packet,
    cert::CertBuilder,
    parse::Parse,
    serialize::SerializeInto,
    types::{KeyFlags, ReasonForRevocation},
};
use tempfile::TempDir;

use crate::support::{Pair, recipients};

/// A certificate, public and secret, made `age` seconds ago to live for `validity` seconds. It signs and encrypts.
pub(crate) fn expiring(validity: u64, age: u64) -> (Vec<u8>, Vec<u8>) {
    let (cert, _) = CertBuilder::new()
        .add_userid("Short-lived")
        .set_creation_time(SystemTime::now() - Duration::from_secs(age))
        .set_validity_period(Duration::from_secs(validity))
        .add_signing_subkey()
        .add_storage_encryption_subkey()
        .generate()
        .unwrap();
    (cert.to_vec().unwrap(), cert.as_tsk().to_vec().unwrap())
}

fn written(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn files_may_be_armoured_or_binary_and_hold_several_certificates() {
    let dir = TempDir::new().unwrap();
    let pairs: Vec<Pair> = (0..4).map(|_| Pair::new(KeyPurpose::Backup)).collect();
    let binary = |pair: &Pair| {
        Cert::from_bytes(pair.key.public_armored.as_bytes())
            .unwrap()
            .to_vec()
            .unwrap()
    };
    let armoured = format!(
        "a comment\n{}\n{}",
        pairs[0].key.public_armored, pairs[1].key.public_armored
    );
    let paths = [
        written(&dir, "two.asc", armoured.as_bytes()),
        written(&dir, "two.pgp", &[binary(&pairs[2]), binary(&pairs[3])].concat()),
        written(&dir, "again.asc", pairs[0].key.public_armored.as_bytes()),
    ];
    let loaded = Recipients::from_files(&paths, SystemTime::now()).unwrap();
    let mut expected: Vec<String> = pairs.iter().map(|pair| pair.key.fingerprint.clone()).collect();
    expected.sort();
    assert_eq!(loaded.fingerprints(), expected);
    assert_eq!(loaded.len(), 4);
    assert_eq!(
        TrustedSigners::from_files(&paths[..2]).unwrap().fingerprints(),
        expected
    );
    assert_eq!(loaded.union(&pairs[1].recipients).fingerprints(), expected);
}

#[test]
fn unusable_files_are_named() {
    let dir = TempDir::new().unwrap();
    let now = SystemTime::now();
    let missing = dir.path().join("missing.asc");
    let error = Recipients::from_files(std::slice::from_ref(&missing), now).unwrap_err();
    assert!(matches!(&error, KeyError::Read { path, .. } if *path == missing));
    assert!(error.to_string().contains("missing.asc"), "{error}");
    for content in [
        &b""[..],
        b"hello",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----",
    ] {
        let path = written(&dir, "garbage.asc", content);
        let error = Recipients::from_files(&[path], now).unwrap_err();
        assert!(matches!(error, KeyError::NotOpenPgp { .. }), "{error:?}");
        assert!(error.to_string().contains("garbage.asc"), "{error}");
    }
    assert!(matches!(Recipients::from_files(&[], now), Err(KeyError::NoneGiven)));
    assert!(matches!(SecretKeys::from_files(&[], None), Err(KeyError::NoneGiven)));
}

#[test]
fn a_secret_key_among_recipients_is_refused() {
    let dir = TempDir::new().unwrap();
    let good = Pair::new(KeyPurpose::Backup);
    let bad = Pair::new(KeyPurpose::Backup);
    let paths = [
        written(&dir, "good.asc", good.key.public_armored.as_bytes()),
        written(&dir, "bad.asc", bad.key.secret_armored.as_bytes()),
    ];
    let error = Recipients::from_files(&paths, SystemTime::now()).unwrap_err();
    let KeyError::NotPublic { origin, fingerprint } = &error else {
        panic!("{error:?}")
    };
    assert!(origin.ends_with("bad.asc"), "{origin}");
    assert_eq!(*fingerprint, bad.key.fingerprint);
}

#[test]
fn an_expired_recipient_is_refused_with_its_date() {
    let (public, _) = expiring(3600, 7200);
    let error = Recipients::from_bytes(std::slice::from_ref(&public), SystemTime::now()).unwrap_err();
    let KeyError::Expired { at, .. } = &error else {
        panic!("{error:?}")
    };
    let ago = SystemTime::now().duration_since(*at).unwrap().as_secs();
    assert!((3590..3700).contains(&ago), "{ago}");
    assert!(error.to_string().contains(" UTC"), "{error}");
    let before = SystemTime::now() - Duration::from_secs(5000);
    assert!(Recipients::from_bytes(&[public], before).is_ok());
}

#[test]
fn expiry_is_announced_ahead() {
    let now = SystemTime::now();
    let (public, _) = expiring(10 * 86400, 0);
    let lasting = Pair::new(KeyPurpose::Backup).recipients;
    let everyone = lasting.union(&Recipients::from_bytes(&[public], now + Duration::from_secs(5)).unwrap());
    let day = Duration::from_secs(86400);
    let soon = everyone.expiring_before(now + 30 * day);
    assert_eq!(soon.len(), 1);
    assert!(soon[0].1 > now + 9 * day && soon[0].1 < now + 11 * day);
    assert!(everyone.expiring_before(now + 5 * day).is_empty());
    assert!(everyone.check(now + 5 * day).is_ok());
    assert!(matches!(everyone.check(now + 15 * day), Err(KeyError::Expired { .. })));
}

#[test]
fn revoked_and_unfit_recipients_are_refused() {
    let now = SystemTime::now() + Duration::from_secs(5);
    let (cert, revocation) = CertBuilder::new().add_storage_encryption_subkey().generate().unwrap();
    let (revoked, _) = cert.insert_packets(Packet::from(revocation)).unwrap();
    let error = Recipients::from_bytes(&[revoked.to_vec().unwrap()], now).unwrap_err();
    assert!(matches!(error, KeyError::Revoked { .. }), "{error:?}");
    let (signs_only, _) = CertBuilder::new().add_signing_subkey().generate().unwrap();
    let error = Recipients::from_bytes(&[signs_only.to_vec().unwrap()], now).unwrap_err();
    assert!(matches!(error, KeyError::NoEncryptionKey { .. }), "{error:?}");
    let (later, _) = CertBuilder::new()
        .set_creation_time(now + Duration::from_secs(86400))
        .add_storage_encryption_subkey()
        .generate()
        .unwrap();
    let error = Recipients::from_bytes(&[later.to_vec().unwrap()], now).unwrap_err();
    assert!(matches!(error, KeyError::Invalid { .. }), "{error:?}");
}

/// Returns a certificate with two encryption subkeys, and their fingerprints.
fn two_subkeys() -> (Cert, [String; 2]) {
    let (cert, _) = CertBuilder::new()
        .set_creation_time(SystemTime::now() - Duration::from_secs(60))
        .add_storage_encryption_subkey()
        .add_subkey(KeyFlags::empty().set_storage_encryption(), None, None)
        .generate()
        .unwrap();
    let subkeys: Vec<String> = cert
        .keys()
        .subkeys()
        .map(|key| key.key().fingerprint().to_hex())
        .collect();
    (cert, subkeys.try_into().unwrap())
}

/// Returns the certificate with one of its subkeys.
fn with_only(cert: &Cert, subkey: &str) -> Cert {
    cert.clone()
        .retain_subkeys(|key| key.key().fingerprint().to_hex() == subkey)
}

#[test]
fn a_subkey_that_replaces_another_within_its_certificate_makes_other_readers() {
    let (cert, [old, new]) = two_subkeys();
    let of = |cert: &Cert| Recipients::from_bytes(&[cert.to_vec().unwrap()], SystemTime::now()).unwrap();
    let before = of(&with_only(&cert, &old));
    let after = of(&with_only(&cert, &new));
    assert_eq!(before.fingerprints(), after.fingerprints());
    assert_eq!(before.readers(), [old.as_str()]);
    assert_eq!(after.readers(), [new.as_str()]);
    // While both are alive, both are sealed to, and each opens it alone.
    let mut both = vec![old.clone(), new.clone()];
    both.sort();
    assert_eq!(of(&cert).readers(), both);
    assert_eq!(
        of(&cert).readers_of_each(),
        [(cert.fingerprint().to_hex(), both.clone())]
    );
    let sealed = seal(&of(&cert), Profile::Gnupg, b"data").unwrap();
    let all = SecretKeys::from_bytes(&cert.as_tsk().to_vec().unwrap(), None).unwrap();
    for reader in &both {
        let alone = all.only(reader).unwrap();
        assert_eq!(alone.readers(), [reader.as_str()]);
        assert_eq!(alone.open(&sealed, 100).unwrap(), b"data");
        let other = seal(&of(&with_only(&cert, reader)), Profile::Gnupg, b"data").unwrap();
        assert!(alone.open(&other, 100).is_ok());
    }
    assert!(all.only(&cert.fingerprint().to_hex()).is_none());

    let secret = with_only(&cert, &new).as_tsk().to_vec().unwrap();
    let secret = SecretKeys::from_bytes(&secret, None).unwrap();
    assert!(secret.readers().contains(&new) && !secret.readers().contains(&old));
    for profile in [Profile::Gnupg, Profile::Rfc9580] {
        let sealed = seal(&before, profile, b"data").unwrap();
        assert_eq!(after.missing_in(&sealed).unwrap(), [new.as_str()]);
        assert_eq!(of(&cert).missing_in(&sealed).unwrap(), [new.as_str()]);
        assert!(before.missing_in(&sealed).unwrap().is_empty());
        assert!(matches!(secret.open(&sealed, 100), Err(OpenError::NoKey { .. })));
        // What is no fingerprint is nobody's.
        let odd = ["", "AB", "not hex", "ABC"].map(str::to_owned);
        assert_eq!(missing_readers(&sealed, &odd).unwrap(), odd);
    }
}

#[test]
fn a_public_key_is_no_secret_key() {
    let pair = Pair::that_signs_and_opens();
    let public = pair.key.public_armored.as_bytes();
    assert!(matches!(
        SecretKeys::from_bytes(public, None),
        Err(KeyError::NotSecret { .. })
    ));
    assert!(matches!(
        Signer::from_bytes(public, None, SystemTime::now()),
        Err(KeyError::NotSecret { .. })
    ));
}

#[test]
fn a_signer_is_one_live_signing_key() {
    let now = SystemTime::now();
    let backup = Pair::new(KeyPurpose::Backup);
    let error = Signer::from_bytes(backup.key.secret_armored.as_bytes(), None, now).unwrap_err();
    assert!(matches!(error, KeyError::NoSigningKey { .. }), "{error:?}");
    let one = Pair::that_signs_and_opens();
    let two = Pair::that_signs_and_opens();
    let both = format!("{}\n{}", &*one.key.secret_armored, &*two.key.secret_armored);
    assert!(matches!(
        Signer::from_bytes(both.as_bytes(), None, now),
        Err(KeyError::SeveralKeys { .. })
    ));
    let (_, expired) = expiring(3600, 7200);
    assert!(matches!(
        Signer::from_bytes(&expired, None, now),
        Err(KeyError::Expired { .. })
    ));
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "producer.sec.asc", one.key.secret_armored.as_bytes());
    let signer = Signer::from_file(&path, None, now).unwrap();
    assert_eq!(signer.fingerprint(), one.key.fingerprint);
}

#[test]
fn an_owner_is_one_certificate() {
    let one = Pair::that_signs_and_opens();
    let two = Pair::that_signs_and_opens();
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "owner.pub.asc", one.key.public_armored.as_bytes());
    assert_eq!(
        TrustedSigners::one_from_file(&path).unwrap().fingerprints(),
        [one.key.fingerprint.as_str()]
    );
    let both = format!("{}\n{}", one.key.public_armored, two.key.public_armored);
    let path = written(&dir, "owners.pub.asc", both.as_bytes());
    let refused = TrustedSigners::one_from_file(&path);
    assert!(
        matches!(&refused, Err(KeyError::SeveralCertificates { fingerprints, .. }) if fingerprints.len() == 2),
        "{refused:?}"
    );
}

#[test]
fn old_keys_still_open_what_was_sealed_to_them() {
    let (public, secret) = expiring(3600, 3500);
    let loaded = Recipients::from_bytes(&[public], SystemTime::now()).unwrap();
    let sealed = seal(&loaded, Profile::Gnupg, b"old").unwrap();
    // Revoked since; expiry is no different, as validity is not asked at all.
    let cert = Cert::from_bytes(&secret).unwrap();
    let mut primary = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let revocation = cert
        .revoke(&mut primary, ReasonForRevocation::KeyCompromised, b"lost")
        .unwrap();
    let (cert, _) = cert.insert_packets(Packet::from(revocation)).unwrap();
    let keys = SecretKeys::from_bytes(&cert.as_tsk().to_vec().unwrap(), None).unwrap();
    assert_eq!(keys.open(&sealed, 100).unwrap(), b"old");
}

#[test]
fn a_subkey_that_stays_locked_says_so() {
    // Two encryption subkeys under different passphrases; the object is sealed to the one that stays locked.
    let (cert, _) = CertBuilder::new()
        .add_storage_encryption_subkey()
        .add_subkey(KeyFlags::empty().set_transport_encryption(), None, None)
        .generate()
        .unwrap();
    let subkeys: Vec<_> = cert.keys().subkeys().secret().map(|key| key.key().clone()).collect();
    let mut locked = cert.clone();
    for (subkey, passphrase) in subkeys.iter().zip(["one", "two"]) {
        let subkey = subkey.clone().encrypt_secret(&passphrase.into()).unwrap();
        locked = locked.insert_packets(Packet::from(subkey)).unwrap().0;
    }
    let secret = locked.as_tsk().to_vec().unwrap();
    let second = subkeys[1].fingerprint();
    let only_second = locked
        .clone()
        .strip_secret_key_material()
        .retain_subkeys(|key| key.key().fingerprint() == second);
    let now = SystemTime::now() + Duration::from_secs(5);
    let to_second = Recipients::from_bytes(&[only_second.to_vec().unwrap()], now).unwrap();
    let sealed = seal(&to_second, Profile::Gnupg, b"data").unwrap();
    let first = SecretKeys::from_bytes(&secret, Some("one")).unwrap();
    let error = first.open(&sealed, 100).unwrap_err();
    assert!(
        matches!(&error, OpenError::Locked { key } if *key == subkeys[1].keyid().to_hex()),
        "{error:?}"
    );
    let both = first.union(&SecretKeys::from_bytes(&secret, Some("two")).unwrap());
    assert_eq!(both.open(&sealed, 100).unwrap(), b"data");
}

#[test]
fn generated_keys_do_not_expire_and_have_checked_names() {
    let now = SystemTime::now();
    let key = generate(KeyPurpose::Reader, "Reader", None, now).unwrap();
    let loaded = recipients(&key.public_armored);
    assert!(
        loaded
            .expiring_before(now + Duration::from_secs(100 * 365 * 86400))
            .is_empty()
    );
    assert!(!key.public_armored.contains("PRIVATE KEY"));
    for name in ["", "  ", "two\nlines", &"x".repeat(201)] {
        assert!(matches!(
            generate(KeyPurpose::Backup, name, None, now),
            Err(KeyError::UserId)
        ));
    }
}
