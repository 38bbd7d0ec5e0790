//! The keys of one deployment.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::SystemTime;

use holdfast_format::{Member, Role};
use holdfast_repository::RepositoryKeys;
use holdfast_sealing::{GeneratedKey, KeyPurpose, Profile, Recipients, SecretKeys, Signer, TrustedSigners, generate};
use jiff::Timestamp;

/// Makes a key.
pub fn key(purpose: KeyPurpose, name: &str) -> GeneratedKey {
    generate(purpose, name, None, SystemTime::now()).unwrap()
}

/// Returns the roster's entry of a key at all sites.
pub fn member(role: Role, key: &GeneratedKey) -> Member {
    Member {
        role,
        sites: None,
        fingerprint: key.fingerprint.clone(),
        certificate: key.public_armored.clone(),
        from: Timestamp::now(),
        until: None,
        revoked: None,
    }
}

fn signer_of(key: &GeneratedKey) -> Signer {
    Signer::from_bytes(key.secret_armored.as_bytes(), None, SystemTime::now()).unwrap()
}

pub struct Ring {
    pub backup: GeneratedKey,
    pub owner: GeneratedKey,
    pub reader: GeneratedKey,
    pub roles: BTreeMap<Role, GeneratedKey>,
}

impl Ring {
    pub fn new() -> Self {
        Self::around(key(KeyPurpose::Backup, "backup"))
    }

    /// Makes the other keys for a backup key that is there.
    pub fn around(backup: GeneratedKey) -> Self {
        let roles = Role::ALL
            .iter()
            .map(|role| (*role, key(KeyPurpose::Signing, role.as_str())));
        Self {
            backup,
            owner: key(KeyPurpose::Signing, "owner"),
            reader: key(KeyPurpose::Reader, "reader"),
            roles: roles.collect(),
        }
    }

    /// The members of the first roster: a key of each role.
    pub fn members(&self) -> Vec<Member> {
        self.roles.iter().map(|(role, key)| member(*role, key)).collect()
    }

    /// The keys of all services in one, and the owner's.
    pub fn service(&self) -> RepositoryKeys {
        let mut keys = self.with_roles(Role::ALL);
        keys.signers.push(signer_of(&self.owner));
        keys
    }

    /// The keys of a service that has these roles.
    pub fn with_roles(&self, roles: &[Role]) -> RepositoryKeys {
        let reader = self.reader.secret_armored.as_bytes();
        let public = self.reader.public_armored.clone().into_bytes();
        RepositoryKeys {
            owner: self.owner(),
            signers: roles.iter().map(|role| signer_of(&self.roles[role])).collect(),
            secret: SecretKeys::from_bytes(reader, None).unwrap(),
            reader: Some(Recipients::from_bytes(&[public], SystemTime::now()).unwrap()),
            recipients: Some(self.recipients()),
            profile: Profile::Gnupg,
        }
    }

    /// The keys of a host that restores: the backup key's secret part, and the owner's public one.
    pub fn restorer(&self) -> RepositoryKeys {
        RepositoryKeys {
            owner: self.owner(),
            signers: Vec::new(),
            secret: SecretKeys::from_bytes(self.backup.secret_armored.as_bytes(), None).unwrap(),
            reader: None,
            recipients: None,
            profile: Profile::Gnupg,
        }
    }

    pub fn owner(&self) -> TrustedSigners {
        TrustedSigners::from_bytes(self.owner.public_armored.as_bytes()).unwrap()
    }

    pub fn recipients(&self) -> Recipients {
        let public = self.backup.public_armored.clone().into_bytes();
        Recipients::from_bytes(&[public], SystemTime::now()).unwrap()
    }
}
