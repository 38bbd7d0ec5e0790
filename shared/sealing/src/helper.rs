//! The decryptor's view of a message: the key that opens it, its structure, and its signer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::anyhow;
use sequoia_openpgp::{
    Cert, KeyHandle,
    crypto::SessionKey,
    packet::{PKESK, SKESK},
    parse::stream::{DecryptionHelper, MessageLayer, MessageStructure, VerificationHelper},
    types::SymmetricAlgorithm,
};

use crate::{
    OpenError, SecretKeys, TrustedSigners,
    judgement::{Judgement, judge},
};

/// Observations of the helper, for the owner of the decryptor. The library passes errors through layers that would lose
/// their type.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) refusal: Option<OpenError>,
    /// True if the literal lay inside an encryption container.
    pub(crate) encrypted: bool,
    /// The verdict on the signatures, once the whole message was read; none if nobody asked.
    pub(crate) judgement: Option<Judgement>,
}

pub(crate) type Shared = Arc<Mutex<Notes>>;

/// Locks the notes. They are plain data, valid whatever happened to another thread.
pub(crate) fn notes(shared: &Shared) -> MutexGuard<'_, Notes> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the decryptor's questions.
pub(crate) struct Helper {
    keys: SecretKeys,
    /// The certificates whose signatures count; none if signatures are not looked at.
    trusted: Option<TrustedSigners>,
    pub(crate) shared: Shared,
}

impl Helper {
    pub(crate) fn unsigned(keys: &SecretKeys) -> Self {
        Self {
            keys: keys.clone(),
            trusted: None,
            shared: Shared::default(),
        }
    }

    pub(crate) fn signed(keys: &SecretKeys, trusted: &TrustedSigners, shared: &Shared) -> Self {
        Self {
            keys: keys.clone(),
            trusted: Some(trusted.clone()),
            shared: Arc::clone(shared),
        }
    }
}

impl DecryptionHelper for Helper {
    fn decrypt(
        &mut self,
        pkesks: &[PKESK],
        _: &[SKESK],
        cipher: Option<SymmetricAlgorithm>,
        accept: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> anyhow::Result<Option<Cert>> {
        let outcome = self.keys.unwrap(pkesks, cipher, accept);
        let mut notes = notes(&self.shared);
        match outcome {
            Ok(cert) => {
                notes.encrypted = true;
                Ok(Some(cert))
            }
            Err(refusal) => {
                notes.refusal = Some(refusal);
                Err(anyhow!("no session key"))
            }
        }
    }
}

impl VerificationHelper for Helper {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> anyhow::Result<Vec<Cert>> {
        Ok(self
            .trusted
            .as_ref()
            .map(|trusted| trusted.find(ids))
            .unwrap_or_default())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> anyhow::Result<()> {
        let mut layers = structure.into_iter();
        if !matches!(layers.next(), Some(MessageLayer::Encryption { .. })) {
            return Err(anyhow!("encryption is not the outermost layer"));
        }
        let inside: Vec<MessageLayer<'_>> = layers.collect();
        if !inside
            .iter()
            .all(|layer| matches!(layer, MessageLayer::SignatureGroup { .. }))
        {
            return Err(anyhow!("compressed or encrypted again inside"));
        }
        if self.trusted.is_none() {
            return Ok(());
        }
        let judgement = judge(inside);
        let good = matches!(judgement, Judgement::Good { .. });
        notes(&self.shared).judgement = Some(judgement);
        if good {
            Ok(())
        } else {
            Err(anyhow!("no good signature"))
        }
    }
}
