//! Signed records: only one good signature of a trusted signer counts.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use holdfast_sealing::{KeyPurpose, OpenError, Opened, Profile, TrustedSigners, open_signed, seal, sign_and_seal};
use sequoia_openpgp::{
    Cert, Packet, PacketPile,
    crypto::KeyPair,
    parse::Parse,
    policy::StandardPolicy,
    serialize::{
        Serialize, SerializeInto,
        stream::{ArbitraryWriter, Encryptor, LiteralWriter, Message, Recipient, Signer},
    },
    types::{Features, HashAlgorithm, ReasonForRevocation},
};

use crate::{
    keys::expiring,
    support::{MIB, Pair, noise},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Hand-made messages, for what the crate itself would not make.
struct Forge {
    signer: Cert,
    reader: Cert,
}

impl Forge {
    fn new(signer: &[u8], reader: &Pair) -> Self {
        let reader = Cert::from_bytes(reader.key.public_armored.as_bytes()).unwrap();
        Self {
            signer: Cert::from_bytes(signer).unwrap(),
            reader,
        }
    }

    fn keypair(&self) -> KeyPair {
        let mut keys = self
            .signer
            .keys()
            .subkeys()
            .secret()
            .filter(|key| key.key().pk_algo().for_signing());
        let key = keys.next().unwrap().key().clone().role_into_unspecified();
        key.into_keypair().unwrap()
    }

    /// Encrypts whatever `write` puts inside.
    fn encrypt(&self, write: impl FnOnce(Message<'_>) -> Message<'_>) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let valid = self.reader.with_policy(&policy, None).unwrap();
        let key = valid.keys().for_storage_encryption().next().unwrap().key().clone();
        let recipient = Recipient::new(Features::empty().set_seipdv1(), key.key_handle(), &key);
        let mut sealed = Vec::new();
        let message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient])
            .build()
            .unwrap();
        write(message).finalize().unwrap();
        sealed
    }

    /// Signs as told, inside the encryption.
    fn signed(&self, shape: impl FnOnce(Signer<'_>) -> Signer<'_>) -> Vec<u8> {
        let signer = self.keypair();
        self.encrypt(|message| {
            let signer = shape(Signer::new(message, signer).unwrap()).build().unwrap();
            let mut literal = LiteralWriter::new(signer).build().unwrap();
            literal.write_all(b"record").unwrap();
            literal
        })
    }

    fn trusted(&self) -> TrustedSigners {
        TrustedSigners::from_bytes(&self.signer.to_vec().unwrap()).unwrap()
    }
}

fn signed_at(opened: Result<Opened, OpenError>) -> SystemTime {
    let opened = opened.unwrap();
    assert_eq!(opened.plaintext, b"record");
    opened.signed_at
}

#[test]
fn a_record_opens_with_its_signer_and_time() {
    let maker = Pair::that_signs_and_opens();
    let backup = Pair::new(KeyPurpose::Backup);
    let signer = maker.signer();
    let everyone = maker.recipients.union(&backup.recipients);
    for profile in [Profile::Gnupg, Profile::Rfc9580] {
        for size in [0, 1000, 3 * MIB] {
            let plaintext = noise(size);
            let sealed = sign_and_seal(&signer, &everyone, profile, &plaintext).unwrap();
            for keys in [&maker.secret, &backup.secret] {
                let trusted = maker.trusted();
                let opened = open_signed(keys, &trusted, &sealed, size).unwrap();
                assert!(opened.plaintext == plaintext);
                assert_eq!(opened.signer, maker.key.fingerprint);
                let age = SystemTime::now().duration_since(opened.signed_at).unwrap();
                assert!(age < Duration::from_secs(300), "{age:?}");
                assert!(keys.open(&sealed, size).unwrap() == plaintext);
            }
        }
    }
}

#[test]
fn the_limit_holds_for_records() {
    let maker = Pair::that_signs_and_opens();
    let trusted = maker.trusted();
    for size in [100, 3 * MIB] {
        let sealed = sign_and_seal(&maker.signer(), &maker.recipients, Profile::Gnupg, &noise(size)).unwrap();
        let refused = open_signed(&maker.secret, &trusted, &sealed, size - 1);
        assert!(matches!(refused, Err(OpenError::TooLarge { .. })), "{refused:?}");
    }
}

#[test]
fn unsigned_and_unknown_are_told_apart() {
    let maker = Pair::that_signs_and_opens();
    let stranger = Pair::that_signs_and_opens();
    let trusted = maker.trusted();
    for profile in [Profile::Gnupg, Profile::Rfc9580] {
        for size in [10, 3 * MIB] {
            let unsigned = seal(&maker.recipients, profile, &noise(size)).unwrap();
            let refused = open_signed(&maker.secret, &trusted, &unsigned, size);
            assert!(matches!(refused, Err(OpenError::NotSigned)), "{refused:?}");
            let foreign = sign_and_seal(&stranger.signer(), &maker.recipients, profile, &noise(size)).unwrap();
            let refused = open_signed(&maker.secret, &trusted, &foreign, size);
            assert!(
                matches!(&refused, Err(OpenError::UnknownSigner { signers }) if signers.len() == 1),
                "{refused:?}"
            );
            let mut both = trusted.clone();
            both.add(&stranger.trusted());
            assert_eq!(
                open_signed(&maker.secret, &both, &foreign, size).unwrap().signer,
                stranger.key.fingerprint
            );
            let nobody = open_signed(&maker.secret, &TrustedSigners::default(), &foreign, size);
            assert!(matches!(nobody, Err(OpenError::UnknownSigner { .. })));
        }
    }
}

