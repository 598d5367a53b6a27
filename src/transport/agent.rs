//! HTTP to others: a client that goes where it was sent and nowhere else.

use std::time::Duration;

use thiserror::Error;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Roots that are none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no certificates in PEM")]
pub struct NoRoots;

/// A client that gives up a request after `timeout`. `roots`: certificates in PEM that vouch for the server
/// instead of the system's.
pub fn http_agent(timeout: Duration, roots: Option<&[u8]>) -> Result<Agent, NoRoots> {
    let mut tls = TlsConfig::builder();
    if let Some(pem) = roots {
        let certificates = parse_pem(pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<Certificate<'static>> = certificates.collect();
        if certificates.is_empty() {
            return Err(NoRoots);
        }
        tls = tls.root_certs(RootCerts::from(certificates));
    }
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        // A redirect would take what is sent, or a credential, somewhere else.
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("entente/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build();
    Ok(config.into())
}
