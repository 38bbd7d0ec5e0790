//! Altered, truncated and crafted objects: refused, named rightly, and without a byte of plaintext.

use std::io::Read;

use holdfast_sealing::{KeyPurpose, OpenError, PackSealer, Profile, SecretKeys, seal};
use sequoia_openpgp::{
    Cert, Packet,
    crypto::SessionKey,
    packet::{PKESK, pkesk::PKESK3},
    parse::Parse,
    policy::StandardPolicy,
    serialize::{Serialize, stream},
};

use crate::support::{GnupgKey, MIB, Pair, noise};

const PROFILES: [Profile; 2] = [Profile::Gnupg, Profile::Rfc9580];

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[test]
fn a_flip_anywhere_never_yields_other_plaintext() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealer = PackSealer::new(&pair.recipients, profile).unwrap();
        let plaintext = noise(1500);
        let sealed = sealer.seal(&plaintext).unwrap();
        let key_packets = common_prefix(&sealed, &sealer.seal(&plaintext).unwrap());
        for at in 0..sealed.len() {
            for bit in [0x01, 0x80] {
                let mut altered = sealed.clone();
                altered[at] ^= bit;
                match pair.secret.open(&altered, MIB) {
                    Err(OpenError::Damaged { .. }) => (),
                    // Key packets are not authenticated: another key id means another key, and some bits mean nothing.
                    Err(OpenError::NoKey { .. }) if at < key_packets => (),
                    Ok(opened) if at < key_packets && opened == plaintext => (),
                    other => panic!("{profile}: byte {at} of {}, bit {bit}: {other:?}", sealed.len()),
                }
            }
        }
    }
}

#[test]
fn the_kinds_of_damage_to_key_packets_are_told_apart() {
    let pair = Pair::new(KeyPurpose::Backup);
    let sealed = seal(&pair.recipients, Profile::Gnupg, b"data").unwrap();
    // Header (2), version (1), key id (8), algorithm (1), length (2), then the ephemeral point.
    let mut other_key = sealed.clone();
    other_key[5] ^= 1;
    assert!(matches!(
        pair.secret.open(&other_key, 100),
        Err(OpenError::NoKey { .. })
    ));
    let mut other_point = sealed;
    other_point[20] ^= 1;
    assert!(matches!(
        pair.secret.open(&other_point, 100),
        Err(OpenError::Damaged { .. })
    ));
}

#[test]
fn a_truncated_object_is_damaged_wherever_it_ends() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealed = seal(&pair.recipients, profile, &noise(5 * MIB)).unwrap();
        let near_end = (1..=60).map(|missing| sealed.len() - missing);
        let cuts = (0..200)
            .chain([1000, 5000, MIB, 2 * MIB, 3 * MIB + 1, 4 * MIB + 300])
            .chain(near_end);
        for cut in cuts {
            let opened = pair.secret.open(&sealed[..cut], 6 * MIB);
            assert!(
                matches!(opened, Err(OpenError::Damaged { .. })),
                "{profile}: cut at {cut}"
            );
        }
    }
}

#[test]
fn bytes_after_the_message_do_not_change_what_was_in_it() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealed = seal(&pair.recipients, profile, b"data").unwrap();
        for tail in [&[0][..], &[0xff; 40], b"-----BEGIN PGP MESSAGE-----", &sealed] {
            match pair.secret.open(&[&sealed[..], tail].concat(), MIB) {
                Ok(opened) => assert_eq!(opened, b"data"),
                Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}"),
            }
        }
    }
}

#[test]
fn a_stream_that_ends_early_fails_and_stays_failed() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealed = seal(&pair.recipients, profile, &noise(6 * MIB)).unwrap();
        let mut reader = pair.secret.open_reader(&sealed[..5 * MIB], u64::MAX).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(matches!(error.downcast::<OpenError>(), Ok(OpenError::Damaged { .. })));
        assert!(reader.read(&mut [0; 10]).is_err());
    }
}

#[test]
fn two_packs_cannot_be_spliced() {
    let pair = Pair::new(KeyPurpose::Backup);
    for profile in PROFILES {
        let sealer = PackSealer::new(&pair.recipients, profile).unwrap();
        let one = sealer.seal(&noise(9000)).unwrap();
        let two = sealer.seal(&noise(9000)).unwrap();
        let spliced = [&one[..6000], &two[6000..]].concat();
        assert!(matches!(
            pair.secret.open(&spliced, MIB),
            Err(OpenError::Damaged { .. })
        ));
        let both = [one, two].concat();
        assert!(matches!(pair.secret.open(&both, MIB), Err(OpenError::Damaged { .. })));
    }
}

#[test]
fn what_is_not_encrypted_is_damaged() {
    let pair = Pair::new(KeyPurpose::Backup);
    let mut bare = Vec::new();
    let mut literal = stream::LiteralWriter::new(stream::Message::new(&mut bare))
        .build()
        .unwrap();
    std::io::Write::write_all(&mut literal, b"plain").unwrap();
    literal.finalize().unwrap();
    for object in [
        &b""[..],
        b"not OpenPGP at all",
        &bare,
        pair.key.public_armored.as_bytes(),
    ] {
        assert!(matches!(pair.secret.open(object, 100), Err(OpenError::Damaged { .. })));
        assert!(matches!(
            pair.secret.open_reader(object, 100),
            Err(OpenError::Damaged { .. })
        ));
    }
}

#[test]
fn a_crafted_key_packet_with_nothing_in_it_is_damage_and_not_a_panic() {
    let key = GnupgKey::rsa3072();
    let cert = Cert::from_bytes(&key.public).unwrap();
    let policy = StandardPolicy::new();
    let valid = cert.with_policy(&policy, None).unwrap();
    let subkey = valid.keys().for_transport_encryption().next().unwrap().key().clone();
    let nothing = subkey.encrypt(&SessionKey::from(Vec::new())).unwrap();
    let packet = PKESK::V3(PKESK3::new(Some(subkey.keyid()), subkey.pk_algo(), nothing).unwrap());
    let mut crafted = Vec::new();
    Packet::from(packet).serialize(&mut crafted).unwrap();
    let sealed = seal(&key.recipients(), Profile::Gnupg, b"data").unwrap();
    let own = Cert::from_bytes(&key.public).unwrap().fingerprint();
    assert_eq!(own.to_hex(), key.fingerprint);
    // The crafted packet in place of the real one, which is equally long save for the number itself.
    let real = sequoia_openpgp::PacketPile::from_bytes(&sealed).unwrap();
    let mut header = Vec::new();
    real.children().next().unwrap().serialize(&mut header).unwrap();
    crafted.extend_from_slice(&sealed[header.len()..]);
    let keys = SecretKeys::from_bytes(&key.secret, None).unwrap();
    let opened = keys.open(&crafted, 100);
    assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{opened:?}");
    assert_eq!(keys.open(&sealed, 100).unwrap(), b"data");
}
