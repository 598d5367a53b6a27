//! A TAXII 2.1 server over data of medallion's form, in memory: for clients and conformance suites.
//!
//! `cargo run --example taxii-fixture -- DATA.json 127.0.0.1:5000`
//!
//! One user, `admin` with `Password0`, as medallion's tests have it; 20 objects a page. What is added is
//! forgotten when it ends.

use std::process::ExitCode;
use std::sync::Arc;

use entente::clock::{Entropy, SystemClock, SystemEntropy};
use entente::gateway::taxii::{Access, Client, MemoryStore, PasswordHash, Secret, Taxii, serve};
use entente::transport::HttpLimits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const USER: &str = "admin";
const PASSWORD: &str = "Password0";
const PAGE: usize = 20;

#[tokio::main]
#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that says when it listens"
)]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(address)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: taxii-fixture DATA.json ADDRESS");
        return ExitCode::from(2);
    };
    match start(&data, &address).await {
        Ok((listener, taxii)) => {
            let limits = HttpLimits {
                requests: 256,
                seconds: 60,
                ..HttpLimits::default()
            };
            if let Ok(address) = listener.local_addr() {
                println!("TAXII 2.1 on http://{address}/taxii2/");
            }
            serve(listener, None, taxii, limits, CancellationToken::new()).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(
    data: &str,
    address: &str,
) -> Result<(TcpListener, Taxii), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(data).map_err(|error| format!("{data}: {error}"))?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let password = Secret::Password {
        user: USER.to_owned(),
        hash: PasswordHash::new(PASSWORD, entropy.as_ref())?,
    };
    let access = Access::new([(Client(USER.to_owned()), password)], entropy.as_ref())?;
    let store = MemoryStore::read(&text, Arc::new(SystemClock), entropy)?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| format!("{address}: {error}"))?;
    Ok((listener, Taxii::new(Arc::new(store), access, PAGE)))
}
