//! The protocol, byte for byte over a socket.

mod client;
mod copying;
mod ending;
mod hostile;
mod starting;
mod statements;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Server, ServerOptions};
use crate::db::Db;

/// A server of an empty database. The database lives as long as the server.
async fn serve(change: impl FnOnce(&mut ServerOptions)) -> (Server, SocketAddr) {
    let mut options = ServerOptions {
        listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)],
        max_message_bytes: 1 << 20,
        ..ServerOptions::default()
    };
    change(&mut options);
    let server = Server::start(open_database(), options).await.expect("starts");
    let address = server.local_addrs()[0];
    (server, address)
}

fn open_database() -> Db {
    Db::default()
}
