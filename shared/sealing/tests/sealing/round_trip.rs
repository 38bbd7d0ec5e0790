//! Sealed messages open again, and only within the limit.

use std::{
    io::{self, Read},
    time::SystemTime,
};

use holdfast_fault::Retryable as _;
use holdfast_sealing::{
    KeyError, KeyPurpose, OpenError, PackSealer, Profile, Recipients, SealError, SecretKeys, recipients_of, seal,
    seal_stream,
};

use crate::support::{MIB, Pair, noise};

const PROFILES: [Profile; 2] = [Profile::Gnupg, Profile::Rfc9580];

#[test]
fn packs_of_every_size_open_in_both_profiles() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealer = PackSealer::new(&pair.recipients, profile).unwrap();
        for size in [
            0,
            1,
            100,
            4095,
            4096,
            4097,
            MIB - 1,
            MIB,
            MIB + 1,
            2 * MIB,
            4 * MIB,
            17 * MIB + 5,
        ] {
            let plaintext = noise(size);
            let sealed = sealer.seal(&plaintext).unwrap();
            assert!(
                pair.secret.open(&sealed, size).unwrap() == plaintext,
                "{profile} {size}"
            );
            if size > 0 {
                let refused = pair.secret.open(&sealed, size - 1);
                assert!(matches!(refused, Err(OpenError::TooLarge { limit }) if limit == size as u64 - 1));
            }
        }
    }
}

#[test]
fn streams_open_in_both_profiles_and_stop_at_the_limit() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        for size in [0, 10, 9 * MIB + 1] {
            let plaintext = noise(size);
            let mut sealed = Vec::new();
            seal_stream(&pair.recipients, profile, plaintext.as_slice(), &mut sealed).unwrap();
            let mut opened = Vec::new();
            let bytes = pair
                .secret
                .open_stream(sealed.as_slice(), &mut opened, size as u64)
                .unwrap();
            assert!(bytes == size as u64 && opened == plaintext, "{profile} {size}");
            let mut read = Vec::new();
            pair.secret
                .open_reader(sealed.as_slice(), u64::MAX)
                .unwrap()
                .read_to_end(&mut read)
                .unwrap();
            assert!(read == plaintext, "{profile} {size}");
            if size > 0 {
                let mut part = Vec::new();
                let refused = pair.secret.open_stream(sealed.as_slice(), &mut part, size as u64 - 1);
                assert!(matches!(refused, Err(OpenError::TooLarge { .. })));
                assert!(part.len() < size);
            }
        }
    }
}

#[test]
fn packs_of_one_sealer_share_the_session_key_but_not_the_ciphertext() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let keys = SecretKeys::from_bytes(pair.key.secret_armored.as_bytes(), None).unwrap();
        let sealer = PackSealer::new(&pair.recipients, profile).unwrap();
        let packs: Vec<Vec<u8>> = (0..5).map(|_| sealer.seal(b"same bytes").unwrap()).collect();
        assert!(
            packs
                .windows(2)
                .all(|two| two[0] != two[1] && two[0].len() == two[1].len())
        );
        std::thread::scope(|scope| {
            for pack in &packs {
                scope.spawn(|| assert_eq!(keys.open(pack, 100).unwrap(), b"same bytes"));
            }
        });
        assert_eq!(keys.private_key_operations(), 1);
        let other = seal(&pair.recipients, profile, b"other").unwrap();
        assert_eq!(keys.clone().open(&other, 100).unwrap(), b"other");
        assert_eq!(keys.open(&packs[0], 100).unwrap(), b"same bytes");
        assert_eq!(keys.private_key_operations(), 2);
    }
}

#[test]
fn the_cache_of_session_keys_is_bounded() {
    let pair = Pair::new(KeyPurpose::Backup);
    let objects: Vec<Vec<u8>> = (0..65)
        .map(|_| seal(&pair.recipients, Profile::Gnupg, b"x").unwrap())
        .collect();
    for object in &objects {
        pair.secret.open(object, 1).unwrap();
    }
    assert_eq!(pair.secret.private_key_operations(), 65);
    pair.secret.open(&objects[64], 1).unwrap();
    assert_eq!(pair.secret.private_key_operations(), 65);
    pair.secret.open(&objects[0], 1).unwrap();
    assert_eq!(pair.secret.private_key_operations(), 66);
}

