//! Ports for a broker on this machine.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;

use super::error::DeploymentError;
use crate::clock::{Entropy, random};

/// Below the ports that systems give to whoever asks for any (from 32768 on Linux, from 49152
/// after RFC 6335, section 6): a port out of these is not taken between its choice and the
/// broker's start, nor while a broker that keeps its address is down.
const PORTS: Range<u16> = 20_000..32_768;

/// How many are tried.
const TRIES: usize = 64;

/// A UDP port for partners and a TCP port for health and metrics, both free now.
///
/// # Errors
/// [`DeploymentError::Port`] where none of those tried is free, or the address is not this
/// machine's.
pub fn free_ports(
    address: IpAddr,
    entropy: &dyn Entropy,
) -> Result<(SocketAddr, SocketAddr), DeploymentError> {
    let udp = free(address, entropy, |at| UdpSocket::bind(at).map(drop))?;
    let tcp = free(address, entropy, |at| TcpListener::bind(at).map(drop))?;
    Ok((udp, tcp))
}

fn free(
    address: IpAddr,
    entropy: &dyn Entropy,
    bind: impl Fn(SocketAddr) -> io::Result<()>,
) -> Result<SocketAddr, DeploymentError> {
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let drawn = u16::from_be_bytes(random(entropy)?);
        let port = PORTS.start + drawn % (PORTS.end - PORTS.start);
        let at = SocketAddr::new(address, port);
        match bind(at) {
            Ok(()) => return Ok(at),
            Err(error) => refused = error,
        }
    }
    let error = refused;
    Err(DeploymentError::Port { address, error })
}
