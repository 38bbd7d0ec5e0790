//! holdfast-encryptor
