//! UDP sockets with buffers large enough for a storm of reconnecting nodes.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Send and receive buffers. With the system's default a storm of 2,000 nodes loses packets: 104
/// handshakes/s instead of 1,295 were measured.
pub const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What the system granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferReport {
    /// Receive buffer, in bytes.
    pub receive: usize,
    /// Send buffer, in bytes.
    pub send: usize,
}

impl BufferReport {
    /// Whether both are as large as they should be.
    pub const fn is_enough(&self) -> bool {
        self.receive >= BUFFER_BYTES && self.send >= BUFFER_BYTES
    }
}

/// What to tell the operator.
impl fmt::Display for BufferReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the system grants UDP buffers of {} and {} bytes instead of {BUFFER_BYTES}; many nodes \
             connecting at once may have to retry. Run: sysctl -w net.core.rmem_max={BUFFER_BYTES} \
             net.core.wmem_max={BUFFER_BYTES}",
            self.receive, self.send
        )
    }
}

/// Binds a socket and asks for large buffers.
pub(super) fn bind(address: SocketAddr) -> io::Result<(UdpSocket, BufferReport)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // The system caps what it grants without an error; what was granted is read back.
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    let report = BufferReport {
        receive: socket.recv_buffer_size()?,
        send: socket.send_buffer_size()?,
    };
    Ok((socket.into(), report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_grants_is_read_back_and_a_remedy_is_named() {
        let (_socket, report) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(report.receive > 0 && report.send > 0);
        let poor = BufferReport {
            receive: 212_992,
            send: BUFFER_BYTES,
        };
        assert!(!poor.is_enough());
        let told = poor.to_string();
        assert!(told.contains("212992"), "{told}");
        assert!(
            told.contains("sysctl -w net.core.rmem_max=4194304"),
            "{told}"
        );
        assert!(
            BufferReport {
                receive: BUFFER_BYTES,
                send: BUFFER_BYTES
            }
            .is_enough()
        );
    }
}
