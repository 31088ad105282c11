//! The exports file: who may use what, and how.
//!
//! One export per line, `client access path`; `spec/ggate-wire-and-cli.md`
//! section 10. Parsing does no I/O but for the look-up of host names, which
//! the caller supplies. Where base bends a wrong value (a prefix length that
//! is no number exports to everybody), it is an error here, with its place.

use ggate::gate::Access;
use ggate::media::OpenOptions;
use ggate::wire::{ExportPath, PathError};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::ffi::OsStrExt as _;

/// Longest line in bytes, without its end.
const MAX_LINE: usize = 2047;

/// All exports, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Exports(Vec<Export>);

/// One line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Export {
    /// Who; several when a host name has several addresses.
    pub(crate) clients: Vec<Network>,
    /// How at most.
    pub(crate) access: Access,
    /// Whether `O_DIRECT` is used; `None` leaves it to the client.
    pub(crate) direct: Option<bool>,
    /// What.
    pub(crate) path: ExportPath,
}

/// Addresses that agree in their first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What is wrong with an exports file, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExportsError {
    /// Nothing is exported.
    #[error("There are no objects to export.")]
    Empty,
    /// A line cannot be used.
    #[error("{mistake} at line {line}, column {column}.")]
    Line {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// What is wrong.
        mistake: Mistake,
    },
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mistake {
    /// Fewer than three words.
    #[error("Too few arguments")]
    TooFew,
    /// More than three words.
    #[error("Too many arguments")]
    TooMany,
    /// More than base takes.
    #[error("Line longer than {MAX_LINE} bytes")]
    TooLong,
    /// No number of bits, or too many: this is the limit.
    #[error("Invalid IP mask value (0 to {0} bits)")]
    Prefix(u8),
    /// Neither an address nor a name that can be looked up.
    #[error("Invalid IP/host name ({0})")]
    Client(String),
    /// None of the known words.
    #[error("Invalid flag ({0}); known are ro, rd, wo, rw, direct, nodirect")]
    Flag(String),
    /// Flags without one of `ro`, `wo`, `rw`.
    #[error("No access mode (ro, wo or rw)")]
    NoAccess,
    /// A path that no client can ask for.
    #[error("Invalid path: {0}")]
    Path(PathError),
}

/// Turns a host name into addresses.
pub(crate) type Resolve<'a> = &'a dyn Fn(&str) -> io::Result<Vec<IpAddr>>;

/// As the system knows it.
pub(crate) fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let addresses = (name, 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

impl Exports {
    /// Parses the content of an exports file.
    pub(crate) fn parse(text: &[u8], resolve: Resolve<'_>) -> Result<Self, ExportsError> {
        let mut exports = Vec::new();
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            let parsed = parse_line(line, resolve);
            exports.extend(parsed.map_err(|(column, mistake)| ExportsError::Line {
                line: index + 1,
                column: column + 1,
                mistake,
            })?);
        }
        if exports.is_empty() {
            return Err(ExportsError::Empty);
        }
        Ok(Self(exports))
    }

    /// The export that decides for a client: the last in the file that fits
    /// its address and the path.
    pub(crate) fn find(&self, client: IpAddr, path: &ExportPath) -> Option<&Export> {
        let client = client.to_canonical();
        let fits = |export: &&Export| {
            export.path == *path && export.clients.iter().any(|n| n.contains(client))
        };
        self.0.iter().rev().find(fits)
    }

    /// Whether anything at all is exported to the client.
    pub(crate) fn knows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let mut networks = self.0.iter().flat_map(|export| &export.clients);
        networks.any(|network| network.contains(client))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Export> {
        self.0.iter()
    }
}

impl Export {
    /// How to open the medium for a client that wants this; `None` when it may
    /// not.
    pub(crate) fn grant(&self, access: Access, direct: bool) -> Option<OpenOptions> {
        let granted = match (access, self.access) {
            (asked, exported) if asked == exported => true,
            (_, exported) => exported == Access::ReadWrite,
        };
        granted.then_some(OpenOptions {
            access,
            direct: self.direct.unwrap_or(direct),
            sync: false,
        })
    }
}

/// A column from 0 and what is wrong there.
type Complaint = (usize, Mistake);