#[test]
fn a_tampered_record_is_damaged_and_another_key_is_no_key() {
    let maker = Pair::that_signs_and_opens();
    let other = Pair::new(KeyPurpose::Backup);
    let trusted = maker.trusted();
    let sealed = sign_and_seal(&maker.signer(), &maker.recipients, Profile::Gnupg, &noise(2000)).unwrap();
    for at in (sealed.len() - 2000..sealed.len()).step_by(97) {
        let mut altered = sealed.clone();
        altered[at] ^= 4;
        let refused = open_signed(&maker.secret, &trusted, &altered, MIB);
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{at}: {refused:?}");
    }
    let refused = open_signed(&other.secret, &trusted, &sealed, MIB);
    assert!(matches!(refused, Err(OpenError::NoKey { .. })));
}

#[test]
fn a_signature_over_other_bytes_is_bad() {
    let reader = Pair::that_signs_and_opens();
    let forge = Forge::new(reader.key.secret_armored.as_bytes(), &reader);
    let mut signed = Vec::new();
    let signer = Signer::new(Message::new(&mut signed), forge.keypair())
        .unwrap()
        .build()
        .unwrap();
    let mut literal = LiteralWriter::new(signer).build().unwrap();
    literal.write_all(b"pay 10").unwrap();
    literal.finalize().unwrap();
    let mut packets: Vec<Packet> = PacketPile::from_bytes(&signed).unwrap().into_children().collect();
    if let Some(Packet::Literal(literal)) = packets.get_mut(1) {
        literal.set_body(b"pay 99".to_vec());
    }
    // Everything before the signature goes in as it is; the container takes any bytes.
    let sealed = forge.encrypt(|mut message| {
        packets
            .iter()
            .for_each(|packet| packet.serialize(&mut message).unwrap());
        message
    });
    let refused = open_signed(&reader.secret, &forge.trusted(), &sealed, 100);
    assert!(
        matches!(&refused, Err(OpenError::BadSignature { signer, .. }) if *signer == reader.key.fingerprint),
        "{refused:?}"
    );
}

#[test]
fn two_signatures_are_one_too_many() {
    let reader = Pair::that_signs_and_opens();
    let forge = Forge::new(reader.key.secret_armored.as_bytes(), &reader);
    let sealed = forge.signed(|signer| signer.add_signer(forge.keypair()).unwrap());
    let refused = open_signed(&reader.secret, &forge.trusted(), &sealed, 100);
    assert!(matches!(refused, Err(OpenError::BadSignature { .. })), "{refused:?}");
}

#[test]
fn a_record_made_for_another_reader_cannot_be_passed_on() {
    let reader = Pair::that_signs_and_opens();
    let other = Pair::new(KeyPurpose::Backup);
    let forge = Forge::new(reader.key.secret_armored.as_bytes(), &reader);
    let other = Cert::from_bytes(other.key.public_armored.as_bytes()).unwrap();
    let passed_on = forge.signed(|signer| signer.add_intended_recipient(&other));
    let refused = open_signed(&reader.secret, &forge.trusted(), &passed_on, 100);
    assert!(matches!(refused, Err(OpenError::BadSignature { .. })), "{refused:?}");
    let own = forge.signed(|signer| {
        signer
            .add_intended_recipient(&other)
            .add_intended_recipient(&forge.reader)
    });
    assert!(open_signed(&reader.secret, &forge.trusted(), &own, 100).is_ok());
}

#[test]
fn an_expired_signer_is_judged_at_signing_time() {
    let reader = Pair::new(KeyPurpose::Backup);
    let (_, secret) = expiring(2 * 3600, 4 * 3600);
    let forge = Forge::new(&secret, &reader);
    let now = SystemTime::now();
    let while_alive = forge.signed(|signer| signer.creation_time(now - 3 * HOUR));
    let at = signed_at(open_signed(&reader.secret, &forge.trusted(), &while_alive, 100));
    assert!(now.duration_since(at).unwrap() >= 3 * HOUR);
    let afterwards = forge.signed(|signer| signer.creation_time(now - HOUR));
    let refused = open_signed(&reader.secret, &forge.trusted(), &afterwards, 100);
    assert!(matches!(refused, Err(OpenError::BadSignature { .. })), "{refused:?}");
    let before_birth = forge.signed(|signer| signer.creation_time(now - 5 * HOUR));
    let refused = open_signed(&reader.secret, &forge.trusted(), &before_birth, 100);
    assert!(matches!(refused, Err(OpenError::BadSignature { .. })), "{refused:?}");
}

