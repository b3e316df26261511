//! Whom a request is charged to: rules for [`Offload::tenant`](crate::Offload::tenant).
//!
//! A rule is any function from the head of a request to a name, if it finds one.
//! Names longer than [`LONGEST`] bytes are cut: they come from outside.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

#[doc(inline)]
pub use outboard_web::tenant::{LONGEST, forwarded_for, header, network};

use crate::watched::Peer;

/// The address of the connection: an IPv4 address, or the first 64 bits of an IPv6 address.
///
/// Those 64 bits are what one household or machine has. Behind a proxy this is the proxy:
/// see [`forwarded_for`].
///
/// It needs [`serve`](fn@crate::serve), or
/// `into_make_service_with_connect_info::<SocketAddr>()`, with [`Peer`] instead where the
/// listener is [`watched`](fn@crate::watched). Without that no request has a peer, and all are
/// one tenant.
pub fn peer(request: &Parts) -> Option<String> {
    let plain = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let watched = || request.extensions.get::<ConnectInfo<Peer>>().map(|info| info.0.0);
    Some(network(plain.or_else(watched)?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_either_kind_of_listener() {
        let mut request = axum::http::Request::new(()).into_parts().0;
        assert_eq!(peer(&request), None);
        let address: SocketAddr = "192.0.2.7:80".parse().unwrap();
        request.extensions.insert(ConnectInfo(Peer(address)));
        assert_eq!(peer(&request).as_deref(), Some("192.0.2.7"));
        let address: SocketAddr = "[2001:db8:1:2:3:4:5:6]:80".parse().unwrap();
        request.extensions.insert(ConnectInfo(address));
        assert_eq!(peer(&request).as_deref(), Some("2001:db8:1:2::/64"));
    }
}
