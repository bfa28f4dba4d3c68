//! TLS of the gRPC port and of calls to other services: mutual, with files that may be renewed while the service runs.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::channel::host;
use crate::{Caller, Chain, Config, ServiceName, TrustDomain};

/// The protocol of both sides.
const HTTP2: &[u8] = b"h2";

/// What a service proves who it is with, and what it asks of callers.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

/// What a caller proves who it is with to a service that it calls, and whom it expects there.
#[derive(Clone)]
pub struct PeerTls {
    files: TlsFiles,
    expected: Expected,
    /// As the files were last read.
    current: Arc<RwLock<Arc<ClientConfig>>>,
}

/// A service, which a certificate has to identify.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    service: ServiceName,
    domain: TrustDomain,
}

/// Where certificates and keys are read from, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// One's own certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that are trusted.
    pub ca: PathBuf,
}

impl Tls {
    /// Reads the files that the configuration names; `None` if it names none.
    pub fn read(config: &Config) -> Result<Option<Self>, Box<dyn Error>> {
        TlsFiles::named(config).map(Self::of).transpose()
    }

    fn of(files: TlsFiles) -> Result<Self, Box<dyn Error>> {
        let current = Arc::new(RwLock::new(Arc::new(files.read()?)));
        Ok(Self { files, current })
    }

    /// Its files.
    pub fn files(&self) -> Vec<PathBuf> {
        let TlsFiles {
            certificate,
            key,
            ca,
        } = self.files.clone();
        vec![certificate, key, ca]
    }

    /// Reads the files anew, for connections from now on. If they do not read, or the key is not that of the
    /// certificate, everything stays as it was.
    pub fn renew(&self) -> Result<(), Box<dyn Error>> {
        let read = Arc::new(self.files.read()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What accepts a connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(current.clone())
    }
}

impl PeerTls {
    /// Reads the files that the configuration names, for calls of `service`; `None` if it names none.
    pub fn read(service: ServiceName, config: &Config) -> Result<Option<Self>, Box<dyn Error>> {
        let Some(files) = TlsFiles::named(config) else {
            return Ok(None);
        };
        let domain = config.trust_domain.clone();
        let domain =
            domain.ok_or("TRUST_DOMAIN must be set to identify services by certificate")?;
        Self::new(service, domain, files).map(Some)
    }

    /// Reads the files, for calls of `service` in a trust domain.
    pub fn new(
        service: ServiceName,
        domain: TrustDomain,
        files: TlsFiles,
    ) -> Result<Self, Box<dyn Error>> {
        let expected = Expected { service, domain };
        let current = Arc::new(RwLock::new(Arc::new(files.read_for(&expected)?)));
        Ok(Self {
            files,
            expected,
            current,
        })
    }

    /// What a connection is made with: read anew for each, since there are few. If the files do not read, or do not fit
    /// together, what was read before stays in use.
    fn current(&self) -> Arc<ClientConfig> {
        match self.files.read_for(&self.expected) {
            Ok(read) => {
                let read = Arc::new(read);
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = read.clone();
                read
            }
            Err(error) => {
                let error = Chain(error.as_ref());
                tracing::warn!(what = "certificates for calls", %error, "not renewed");
                let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
                current.clone()
            }
        }
    }

    /// Connects to the host and port of `uri`, if the service that is expected is there.
    pub async fn connect(&self, uri: &http::Uri) -> io::Result<TlsStream<TcpStream>> {
        let host = host(uri);
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
        // Small requests are sent at once (no Nagle delay).
        stream.set_nodelay(true)?;
        self.secure(host, stream).await
    }

    /// TLS over a connection to `host`, if the service that is expected is there.
    pub async fn secure(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connecting = TlsConnector::from(self.current()).connect(name, stream);
        let stream = connecting.await.inspect_err(|error| {
            let service = self.expected.service.text();
            tracing::warn!(service, host, %error, "no TLS with another service");
        })?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() == Some(HTTP2) {
            Ok(stream)
        } else {
            Err(io::Error::other("the server does not speak HTTP/2"))
        }
    }
}

impl TlsFiles {
    /// Those that the configuration names; `None` if it names none.
    fn named(config: &Config) -> Option<Self> {
        Some(Self {
            certificate: config.tls_certificate_file.clone()?,
            key: config.tls_key_file.clone()?,
            ca: config.tls_ca_file.clone()?,
        })
    }

