//! A port without a listener, for the tests of this crate and of the program.

use std::net::{SocketAddr, TcpListener, TcpStream};

/// A TCP port where nobody listens, nor can while this is there: it is that of one end of a connection.
pub(crate) struct Nobody {
    pub(crate) address: SocketAddr,
    _connection: (TcpListener, TcpStream),
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        Self { address: end.local_addr().unwrap(), _connection: (server, end) }
    }
}
