//! Who may read flows beyond this machine: both ends show a certificate. The files are read again when they
//! change, for connections from then on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

/// How often one looks whether the files have changed.
const LOOK: Duration = Duration::from_secs(10);
/// How long a client has for its part of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// An end's certificate with its key, and who has signed those of the other ends. PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, with those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of the others' certificates.
    pub ca: PathBuf,
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

impl Files {
    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::from_pem(read(&self.cert)?, read(&self.key)?))
    }

    fn roots(&self) -> io::Result<Certificate> {
        read(&self.ca).map(Certificate::from_pem)
    }

    /// Reads them, for a server that lets nobody in whose certificate is of another root.
    pub(crate) fn read(&self) -> io::Result<Read> {
        // A change while one reads is seen later as one.
        let stamps = self.stamps();
        let config = ServerTlsConfig::new().identity(self.identity()?).client_ca_root(self.roots()?);
        Ok(Read { config: config.timeout(HANDSHAKE), stamps })
    }

    fn stamps(&self) -> Stamps {
        [&self.cert, &self.key, &self.ca].map(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok())
    }

    /// Waits until they are others, and make sense.
    pub(crate) async fn changed(&self, known: &Read) -> Read {
        loop {
            tokio::time::sleep(LOOK).await;
            // What is half written is looked at again.
            if self.stamps() != known.stamps
                && let Ok(read) = self.read()
                && Server::builder().tls_config(read.config.clone()).is_ok()
            {
                return read;
            }
        }
    }
}

type Stamps = [Option<SystemTime>; 3];

/// What the files said.
pub(crate) struct Read {
    pub(crate) config: ServerTlsConfig,
    stamps: Stamps,
}

/// How a client shows who it is, and whom it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The roots of the servers' certificates.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The name that a server's certificate must have; its address if absent.
    pub server_name: Option<String>,
}

impl Client {
    pub(crate) fn config(&self) -> io::Result<ClientTlsConfig> {
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = &self.ca {
            config = config.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let Some((cert, key)) = &self.own {
            config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}
