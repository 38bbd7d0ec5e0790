//! The sections that hold secrets.

use holdfast_format::word_enum;

word_enum! {
    /// A section that holds secrets. A service names those that it needs.
    SecretSection {
        /// Credentials of the repository's bucket.
        Repository = "repository",
        /// The passphrase of the reader key and the role keys.
        Encryption = "encryption",
        /// Credentials of the NATS server.
        Nats = "nats",
        /// Passwords of the PostgreSQL servers.
        Postgres = "postgres",
        /// Credentials of the off-site targets.
        Target = "target",
        /// The backup key's passphrase.
        Verifier = "verifier",
    }
}