    /// What serves.
    fn read(&self) -> Result<ServerConfig, Box<dyn Error>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(self.roots()?);
        let callers = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let (certificates, key) = self.own()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(callers.build()?)
            .with_single_cert(certificates, key)?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(config)
    }

    /// What calls a service.
    fn read_for(&self, expected: &Expected) -> Result<ClientConfig, Box<dyn Error>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let servers = OneService::new(self.roots()?, expected.clone(), &provider);
        let (certificates, key) = self.own()?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_auth_cert(certificates, key)?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(config)
    }

    /// The authorities that are trusted.
    fn roots(&self) -> Result<RootCertStore, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&self.ca)? {
            roots.add(root?)?;
        }
        if roots.is_empty() {
            return Err("no certificate of an authority".into());
        }
        Ok(roots)
    }

    /// The certificate of this service with those between it and the authority, and its key.
    fn own(&self) -> Result<Own, Box<dyn Error>> {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&self.certificate)?.collect();
        Ok((certificates?, PrivateKeyDer::from_pem_file(&self.key)?))
    }
}

/// A certificate with those between it and the authority, and its key.
type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Accepts the certificate of one service only. It is known by its SPIFFE id: the host that was called is not asked for,
/// so that a certificate needs no DNS name, and one of another service is refused whatever names it has.
#[derive(Debug)]
struct OneService {
    roots: RootCertStore,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl OneService {
    fn new(roots: RootCertStore, expected: Expected, provider: &CryptoProvider) -> Self {
        Self {
            roots,
            expected,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for OneService {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let Expected { service, domain } = &self.expected;
        let expected = Caller::Service { name: *service };
        if Caller::from_certificate(end_entity, domain) == Some(expected) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub mod tests {
    use std::fs;
    use std::net::SocketAddr;
    use std::path::Path;

    use super::*;

    /// Certificates and keys of two authorities, `one` and `two`, from 2020 to 2120; and of a third, `services`, two for
    /// `billing` and one for `plan`, by their SPIFFE ids only.
    pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/tls");

    /// TLS with the files of the authority `name`, copied to `folder`.
    pub fn tls(folder: &Path, name: &str) -> Tls {
        copy(folder, name, &["server.pem", "server.key", "ca.pem"]);
        let [certificate, key, ca] =
            ["server.pem", "server.key", "ca.pem"].map(|it| folder.join(it));
        Tls::of(TlsFiles {
            certificate,
            key,
            ca,
        })
        .unwrap()
    }

    fn copy(folder: &Path, name: &str, files: &[&str]) {
        for file in files {
            fs::copy(Path::new(DATA).join(name).join(file), folder.join(file)).unwrap();
        }
    }

    /// The certificate of a client of the authority `name`.
    pub fn certificate(name: &str) -> CertificateDer<'static> {
        let file = Path::new(DATA).join(name).join("client.pem");
        CertificateDer::from_pem_file(file).unwrap()
    }

    /// A client of the authority `name`, connected to `address` if it trusts who is there.
    pub async fn connected(address: SocketAddr, name: &str) -> Option<TlsStream<TcpStream>> {
        let file = |file| Path::new(DATA).join(name).join(file);
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(file("ca.pem")).unwrap();
        roots.add(root).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate(name)], key)
            .unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let server = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(server, stream).await.ok()
    }

    #[test]
    fn files_that_do_not_fit_together_renew_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls(folder.path(), "one");
        let current = || Arc::as_ptr(&tls.current.read().unwrap());
        let before = current();
        copy(folder.path(), "two", &["server.pem"]);
        assert!(tls.renew().is_err(), "the key is another's");
        fs::write(folder.path().join("server.key"), "").unwrap();
        assert!(tls.renew().is_err());
        assert_eq!(current(), before);
        copy(folder.path(), "two", &["server.key", "ca.pem"]);
        assert!(tls.renew().is_ok());
        assert_ne!(current(), before);
        fs::write(folder.path().join("ca.pem"), "").unwrap();
        assert!(tls.renew().is_err(), "nobody could call");
    }
}
