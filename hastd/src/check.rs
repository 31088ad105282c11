//! What can be found out about a configuration without serving it:
//! `hastd -t` and `hastctl check`.
//!
//! Nothing is changed, and components are opened for reading only. Whether
//! both nodes agree, in sizes above all, only a running hastd can ask the
//! other one: `hastctl check` does so over the control socket and adds what it
//! hears to [`Report::findings`].

mod report;
pub(crate) mod standing;

pub use report::{Finding, Report, Severity};
pub use standing::Standing;

use crate::component::{Component, ComponentError};
use crate::config::address::{Address, DEFAULT_PORT, TcpAddress};
use crate::config::{Loaded, Resource};
use Severity::{Error, Note, Warning};
use ggate::gate::Access;
use ggate::media::Identity;
use hast_core::metadata::{Consistency, Metadata};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Checks everything that can be checked on this node. Takes as long as the
/// resolver takes for the names in it.
#[must_use]
pub fn check(loaded: &Loaded) -> Report {
    check_with(loaded, &|address| address.resolve(DEFAULT_PORT))
}

/// Looks a host up.
type Resolve<'a> = &'a dyn Fn(&TcpAddress) -> io::Result<SocketAddr>;

fn check_with(loaded: &Loaded, resolve: Resolve<'_>) -> Report {
    let mut checker = Checker {
        findings: Vec::new(),
        resolve,
        resolved: HashMap::new(),
        components: Vec::new(),
    };
    let config = &loaded.config;
    checker.folder("control", &config.control);
    checker.folder("pidfile", &config.pidfile);
    for address in &config.listen {
        checker.address(None, "listen", address);
    }
    for resource in &config.resources {
        checker.component(resource);
        checker.hook(resource);
        checker.addresses(resource);
    }
    Report {
        warnings: loaded.warnings.clone(),
        findings: checker.findings,
    }
}

struct Checker<'a> {
    findings: Vec<Finding>,
    resolve: Resolve<'a>,
    /// Each address is looked up once.
    resolved: HashMap<String, Option<IpAddr>>,
    /// Which file or disk belongs to whom.
    components: Vec<(Identity, &'a str)>,
}

impl<'a> Checker<'a> {
    fn add(
        &mut self,
        severity: Severity,
        resource: Option<&Resource>,
        what: String,
        todo: impl Into<Option<String>>,
    ) {
        self.findings.push(Finding {
            severity,
            resource: resource.map(|resource| resource.name.clone()),
            what,
            todo: todo.into(),
        });
    }