fn parse_line(line: &[u8], resolve: Resolve<'_>) -> Result<Option<Export>, Complaint> {
    let words = words(line);
    let Some(&(start, first)) = words.first() else {
        return Ok(None);
    };
    if first.starts_with(b"#") {
        return Ok(None);
    }
    if line.len() > MAX_LINE {
        return Err((MAX_LINE, Mistake::TooLong));
    }
    let [(_, client), access, path] = match words[..] {
        [client, access, path] => [client, access, path],
        [_, _, _, (column, _), ..] => return Err((column, Mistake::TooMany)),
        _ => return Err((line.len(), Mistake::TooFew)),
    };
    let (direct, access) = parse_access(access)?;
    let path_checked = ExportPath::new(OsStr::from_bytes(path.1));
    Ok(Some(Export {
        access,
        direct,
        path: path_checked.map_err(|error| (path.0, Mistake::Path(error)))?,
        clients: parse_client(start, client, resolve)?,
    }))
}

/// The words of a line with their columns from 0.
fn words(line: &[u8]) -> Vec<(usize, &[u8])> {
    let mut words = Vec::new();
    let mut column = 0;
    for word in line.split(|b| matches!(b, b' ' | b'\t')) {
        if !word.is_empty() {
            words.push((column, word));
        }
        column += word.len() + 1;
    }
    words
}

fn parse_access((start, word): (usize, &[u8])) -> Result<(Option<bool>, Access), Complaint> {
    let (mut direct, mut access) = (None, None);
    let mut column = start;
    for flag in word.split(|b| *b == b',') {
        match flag.to_ascii_lowercase().as_slice() {
            b"ro" | b"rd" => access = Some(Access::ReadOnly),
            b"wo" => access = Some(Access::WriteOnly),
            b"rw" => access = Some(Access::ReadWrite),
            b"direct" => direct = Some(true),
            b"nodirect" => direct = Some(false),
            _ => return Err((column, Mistake::Flag(flag.escape_ascii().to_string()))),
        }
        column += flag.len() + 1;
    }
    match access {
        Some(access) => Ok((direct, access)),
        None => Err((start, Mistake::NoAccess)),
    }
}

fn parse_client(
    start: usize,
    word: &[u8],
    resolve: Resolve<'_>,
) -> Result<Vec<Network>, Complaint> {
    let slash = word.iter().position(|b| *b == b'/');
    let name = &word[..slash.unwrap_or(word.len())];
    let invalid = || (start, Mistake::Client(name.escape_ascii().to_string()));
    let name = std::str::from_utf8(name).map_err(|_| invalid())?;
    let literal: Option<IpAddr> = name.parse().ok();
    let prefix = match slash {
        None => None,
        Some(slash) => {
            let limit = literal.map_or(128, width);
            let digits = &word[slash + 1..];
            let bits = parse_prefix(digits).filter(|bits| *bits <= limit);
            Some(bits.ok_or((start + slash + 1, Mistake::Prefix(limit)))?)
        }
    };
    let addresses = match literal {
        Some(address) => vec![address.to_canonical()],
        None if name.is_empty() => return Err(invalid()),
        None => resolve(name).map_err(|_| invalid())?,
    };
    let mut networks = Vec::new();
    for address in addresses {
        // A short prefix was meant for the IPv4 addresses of a name that has
        // both kinds; for its IPv6 addresses it would open half the world.
        let meant = match (literal, prefix) {
            (None, Some(bits)) => address.is_ipv4() == (bits <= 32),
            _ => true,
        };
        let network = Network {
            address,
            prefix: prefix.unwrap_or(width(address)).min(width(address)),
        };
        if meant && !networks.contains(&network) {
            networks.push(network);
        }
    }
    if networks.is_empty() {
        return Err(invalid());
    }
    Ok(networks)
}

/// Decimal digits only.
fn parse_prefix(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Network {
    fn contains(self, client: IpAddr) -> bool {
        let differing = match (self.address, client) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= u32::from(self.prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// As base writes it into its log.
pub(crate) fn short(access: Access) -> &'static str {
    match access {
        Access::ReadWrite => "RW",
        Access::ReadOnly => "RO",
        Access::WriteOnly => "WO",
    }
}

#[cfg(test)]
mod tests;
