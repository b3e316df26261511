//! TLS as Dask has it: both sides show a certificate that the same authority
//! signed, and names are not looked at.
//!
//! A cluster of `Security.temporary()` has one self-signed certificate, which
//! is authority and leaf at once. Chains of that form are refused elsewhere, so
//! a leaf that *is* one of the authorities is accepted by comparison.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
#[cfg(all(feature = "local", target_os = "linux"))]
use tokio_rustls::rustls::server::WebPkiClientVerifier;
#[cfg(all(feature = "local", target_os = "linux"))]
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
#[cfg(all(feature = "local", target_os = "linux"))]
use tokio_rustls::rustls::{DistinguishedName, ServerConfig};

/// The files of a certificate authority, a certificate and its key, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// Who connects: Dask has certificates for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    #[cfg(all(feature = "local", target_os = "linux"))]
    Worker,
}

impl Files {
    /// Takes what is not given from the variables that Dask's own programs read.
    pub(super) fn or_from_env(self, role: Role) -> Self {
        let variable = |name: &str| {
            let value = std::env::var_os(format!("DASK_DISTRIBUTED__COMM__TLS__{name}"));
            value.filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let role = match role {
            Role::Client => "CLIENT",
            #[cfg(all(feature = "local", target_os = "linux"))]
            Role::Worker => "WORKER",
        };
        Self {
            ca: self.ca.or_else(|| variable("CA_FILE")),
            cert: self.cert.or_else(|| variable(&format!("{role}__CERT"))),
            key: self.key.or_else(|| variable(&format!("{role}__KEY"))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A configuration for connecting.
///
/// # Errors
///
/// A line that names the file that is missing or cannot be used.
pub(super) fn client(files: &Files) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let authorities = certificates(files.ca.as_deref(), "a certificate authority")?;
    let chain = certificates(files.cert.as_deref(), "a certificate")?;
    let key = private_key(files)?;
    let names_unchecked = Arc::new(SameAuthority::new(authorities, &provider)?);
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(names_unchecked)
        .with_client_auth_cert(chain, key)
        .map(Arc::new)
        .map_err(|error| format!("certificate and key cannot be used: {error}"))
}

/// A configuration for being connected to.
///
/// # Errors
///
/// As [`client`].
#[cfg(all(feature = "local", target_os = "linux"))]
pub(super) fn server(files: &Files) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let authorities = certificates(files.ca.as_deref(), "a certificate authority")?;
    let chain = certificates(files.cert.as_deref(), "a certificate")?;
    let key = private_key(files)?;
    let same = SameAuthority::new(authorities, &provider)?;
    let signed =
        WebPkiClientVerifier::builder_with_provider(Arc::new(same.roots.clone()), provider.clone());
    let signed = signed.build().map_err(|error| error.to_string())?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(Arc::new(SameAuthorityOfClients { same, signed }))
        .with_single_cert(chain, key)
        .map(Arc::new)
        .map_err(|error| format!("certificate and key cannot be used: {error}"))
}

/// All certificates of a file.
fn certificates(file: Option<&Path>, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = file.ok_or_else(|| missing(what))?;
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{} holds no certificate", file.display()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// The key of a certificate; it may stand in the same file.
fn private_key(files: &Files) -> Result<PrivateKeyDer<'static>, String> {
    let file = files.key.as_deref().or(files.cert.as_deref()).ok_or_else(|| missing("a key"))?;
    PrivateKeyDer::from_pem_file(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn missing(what: &str) -> String {
    format!(
        "TLS needs {what}: give tls_ca, tls_cert and tls_key in the URL, or Dask's variables \
         DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CERT and …__KEY"
    )
}

/// Accepts a peer whose certificate one of the authorities signed, or is.
#[derive(Debug)]
struct SameAuthority {
    authorities: Vec<CertificateDer<'static>>,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SameAuthority {
    fn new(
        authorities: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            let added = roots.add(authority.clone());
            added.map_err(|error| format!("the certificate authority cannot be used: {error}"))?;
        }
        Ok(Self { authorities, roots, algorithms: provider.signature_verification_algorithms })
    }

    /// Whether the peer's certificate is one of the authorities.
    fn is_authority(&self, leaf: &CertificateDer<'_>) -> bool {
        self.authorities.iter().any(|authority| authority == leaf)
    }
}

impl ServerCertVerifier for SameAuthority {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if !self.is_authority(leaf) {
            let leaf = ParsedCertificate::try_from(leaf)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &self.roots,
                between,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The same for those who connect to us.
#[cfg(all(feature = "local", target_os = "linux"))]
#[derive(Debug)]
struct SameAuthorityOfClients {
    same: SameAuthority,
    signed: Arc<dyn ClientCertVerifier>,
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl ClientCertVerifier for SameAuthorityOfClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        match self.same.is_authority(leaf) {
            true => Ok(ClientCertVerified::assertion()),
            false => self.signed.verify_client_cert(leaf, between, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
