//! What a URL of a worker says, and how one is set up by it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rmpv::Value;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;

use super::{BOUNDS, EndAll, Worker, peers};
use crate::builder::Settings as LocalSettings;
use crate::client::Client;
use crate::engine::dask::address::{Address, Role, Scheme};
use crate::engine::dask::connection::Dialer;
use crate::engine::dask::tls;
use crate::engine::dask::url::Settings as ClusterSettings;
use crate::error::{Error, Repr};
use crate::snapshot::Host;
use crate::task::registry;

/// How many tasks may wait here: the clients bound what they send.
const QUEUE: usize = 1 << 20;

/// What a URL of a worker says.
pub(super) struct Settings {
    cluster: ClusterSettings,
    pub(super) local: LocalSettings,
    name: Option<String>,
    host: Option<IpAddr>,
    mixed: bool,
}

impl Settings {
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::new(Repr::InvalidUrl { url: url.to_owned(), reason });
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let cluster = ClusterSettings::parse(scheme, hosts)
            .unwrap_or_else(|| Err("a worker joins a cluster: dask://host:port".into()));
        let cluster = cluster.map_err(wrong)?;
        if cluster.addresses.len() != 1 {
            return Err(wrong("a worker has one scheduler".into()));
        }
        let mut local = LocalSettings::default();
        local.set("queue_tasks", &QUEUE.to_string()).map_err(wrong)?;
        let mut settings = Self { cluster, local, name: None, host: None, mixed: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            settings.set(name, value).map_err(wrong)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("name", "") => return Err("`name` wants a name".into()),
            ("name", name) => self.name = Some(name.to_owned()),
            ("mixed", "0" | "1") => self.mixed = value == "1",
            ("mixed", _) => return Err("`mixed` is 0 or 1".into()),
            ("host", host) => {
                let host = host.parse();
                self.host = Some(host.map_err(|_| "`host` wants an IP address".to_owned())?);
            }
            _ => {
                if !self.cluster.set(name, value)? {
                    self.local.set(name, value)?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn serve(self, local: Client) -> Result<(), Error> {
        let functions = registry().map_err(Error::unavailable)?.functions();
        let scheduler = self.cluster.addresses[0].clone();
        let files = self.cluster.files(Role::Worker);
        let (client_tls, server_tls) = match scheduler.scheme {
            Scheme::Tcp => (None, None),
            Scheme::Tls => {
                let client = tls::client(&files).map_err(Error::unavailable)?;
                let server = tls::server(&files).map_err(Error::unavailable)?;
                (Some(client), Some(TlsAcceptor::from(server)))
            }
        };
        let unavailable = |error: io::Error| Error::unavailable(format!("{scheduler}: {error}"));
        let host = match self.host {
            Some(host) => host,
            None => own_address(&scheduler).await.map_err(unavailable)?,
        };
        let listener = TcpListener::bind((host, 0)).await.map_err(unavailable)?;
        let place = listener.local_addr().map_err(unavailable)?;
        let address = Address { scheme: scheduler.scheme, place: place.to_string() }.to_string();
        let (out, outbox) = mpsc::unbounded_channel();
        let worker = Arc::new(Worker {
            name: self.name.unwrap_or_else(|| address.clone()),
            address,
            scheduler,
            dialer: Dialer { tls: client_tls, bounds: BOUNDS },
            local,
            threads: self.local.workers,
            memory_limit: Host::memory_bytes(),
            mixed: self.mixed,
            functions,
            silence: self.cluster.silence,
            stock: Mutex::default(),
            packages: Mutex::new(Value::Nil),
            strays: Mutex::default(),
            out,
            leave: Notify::new(),
            beside: Mutex::default(),
        });
        let end = EndAll(worker.clone());
        let ended = tokio::select! {
            ended = worker.clone().keep(outbox) => ended,
            () = worker.leave.notified() => Ok(()),
            ended = peers::serve(worker.clone(), listener, server_tls) => ended.map_err(|error| {
                Error::unavailable(format!("it cannot listen any more: {error}"))
            }),
        };
        drop(end);
        ended
    }
}

/// The address of this machine from which a scheduler is reached.
async fn own_address(scheduler: &Address) -> io::Result<IpAddr> {
    let mut last = io::ErrorKind::NotFound.into();
    for there in tokio::net::lookup_host(&scheduler.place).await? {
        let any: SocketAddr = match there {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        // Connecting a datagram socket sends nothing: it only asks for a route.
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(there).await {
            Ok(()) => return Ok(socket.local_addr()?.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_worker_has_options_of_both() {
        let url = "dask://a:1?workers=3&name=w&mixed=1&host=127.0.0.1&silence_ms=5000";
        let settings = Settings::parse(url).unwrap();
        assert_eq!((settings.local.workers, settings.mixed), (3, true));
        assert_eq!(settings.name.as_deref(), Some("w"));
        for wrong in ["local://", "dask://a:1,b:1", "dask://a:1?mixed=2", "dask://a:1?speed=1"] {
            let error = Settings::parse(wrong).err().expect(wrong);
            assert_eq!(error.kind(), crate::ErrorKind::InvalidUrl, "{error}");
        }
    }
}
