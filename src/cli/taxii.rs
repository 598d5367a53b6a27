//! `entente taxii`: secrets of the clients of a node's TAXII server, and what starts that.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::error::CliError;
use super::files::{clock, entropy, read};
use super::report::Report;
use crate::gateway::exchange::Exchange;
use crate::gateway::poll::Poll;
use crate::gateway::taxii::{Client, PasswordHash, Secret, TokenHash};
use crate::identity::{read_private, write_private};
use crate::node::{Node, PollConfig, TaxiiClientConfig, TaxiiConfig};
use crate::transport::{Credentials, Tls};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Reads a password, one line of standard input, and writes its hash to a file: the `secret` of a
    /// client in node.toml. On a terminal it is asked for twice, and not shown.
    ///
    /// Example: entente taxii password siem.secret
    Password {
        /// The file, which must not be there yet.
        file: PathBuf,
    },
    /// Draws a bearer token, shows it once, and writes its hash to a file.
    ///
    /// Example: entente taxii token siem.secret
    Token {
        /// The file, which must not be there yet.
        file: PathBuf,
    },
}

pub(super) fn run(command: &Command, report: &Report) -> Result<(), CliError> {
    match command {
        Command::Password { file } => {
            let password = super::password::read(report)?;
            let password = password.as_str();
            let hash = PasswordHash::new(password, entropy().as_ref()).map_err(CliError::failed)?;
            write_private(file, format!("{hash}\n").as_bytes())?;
            let value = json!({ "file": file });
            report.show(&value, || format!("its hash is in {}", file.display()))
        }
        Command::Token { file } => {
            let (token, hash) = TokenHash::draw(entropy().as_ref()).map_err(CliError::failed)?;
            write_private(file, format!("{hash}\n").as_bytes())?;
            let value = json!({ "file": file, "token": token });
            // Beside what a script takes.
            report.note(&format!(
                "It is shown this once; its hash is in {}",
                file.display()
            ));
            report.show(&value, || token.as_str().to_owned())
        }
    }
}

/// Starts a node's TAXII server.
pub(super) async fn serve(node: &Node, config: &TaxiiConfig) -> Result<Exchange, CliError> {
    let mut secrets = Vec::new();
    for client in &config.client {
        secrets.push((Client(client.name.clone()), secret(client)?));
    }
    let asks = config
        .client
        .iter()
        .any(|client| client.certificate.is_some());
    let tls = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let (chain, key) = (read(certificate)?, read_private(key)?);
            let credentials = Credentials::new(&chain, key.as_bytes()).map_err(CliError::failed)?;
            Some(Tls::new(Arc::new(credentials), asks, clock()).map_err(CliError::failed)?)
        }
        // The configuration allows that on a loopback address only.
        _ => None,
    };
    let started = Exchange::start(node.applications(), config, secrets, tls).await;
    started.map_err(CliError::failed)
}

/// What a node polls.
pub(super) fn poll(node: &Node, config: &PollConfig) -> Result<Poll, CliError> {
    let secret = config.secret.as_deref().map(read_private).transpose()?;
    let roots = config.roots.as_deref().map(read).transpose()?;
    let secret = secret.as_ref().map(|text| text.as_str());
    let poll = Poll::new(
        node.applications(),
        config.clone(),
        secret,
        roots.as_deref(),
    );
    poll.map_err(|error| CliError::failed(format!("poll `{}`: {error}", config.name)))
}

fn secret(client: &TaxiiClientConfig) -> Result<Secret, CliError> {
    let invalid = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("taxii.client `{}`: {error}", client.name))
    };
    if let Some(fingerprint) = &client.certificate {
        return Secret::certificate(fingerprint).map_err(|error| invalid(&error));
    }
    let Some(file) = &client.secret else {
        return Err(invalid(&"it has no secret"));
    };
    let text = read_private(file)?;
    let text = text.trim();
    if text.starts_with("sha256$") {
        let hash = text.parse::<TokenHash>().map_err(|error| invalid(&error))?;
        return Ok(Secret::Token(hash));
    }
    let hash: PasswordHash = text.parse().map_err(|error| invalid(&error))?;
    Ok(Secret::Password {
        user: client.name.clone(),
        hash,
    })
}