#[test]
fn a_stranger_is_told_which_key_is_needed() {
    let one = Pair::new(KeyPurpose::Backup);
    let two = Pair::new(KeyPurpose::Backup);
    let stranger = Pair::new(KeyPurpose::Backup);
    let everyone = one.recipients.union(&two.recipients);
    for profile in PROFILES {
        let sealed = seal(&everyone, profile, b"data").unwrap();
        let named = recipients_of(&sealed).unwrap();
        assert_eq!(named.len(), 2);
        let error = stranger.secret.open(&sealed, 100).unwrap_err();
        assert!(
            matches!(&error, OpenError::NoKey { needed } if *needed == named),
            "{error:?}"
        );
        assert!(error.to_string().contains(&named[0]), "{error}");
        assert_eq!(two.secret.open(&sealed, 100).unwrap(), b"data");
        assert_eq!(stranger.secret.union(&one.secret).open(&sealed, 100).unwrap(), b"data");
    }
}

#[test]
fn recipients_are_read_from_the_beginning_of_an_object() {
    let one = Pair::new(KeyPurpose::Backup);
    let two = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealed = seal(&one.recipients, profile, &noise(5 * MIB)).unwrap();
        let beginning = &sealed[..4096];
        assert_eq!(recipients_of(beginning).unwrap(), recipients_of(&sealed).unwrap());
        let everyone = one.recipients.union(&two.recipients);
        assert_eq!(everyone.missing_in(beginning).unwrap(), two.recipients.readers());
        assert!(one.recipients.missing_in(beginning).unwrap().is_empty());
        assert!(matches!(recipients_of(&sealed[..40]), Err(OpenError::Damaged { .. })));
    }
    for garbage in [&b""[..], b"hello", b"\x00\x00\x00"] {
        assert!(matches!(recipients_of(garbage), Err(OpenError::Damaged { .. })));
    }
}

#[test]
fn sealing_refuses_a_recipient_that_expired_after_it_was_loaded() {
    let (public, _) = crate::keys::expiring(3600, 7200);
    let then = SystemTime::now() - std::time::Duration::from_secs(5400);
    let loaded = Recipients::from_bytes(&[public], then).unwrap();
    let refused = PackSealer::new(&loaded, Profile::Gnupg).unwrap_err();
    assert!(
        matches!(refused, SealError::Key(KeyError::Expired { .. })),
        "{refused:?}"
    );
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("disk on fire"))
    }
}

#[test]
fn a_failing_source_is_not_taken_for_damage() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealed = seal(&pair.recipients, profile, &noise(6 * MIB)).unwrap();
        for cut in [0, 20, 1000, 5 * MIB] {
            let source = (&sealed[..cut]).chain(Failing);
            let error = pair.secret.open_stream(source, io::sink(), u64::MAX).unwrap_err();
            assert!(
                matches!(error, OpenError::Read { .. }) && error.retry().is_later(),
                "{profile} {cut}: {error:?}"
            );
        }
        let error = seal_stream(&pair.recipients, profile, Failing, io::sink()).unwrap_err();
        assert!(matches!(error, SealError::Read { .. }), "{error:?}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let pair = Pair::that_signs_and_opens();
    let sealer = PackSealer::new(&pair.recipients, Profile::Gnupg).unwrap();
    let shown = format!("{:?} {:?} {:?} {sealer:?}", pair.secret, pair.signer(), pair.key);
    let fingerprint = &pair.key.fingerprint;
    let expected = format!(
        "SecretKeys([{fingerprint:?}]) Signer({fingerprint:?}) GeneratedKey {{ fingerprint: {fingerprint:?}, .. }} \
         PackSealer {{ profile: Gnupg, recipients: Recipients([{fingerprint:?}]), .. }}"
    );
    assert_eq!(shown, expected);
}
