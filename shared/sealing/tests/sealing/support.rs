//! Keys made with the library, and a GnuPG home of one's own.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::SystemTime,
};

use holdfast_sealing::{GeneratedKey, KeyPurpose, Recipients, SecretKeys, Signer, TrustedSigners, generate};
use sequoia_openpgp::{cert::CertBuilder, serialize::SerializeInto};
use tempfile::TempDir;

pub(crate) const MIB: usize = 1024 * 1024;

/// A key in all its forms.
pub(crate) struct Pair {
    pub(crate) key: GeneratedKey,
    pub(crate) recipients: Recipients,
    pub(crate) secret: SecretKeys,
}

impl Pair {
    pub(crate) fn new(purpose: KeyPurpose) -> Self {
        Self::of(generate(purpose, "Test <test@example.org>", None, SystemTime::now()).unwrap())
    }

    /// A key that signs and opens, as people bring them from elsewhere.
    pub(crate) fn that_signs_and_opens() -> Self {
        let (cert, _) = CertBuilder::general_purpose(Some("Test <test@example.org>"))
            .generate()
            .unwrap();
        let text = |armoured: Vec<u8>| String::from_utf8(armoured).unwrap();
        Self::of(GeneratedKey {
            public_armored: text(cert.armored().to_vec().unwrap()),
            secret_armored: text(cert.as_tsk().armored().to_vec().unwrap()).into(),
            revocation_armored: String::new(),
            fingerprint: cert.fingerprint().to_hex(),
        })
    }

    fn of(key: GeneratedKey) -> Self {
        let recipients = recipients(&key.public_armored);
        let secret = SecretKeys::from_bytes(key.secret_armored.as_bytes(), None).unwrap();
        Self {
            key,
            recipients,
            secret,
        }
    }

    pub(crate) fn trusted(&self) -> TrustedSigners {
        TrustedSigners::from_bytes(self.key.public_armored.as_bytes()).unwrap()
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer::from_bytes(self.key.secret_armored.as_bytes(), None, SystemTime::now()).unwrap()
    }
}

pub(crate) fn recipients(armoured: &str) -> Recipients {
    Recipients::from_bytes(&[armoured.as_bytes().to_vec()], SystemTime::now()).unwrap()
}

/// Bytes that do not repeat, so that a mixed-up order would be noticed.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A GnuPG home directory; its agent ends with it.
pub(crate) struct Gpg {
    home: TempDir,
}

pub(crate) struct Decrypted {
    pub(crate) plaintext: Vec<u8>,
    pub(crate) status: String,
    pub(crate) success: bool,
}

impl Gpg {
    pub(crate) fn new() -> Self {
        let home = TempDir::with_prefix("hf-gpg-").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let gpg = Self { home };
        // Makes the trust database, without which importing a revocation fails.
        gpg.must(&["--import-ownertrust"], b"");
        gpg
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--batch", "--no-tty", "--yes", "--pinentry-mode", "loopback"])
            .args(["--status-fd", "2"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // gpg may stop reading early; what it says then is judged by the caller.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    fn must(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, input);
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Makes a key with a subkey for encryption and returns its fingerprint.
    pub(crate) fn make(&self, kind: &str, passphrase: Option<&str>) -> String {
        let algorithms = match kind {
            "cv25519" => {
                "Key-Type: EDDSA\nKey-Usage: sign\nKey-Curve: ed25519\nSubkey-Type: ECDH\nSubkey-Curve: cv25519"
                    .to_owned()
            }
            bits => {
                let bits = bits.strip_prefix("rsa").unwrap();
                format!("Key-Type: RSA\nKey-Usage: sign\nKey-Length: {bits}\nSubkey-Type: RSA\nSubkey-Length: {bits}")
            }
        };
        let protection = passphrase.map_or_else(|| "%no-protection".to_owned(), |p| format!("Passphrase: {p}"));
        let parameters = format!(
            "{algorithms}\nSubkey-Usage: encrypt\nName-Real: Made by GnuPG\nExpire-Date: 0\n{protection}\n%commit\n"
        );
        let output = self.run(&["--gen-key"], parameters.as_bytes());
        let status = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = status.lines().find(|line| line.contains("KEY_CREATED")).expect(&status);
        line.split_whitespace().last().unwrap().to_owned()
    }

    pub(crate) fn public(&self, fingerprint: &str) -> Vec<u8> {
        self.must(&["--armor", "--export", fingerprint], b"")
    }

    pub(crate) fn secret(&self, fingerprint: &str, passphrase: &str) -> Vec<u8> {
        self.must(&["--passphrase", passphrase, "--export-secret-keys", fingerprint], b"")
    }

    /// Secret subkeys alone; GnuPG puts a stub in the place of the primary secret key.
    pub(crate) fn secret_subkeys(&self, fingerprint: &str) -> Vec<u8> {
        self.must(&["--passphrase", "", "--export-secret-subkeys", fingerprint], b"")
    }

    pub(crate) fn import(&self, key: &[u8], passphrase: &str) {
        self.must(&["--passphrase", passphrase, "--import"], key);
    }

    pub(crate) fn decrypt(&self, sealed: &[u8], passphrase: &str) -> Decrypted {
        let output = self.run(&["--passphrase", passphrase, "--decrypt"], sealed);
        Decrypted {
            plaintext: output.stdout,
            status: String::from_utf8_lossy(&output.stderr).into_owned(),
            success: output.status.success(),
        }
    }

    pub(crate) fn sign_and_encrypt(&self, signer: &str, recipient: &str, plaintext: &[u8]) -> Vec<u8> {
        let arguments = [
            "--trust-model",
            "always",
            "--compress-algo",
            "none",
            "-u",
            signer,
            "-r",
            recipient,
            "--sign",
            "--encrypt",
        ];
        self.must(&arguments, plaintext)
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .output();
    }
}

/// Keys are slow to make, so tests share these; each test that needs a GnuPG home gets its own.
pub(crate) struct GnupgKey {
    pub(crate) public: Vec<u8>,
    pub(crate) secret: Vec<u8>,
    pub(crate) fingerprint: String,
}

impl GnupgKey {
    fn new(kind: &str) -> Self {
        let home = Gpg::new();
        let fingerprint = home.make(kind, None);
        Self {
            public: home.public(&fingerprint),
            secret: home.secret(&fingerprint, ""),
            fingerprint,
        }
    }

    /// A home that holds this secret key.
    pub(crate) fn home(&self) -> Gpg {
        let home = Gpg::new();
        home.import(&self.secret, "");
        home
    }

    pub(crate) fn curve() -> &'static Self {
        static KEY: OnceLock<GnupgKey> = OnceLock::new();
        KEY.get_or_init(|| Self::new("cv25519"))
    }

    pub(crate) fn rsa3072() -> &'static Self {
        static KEY: OnceLock<GnupgKey> = OnceLock::new();
        KEY.get_or_init(|| Self::new("rsa3072"))
    }

    pub(crate) fn rsa4096() -> &'static Self {
        static KEY: OnceLock<GnupgKey> = OnceLock::new();
        KEY.get_or_init(|| Self::new("rsa4096"))
    }

    pub(crate) fn all() -> [&'static Self; 3] {
        [Self::curve(), Self::rsa3072(), Self::rsa4096()]
    }

    pub(crate) fn recipients(&self) -> Recipients {
        Recipients::from_bytes(std::slice::from_ref(&self.public), SystemTime::now()).unwrap()
    }
}
