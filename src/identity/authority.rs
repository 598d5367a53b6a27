//! A partner's own certificate authority: one root, Ed25519, kept in two files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};
use zeroize::Zeroizing;

use super::certificate::{CertificateError, certificates_from_pem, crl_from_pem};
use super::keyfile::{KeyFileError, pkcs8, read_private, write_private, write_public};
use crate::clock::{Entropy, NoEntropy, Timestamp, random};
use crate::partner::{PartnerId, SpiffeId};

/// How long a new root is valid.
pub const ROOT_VALIDITY: Duration = Duration::from_hours(87600);
/// How long a new leaf is valid.
pub const LEAF_VALIDITY: Duration = Duration::from_hours(2160);
/// Certificates are valid from a little before they are made: clocks differ.
const BACKDATE: Duration = Duration::from_mins(5);

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const CRL: &str = "ca.crl";

/// What went wrong with an authority.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A certificate or list that could not be made or read.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A certificate that cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// A leaf for somebody else's trust domain.
    #[error("this authority is of `{authority}`; it cannot issue for `{asked}`")]
    OtherDomain {
        /// Whose authority it is.
        authority: PartnerId,
        /// For whom it was asked.
        asked: SpiffeId,
    },
}

/// A leaf certificate with its private key, in PEM.
#[derive(Debug)]
pub struct Issued {
    /// The leaf. The root is not part of what is presented.
    pub certificate: String,
    /// PKCS #8.
    pub key: Zeroizing<String>,
}

/// A partner's certificate authority.
#[derive(Debug)]
pub struct Authority {
    partner: PartnerId,
    directory: PathBuf,
    root: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// Makes a new authority in a directory; refuses where there is one.
    pub fn create(
        partner: &PartnerId,
        directory: &Path,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        let key = new_key(entropy)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{partner} root"));
        params.subject_alt_names = vec![SanType::URI(
            format!("spiffe://{partner}").as_str().try_into()?,
        )];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now, ROOT_VALIDITY);
        params.serial_number = Some(serial(entropy)?);
        let root = params.self_signed(&key)?;
        write_private(&directory.join(KEY), key.serialize_pem().as_bytes())?;
        write_public(&directory.join(CERTIFICATE), root.pem().as_bytes())?;
        Ok(Self {
            partner: partner.clone(),
            directory: directory.to_owned(),
            root: root.der().clone(),
            key,
        })
    }

    /// Opens the authority in a directory.
    pub fn open(partner: &PartnerId, directory: &Path) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(&read_private(&directory.join(KEY))?)?;
        let mut roots = certificates_from_pem(&directory.join(CERTIFICATE))?;
        Ok(Self {
            partner: partner.clone(),
            directory: directory.to_owned(),
            root: roots.swap_remove(0),
            key,
        })
    }

    /// The root certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Issues a leaf for a node or broker of this partner: exactly one URI SAN, its SPIFFE ID, for
    /// both ends of TLS.
    pub fn issue(
        &self,
        id: &SpiffeId,
        now: Timestamp,
        valid_for: Duration,
        entropy: &dyn Entropy,
    ) -> Result<Issued, AuthorityError> {
        if *id.partner() != self.partner {
            let (authority, asked) = (self.partner.clone(), id.clone());
            return Err(AuthorityError::OtherDomain { authority, asked });
        }
        let key = new_key(entropy)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, id.to_string());
        params.subject_alt_names = vec![SanType::URI(id.to_string().as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, valid_for);
        params.serial_number = Some(serial(entropy)?);
        let certificate = params.signed_by(&key, &self.issuer()?)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem().into(),
        })
    }

    /// Adds serial numbers to the revocation list and signs its next issue, which must be renewed
    /// before `next_update`. Returns the list in DER; the file beside the root holds it in PEM.
    pub fn revoke(
        &self,
        serials: &[Vec<u8>],
        now: Timestamp,
        next_update: Timestamp,
    ) -> Result<Vec<u8>, AuthorityError> {
        let (mut number, mut revoked) = self.current_crl()?;
        number += 1;
        for serial in serials {
            let serial = SerialNumber::from_slice(serial);
            if revoked.iter().any(|one| one.serial_number == serial) {
                continue;
            }
            revoked.push(RevokedCertParams {
                serial_number: serial,
                revocation_time: now.into(),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            });
        }
        let list = CertificateRevocationListParams {
            this_update: now.saturating_sub(BACKDATE).into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer()?)?;
        write_public(&self.directory.join(CRL), list.pem()?.as_bytes())?;
        Ok(list.der().to_vec())
    }

    /// The number of the last list, and what it revokes.
    fn current_crl(&self) -> Result<(u64, Vec<RevokedCertParams>), AuthorityError> {
        let path = self.directory.join(CRL);
        if !path.exists() {
            return Ok((0, Vec::new()));
        }
        let der = crl_from_pem(&path)?;
        let unreadable = || CertificateError::Unreadable {
            path: path.clone(),
            reason: "no CRL".into(),
        };
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| unreadable())?;
        let number = list
            .crl_number()
            .and_then(|number| u64::try_from(number).ok());
        let revoked = list
            .iter_revoked_certificates()
            .map(|one| RevokedCertParams {
                serial_number: SerialNumber::from_slice(one.raw_serial()),
                revocation_time: one.revocation_date.to_datetime(),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            });
        Ok((number.ok_or_else(unreadable)?, revoked.collect()))
    }

    fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&self.root, &self.key)
    }
}

fn validity(now: Timestamp, valid_for: Duration) -> (OffsetDateTime, OffsetDateTime) {
    (
        now.saturating_sub(BACKDATE).into(),
        now.saturating_add(valid_for).into(),
    )
}

/// A new Ed25519 key. ring would write it with its public half, in a form that OpenSSL does not read.
fn new_key(entropy: &dyn Entropy) -> Result<KeyPair, AuthorityError> {
    let seed = Zeroizing::new(random(entropy)?);
    let der = pkcs8(&seed);
    let der = PrivatePkcs8KeyDer::from(der.as_slice());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?)
}

/// 16 random bytes, positive (RFC 5280, section 4.1.2.2).
fn serial(entropy: &dyn Entropy) -> Result<SerialNumber, NoEntropy> {
    let mut bytes: [u8; 16] = random(entropy)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock, SystemEntropy};

    #[test]
    fn keys_are_written_in_the_form_that_other_tools_read() {
        let directory = tempfile::tempdir().unwrap();
        let partner: PartnerId = "norland.example".parse().unwrap();
        let (now, entropy) = (SystemClock.now(), SystemEntropy::new());
        let authority = Authority::create(&partner, directory.path(), now, &entropy).unwrap();
        let node = SpiffeId::new(&partner, "/node/1").unwrap();
        let issued = authority.issue(&node, now, LEAF_VALIDITY, &entropy);
        let root = read_private(&directory.path().join(KEY)).unwrap();
        for text in [root.as_str(), issued.unwrap().key.as_str()] {
            let der = pem::parse(text).unwrap().into_contents();
            // RFC 8410, section 7: 48 bytes; the other form has 83.
            assert_eq!(der.len(), 48);
            assert_eq!(der[..5], [0x30, 0x2e, 0x02, 0x01, 0x00]);
        }
        Authority::open(&partner, directory.path()).unwrap();
    }
}
