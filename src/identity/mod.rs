//! Certificates and key files: a partner's own authority, its leaves and its revocation lists, and
//! the private keys on disk.
//!
//! In scope: making and reading them. Out of scope: TLS (the transport uses them) and who is
//! admitted (the ledger says).

mod authority;
mod bulletin_file;
mod certificate;
mod home;
mod keyfile;

pub use authority::{Authority, AuthorityError, Issued, LEAF_VALIDITY, ROOT_VALIDITY};
pub use bulletin_file::{InvalidBulletinFile, is_bulletin_file, read_bulletin, write_bulletin};
pub use certificate::{
    CertificateError, certificates_from_pem, check_crl, crl_from_pem, not_after, serial_of,
    spiffe_id_of, validity_of,
};
pub use home::{Home, HomeError, Leaf, new_secret_key};
pub use keyfile::{
    KeyFileError, read_key_set, read_private, read_secret_key, write_key_set, write_private,
    write_public, write_secret_key,
};
