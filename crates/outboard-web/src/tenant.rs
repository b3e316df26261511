//! Whom a request is charged to: rules for [`Offload::tenant`](crate::Offload::tenant).
//!
//! A rule is any function from the head of a request to a name, if it finds one.
//! Names longer than [`LONGEST`] bytes are cut: they come from outside.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderName;
use http::request::Parts;

/// The longest name of a tenant that a request can choose, in bytes.
pub const LONGEST: usize = 128;

/// What a header says, for example an API key that a layer before this one has
/// checked. Whoever can choose it can be as many tenants as they like.
///
/// # Panics
///
/// If it is not the name of a header.
pub fn header(name: &str) -> impl Fn(&Parts) -> Option<String> + Clone + Send + Sync + 'static {
    let name: HeaderName = name.parse().expect("the name of a header");
    move |request| {
        let value = request.headers.get(&name)?.to_str().ok()?.trim();
        (!value.is_empty()).then(|| cut(value))
    }
}

/// The address that the outermost of so many trusted proxies saw, by
/// `X-Forwarded-For`: with one proxy of yours in front, the last entry. Entries
/// before that are the client's own words, and are not looked at.
///
/// # Panics
///
/// If `proxies` is 0: then the header says nothing that can be trusted.
pub fn forwarded_for(
    proxies: usize,
) -> impl Fn(&Parts) -> Option<String> + Clone + Send + Sync + 'static {
    assert!(proxies > 0, "without a proxy of yours, X-Forwarded-For is the client's own word");
    move |request| {
        let values = request.headers.get_all("x-forwarded-for").iter();
        let entries: Vec<_> =
            values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
        let entry = entries.len().checked_sub(proxies).map(|at| entries[at].trim())?;
        let address = entry.parse().or_else(|_| entry.parse().map(|at: SocketAddr| at.ip()));
        address.ok().map(network)
    }
}

/// The address of a connection, for [`peer`]: whoever serves a request puts it into its
/// extensions. `outboard_actix` does so; `outboard_axum::tenant::peer` reads axum's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The [`Peer`] of a request, as a [`network`]. Behind a proxy this is the proxy: see
/// [`forwarded_for`].
pub fn peer(request: &Parts) -> Option<String> {
    request.extensions.get::<Peer>().map(|peer| network(peer.0.ip()))
}

/// An IPv4 address, or the first 64 bits of an IPv6 one, for a rule that knows the peer's
/// address. Those 64 bits are what one household or machine has.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

pub(crate) fn cut(name: &str) -> String {
    let mut end = name.len().min(LONGEST);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_peer_is_an_address_or_an_ipv6_network() {
        for (address, name) in [
            ("192.0.2.7:80", "192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(network(address.ip()), name);
        }
    }

    #[test]
    fn a_header_names_a_tenant_unless_it_is_empty_and_is_cut() {
        let rule = header("x-tenant");
        assert_eq!(rule(&request(&[])), None);
        assert_eq!(rule(&request(&[("x-tenant", " ")])), None);
        assert_eq!(rule(&request(&[("x-tenant", " ann ")])).as_deref(), Some("ann"));
        let long = "x".repeat(10 * LONGEST);
        assert_eq!(rule(&request(&[("x-tenant", &long)])).map(|name| name.len()), Some(LONGEST));
    }

    #[test]
    fn only_what_trusted_proxies_said_counts() {
        let forged = ("x-forwarded-for", "198.51.100.1, 203.0.113.9");
        let said = |proxies| forwarded_for(proxies)(&request(&[forged]));
        assert_eq!(said(1).as_deref(), Some("203.0.113.9"));
        assert_eq!(said(2).as_deref(), Some("198.51.100.1"));
        assert_eq!(said(3), None);
        let nonsense = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "me")];
        assert_eq!(forwarded_for(1)(&request(&nonsense)), None);
        let with_port = [("x-forwarded-for", "[2001:db8::1]:4711")];
        assert_eq!(forwarded_for(1)(&request(&with_port)).as_deref(), Some("2001:db8::/64"));
    }

    #[test]
    #[should_panic(expected = "the client's own word")]
    fn without_a_proxy_the_header_is_refused() {
        let _ = forwarded_for(0);
    }
}