    /// Whether there is a place for a file of the daemon.
    fn folder(&mut self, keyword: &str, path: &Path) {
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => path,
        };
        if !folder.is_dir() {
            let what = format!("`{keyword}` {}: there is no such folder", path.display());
            self.add(Error, None, what, format!("create {}", folder.display()));
        }
    }

    fn component(&mut self, resource: &'a Resource) {
        if let Err(error) = self.open_component(resource) {
            let what = format!("{}: {}", error.path().display(), error.problem());
            self.add(Error, Some(resource), what, error.problem().advice());
        }
    }

    fn open_component(&mut self, resource: &'a Resource) -> Result<(), ComponentError> {
        let component = Component::open(&resource.local, Access::ReadOnly)?;
        let identity = component.identity()?;
        let path = component.path().display();
        if let Some((_, other)) = self.components.iter().find(|(same, _)| *same == identity) {
            let what = format!("{path}: is the component of resource {other}, too");
            let todo = "correct `local` of one: they destroy each other".to_owned();
            self.add(Error, Some(resource), what, todo);
        }
        self.components.push((identity, &resource.name));
        let provider = component.provider();
        let what = format!(
            "{path}: {} of {} bytes, sectors of {}",
            if identity.is_disk() {
                "a disk"
            } else {
                "a file"
            },
            provider.mediasize,
            provider.sectorsize
        );
        self.add(Note, Some(resource), what, None);
        let (metadata, _) = component.read_metadata(&resource.name)?;
        self.metadata(resource, &metadata, provider.mediasize);
        Ok(())
    }

    /// Metadata that can be used may still be worth a word.
    fn metadata(&mut self, resource: &Resource, metadata: &Metadata, mediasize: u64) {
        let path = resource.local.display();
        let end = metadata.localoff + metadata.datasize;
        if mediasize - end >= u64::from(metadata.extentsize) {
            let unused = mediasize - end;
            let what = format!("{path}: {unused} bytes behind the data are not used");
            let todo = "create was given a size, or the component has grown since".to_owned();
            self.add(Note, Some(resource), what, todo);
        }
        if metadata.consistency == Consistency::Inconsistent {
            let what = format!(
                "{path}: a synchronisation has not been completed, its data are of several times"
            );
            let todo = "keep it secondary until it is complete".to_owned();
            self.add(Warning, Some(resource), what, todo);
        }
        if metadata.resuid.is_none() {
            let what = format!("{path}: has not met the other node yet");
            self.add(Note, Some(resource), what, None);
        }
    }

    /// hastd runs it as root.
    fn hook(&mut self, resource: &Resource) {
        let Some(path) = &resource.exec else {
            return;
        };
        let shown = path.display();
        let file = match fs::metadata(path) {
            Ok(file) => file,
            Err(error) => {
                let what = format!("`exec` {shown}: {}", ggate::errno::words(&error));
                self.add(
                    Error,
                    Some(resource),
                    what,
                    "create it, or remove `exec`".to_owned(),
                );
                return;
            }
        };
        let mode = file.permissions().mode();
        if !file.is_file() {
            let what = format!("`exec` {shown}: is no file");
            self.add(Error, Some(resource), what, "name a program".to_owned());
        } else if mode & 0o111 == 0 {
            let what = format!("`exec` {shown}: is not executable");
            self.add(Error, Some(resource), what, format!("chmod +x {shown}"));
        } else if mode & 0o002 != 0 {
            let what = format!("`exec` {shown}: everybody can write what hastd runs");
            self.add(Warning, Some(resource), what, format!("chmod o-w {shown}"));
        }
    }

    fn addresses(&mut self, resource: &Resource) {
        let mut ip = |keyword, address: &Option<String>| {
            let address = address.as_ref()?;
            self.address(Some(resource), keyword, address)
        };
        let remote = ip("remote", &resource.remote);
        let source = ip("source", &resource.source);
        if let (Some(remote), Some(source)) = (remote, source)
            && remote.is_ipv4() != source.is_ipv4()
        {
            let what = format!("`source` {source} cannot connect to `remote` {remote}");
            let todo = "give both an IPv4 address, or both an IPv6 address".to_owned();
            self.add(Error, Some(resource), what, todo);
        }
    }

    /// The IP address, if it is one of TCP.
    fn address(
        &mut self,
        resource: Option<&Resource>,
        keyword: &str,
        text: &str,
    ) -> Option<IpAddr> {
        let address = match Address::parse(text) {
            Ok(Address::Tcp(address)) => address,
            Ok(Address::Unix(path)) => {
                self.folder(keyword, &path);
                return None;
            }
            Err(error) => {
                let what = format!("`{keyword}` {text}: {error}");
                self.add(Error, resource, what, "correct it".to_owned());
                return None;
            }
        };
        if let Some(known) = self.resolved.get(text) {
            return *known;
        }
        let resolved = (self.resolve)(&address);
        let ip = resolved.as_ref().ok().map(SocketAddr::ip);
        self.resolved.insert(text.to_owned(), ip);
        if let Err(error) = resolved {
            let what = format!("`{keyword}` {text}: {}", ggate::errno::words(&error));
            let todo = "enter the host in DNS or /etc/hosts, or give its IP address".to_owned();
            self.add(Error, resource, what, todo);
        }
        ip
    }
}

#[cfg(test)]
mod tests;
