//! Reading certificates: SPIFFE IDs, dates, serial numbers.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::clock::Timestamp;
use crate::partner::SpiffeId;

/// A certificate that cannot be used, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// A file.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not DER of a certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Not exactly one URI among its names.
    #[error("the certificate has {0} URI names; a SPIFFE certificate has exactly one")]
    NotOneUri(usize),
    /// A revocation list that does not count.
    #[error("the revocation list does not count: {0}")]
    BadCrl(&'static str),
    /// A URI that is no SPIFFE ID.
    #[error("the certificate's URI name is no SPIFFE ID")]
    NoSpiffeId,
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

/// The one SPIFFE ID of a certificate (X509-SVID, section 2). Reading it proves nothing: the chain
/// must end at the roots of its trust domain.
pub fn spiffe_id_of(der: &CertificateDer<'_>) -> Result<SpiffeId, CertificateError> {
    let certificate = parse(der)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateError::Malformed)?;
    let names = names
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        })
        .collect();
    match uris.as_slice() {
        [uri] => uri.parse().map_err(|_| CertificateError::NoSpiffeId),
        uris => Err(CertificateError::NotOneUri(uris.len())),
    }
}

/// From when until when a certificate is valid.
pub fn validity_of(der: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), CertificateError> {
    let certificate = parse(der)?;
    let moment = |seconds: i64| {
        let micros = seconds
            .checked_mul(1_000_000)
            .and_then(Timestamp::from_micros);
        micros.ok_or(CertificateError::Malformed)
    };
    let validity = certificate.validity();
    Ok((
        moment(validity.not_before.timestamp())?,
        moment(validity.not_after.timestamp())?,
    ))
}

/// When a certificate expires.
pub fn not_after(der: &CertificateDer<'_>) -> Result<Timestamp, CertificateError> {
    validity_of(der).map(|(_, until)| until)
}

/// A certificate's serial number, as its bytes.
pub fn serial_of(der: &CertificateDer<'_>) -> Result<Vec<u8>, CertificateError> {
    parse(der).map(|certificate| certificate.raw_serial().to_vec())
}

/// The certificates of a PEM file; at least one.
pub fn certificates_from_pem(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unreadable = |reason: String| CertificateError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unreadable("there is no certificate in it".into()));
    }
    Ok(certificates)
}

/// The revocation list of a PEM file, in DER.
pub fn crl_from_pem(path: &Path) -> Result<Vec<u8>, CertificateError> {
    CertificateRevocationListDer::from_pem_file(path)
        .map(|crl| crl.to_vec())
        .map_err(|error| CertificateError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// Checks that one of these roots signed a revocation list, and that it is one for now.
pub fn check_crl(
    roots: &[impl AsRef<[u8]>],
    crl: &[u8],
    last: Option<&[u8]>,
    now: Timestamp,
) -> Result<(), CertificateError> {
    let malformed = |_| CertificateError::BadCrl("it cannot be read");
    let (_, list) = CertificateRevocationList::from_der(crl).map_err(malformed)?;
    let signed = roots.iter().any(|root| {
        X509Certificate::from_der(root.as_ref())
            .is_ok_and(|(_, root)| list.verify_signature(root.public_key()).is_ok())
    });
    if !signed {
        return Err(CertificateError::BadCrl(
            "none of the partner's roots signed it",
        ));
    }
    // RFC 5280, section 5.2.3: numbers rise, so that an old list cannot bring back a certificate.
    let number = |list: &CertificateRevocationList<'_>| list.crl_number().cloned();
    let last = last.and_then(|last| CertificateRevocationList::from_der(last).ok());
    if let Some((_, last)) = last
        && number(&list) <= number(&last)
    {
        return Err(CertificateError::BadCrl(
            "its number is not above that of the last one",
        ));
    }
    let seconds = now.micros() / 1_000_000;
    if list
        .next_update()
        .is_none_or(|next| next.timestamp() <= seconds)
    {
        return Err(CertificateError::BadCrl(
            "it has expired, or does not say when it does",
        ));
    }
    Ok(())
}