#[test]
fn a_reader_whose_clock_is_behind_can_still_restore() {
    let reader = Pair::that_signs_and_opens();
    let forge = Forge::new(reader.key.secret_armored.as_bytes(), &reader);
    let tomorrow = SystemTime::now() + 24 * HOUR;
    let sealed = forge.signed(|signer| signer.creation_time(tomorrow));
    assert!(signed_at(open_signed(&reader.secret, &forge.trusted(), &sealed, 100)) > SystemTime::now());
}

#[test]
fn retirement_spares_old_records_and_compromise_does_not() {
    let reader = Pair::new(KeyPurpose::Backup);
    let (_, secret) = expiring(100 * 86400, 10 * 3600);
    let now = SystemTime::now();
    for (reason, spared) in [
        (ReasonForRevocation::KeyRetired, true),
        (ReasonForRevocation::KeyCompromised, false),
    ] {
        let mut forge = Forge::new(&secret, &reader);
        let old = forge.signed(|signer| signer.creation_time(now - 5 * HOUR));
        let new = forge.signed(|signer| signer.creation_time(now + HOUR));
        let mut primary = forge
            .signer
            .primary_key()
            .key()
            .clone()
            .parts_into_secret()
            .unwrap()
            .into_keypair()
            .unwrap();
        let revocation = forge.signer.revoke(&mut primary, reason, b"").unwrap();
        forge.signer = forge.signer.clone().insert_packets(Packet::from(revocation)).unwrap().0;
        let opened = open_signed(&reader.secret, &forge.trusted(), &old, 100);
        assert_eq!(opened.is_ok(), spared, "{reason}: {opened:?}");
        let refused = open_signed(&reader.secret, &forge.trusted(), &new, 100);
        assert!(
            matches!(refused, Err(OpenError::BadSignature { .. })),
            "{reason}: {refused:?}"
        );
    }
}

#[test]
fn sha1_never_counts_whatever_time_the_signature_states() {
    let reader = Pair::new(KeyPurpose::Backup);
    let ten_years = 10 * 365 * 86400;
    let (_, secret) = expiring(2 * ten_years, 2 * ten_years - 86400);
    let forge = Forge::new(&secret, &reader);
    let then = SystemTime::now() - Duration::from_secs(19 * 365 * 86400);
    let sealed = forge.encrypt(|message| {
        let mut signed = Vec::new();
        let signer = Signer::new(Message::new(&mut signed), forge.keypair()).unwrap();
        let signer = signer
            .hash_algo(HashAlgorithm::SHA1)
            .unwrap()
            .creation_time(then)
            .build()
            .unwrap();
        let mut literal = LiteralWriter::new(signer).build().unwrap();
        literal.write_all(b"record").unwrap();
        literal.finalize().unwrap();
        let mut message = message;
        message.write_all(&signed).unwrap();
        message
    });
    let refused = open_signed(&reader.secret, &forge.trusted(), &sealed, 100);
    assert!(matches!(refused, Err(OpenError::BadSignature { .. })), "{refused:?}");
}

#[test]
fn a_signature_around_the_encryption_does_not_count() {
    let reader = Pair::that_signs_and_opens();
    let forge = Forge::new(reader.key.secret_armored.as_bytes(), &reader);
    let inner = seal(&reader.recipients, Profile::Gnupg, b"record").unwrap();
    let mut outer = Vec::new();
    let mut signer = Signer::new(Message::new(&mut outer), forge.keypair())
        .unwrap()
        .build()
        .unwrap();
    signer.write_all(&inner).unwrap();
    signer.finalize().unwrap();
    let refused = open_signed(&reader.secret, &forge.trusted(), &outer, 100);
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_nested_or_wrapped_record_is_refused() {
    let reader = Pair::that_signs_and_opens();
    let forge = Forge::new(reader.key.secret_armored.as_bytes(), &reader);
    let inner = sign_and_seal(&reader.signer(), &reader.recipients, Profile::Gnupg, b"record").unwrap();
    let nested = forge.encrypt(|mut message| {
        message.write_all(&inner).unwrap();
        message
    });
    assert!(matches!(
        open_signed(&reader.secret, &forge.trusted(), &nested, 100),
        Err(OpenError::Damaged { .. })
    ));
    let marker = forge.encrypt(|message| {
        let mut packet = ArbitraryWriter::new(message, sequoia_openpgp::packet::Tag::Marker).unwrap();
        packet.write_all(b"PGP").unwrap();
        packet
    });
    assert!(matches!(
        open_signed(&reader.secret, &forge.trusted(), &marker, 100),
        Err(OpenError::Damaged { .. })
    ));
}

#[test]
fn recipients_secret_keys_and_signers_name_a_key_alike() {
    let maker = Pair::that_signs_and_opens();
    assert_eq!(maker.secret.fingerprints(), maker.recipients.fingerprints());
    assert_eq!(maker.trusted().fingerprints(), maker.secret.fingerprints());
}
