//! The handshake: two connections, two steps each way.
//! Facts: spec/hast-wire.md sections 4 and 5.

use super::MessageError;
use crate::bitmap::MAX_MAP;
use crate::frame;
use crate::metadata::Consistency;
use crate::nv::{Field, Full, Text, Writer, pick};
use crate::payload::{self, PayloadError};
use crate::role::SyncSource;
use crate::units::{Counters, Generation, ResUid, Token, Version};

/// The reason base gives for a split-brain; its primary compares the text to
/// raise its event.
pub const SPLIT_BRAIN: &str = "Split-brain condition!";

/// Longest READ or WRITE any secondary takes, in bytes: MAXPHYS of FreeBSD 12
/// and of 32-bit machines.
pub const BASE_LONGEST: u32 = 128 << 10;

/// Entries of ours, `docs/extensions.md`.
const EXTENSIONS: &str = "hg_extensions";
const LONGEST: &str = "hg_longest";
pub(super) const GENERATION: &str = "hg_generation";
pub(super) const CONSISTENT: &str = "hg_consistent";
const DIRTY: &str = "hg_dirty";

/// What two nodes of ours do differently once both have said so: the primary
/// announces in step 1, the secondary answers with what both know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Extensions(u64);

impl Extensions {
    /// None: what base means.
    pub const NONE: Self = Self(0);
    /// A KEEPALIVE with a `seq` is answered by a reply with that `seq`, so
    /// that a dead peer is noticed while nothing else happens.
    pub const KEEPALIVE_REPLY: Self = Self(1);
    /// The secondary keeps on its own disk which writes it has not confirmed,
    /// so a write may be sent before the primary's dirty bit is stored.
    pub const UNCONFIRMED_MAP: Self = Self(1 << 1);
    /// The primary tells the secondary what to store about its data.
    pub const STATE: Self = Self(1 << 2);
    /// With that it may raise the secondary's own counter: this component is
    /// the one that has everything.
    pub const RAISE: Self = Self(1 << 3);
    /// All that exist.
    pub const ALL: Self =
        Self(Self::KEEPALIVE_REPLY.0 | Self::UNCONFIRMED_MAP.0 | Self::STATE.0 | Self::RAISE.0);

    /// From [`Self::bits`]; unknown ones are kept and mean nothing.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of `hg_extensions`.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn read(field: &Field<'_>) -> Result<Self, MessageError> {
        Ok(Self(field.optional()?.unwrap_or(0)))
    }

    fn write(self, writer: &mut Writer<'_>) {
        writer.put_some(EXTENSIONS, (self != Self::NONE).then_some(self.0));
    }
}

/// The first message on an accepted connection: which one decides whether the
/// connection is A or B.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening<'a> {
    /// A: a primary begins.
    Step1(Step1Request<'a>),
    /// B: it goes on with the token it was given.
    Step2(Step2Request<'a>),
}

impl<'a> Opening<'a> {
    /// Reads the message. The presence of `token` makes it step 2.
    pub fn decode(entries: &'a [u8]) -> Result<Self, MessageError> {
        let [
            resource,
            version,
            token,
            virgin,
            resuid,
            local,
            remote,
            extensions,
            generation,
            consistent,
            dirty,
        ] = pick(
            entries,
            [
                "resource",
                "version",
                "token",
                "virgin",
                "resuid",
                "localcnt",
                "remotecnt",
                EXTENSIONS,
                GENERATION,
                CONSISTENT,
                DIRTY,
            ],
        )?;
        let resource = resource.get()?;
        if !token.is_present() {
            return Ok(Self::Step1(Step1Request {
                resource,
                version: version.optional()?.unwrap_or(0),
                extensions: Extensions::read(&extensions)?,
            }));
        }
        Ok(Self::Step2(Step2Request {
            resource,
            token: read_token(&token)?,
            virgin: virgin.is_present(),
            resuid: ResUid::new(resuid.get()?).ok_or(MessageError::Value("resuid"))?,
            counters: Counters {
                local: local.get()?,
                remote: remote.get()?,
            },
            generation: read_generation(&generation)?,
            consistency: read_consistency(&consistent)?,
            dirty: dirty.optional()?,
        }))
    }
}

/// Step 1, primary to secondary: may I?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step1Request<'a> {
    /// Name of the resource.
    pub resource: Text<'a>,
    /// Highest version the primary speaks; 0 if it did not say, which
    /// [`Version::negotiate`] takes as 1.
    pub version: u8,
    /// Extensions the primary knows.
    pub extensions: Extensions,
}

impl Step1Request<'_> {
    /// Writes the message. Its header always says version 1: a peer that was
    /// downgraded refuses more.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, Version::V1, |w| {
            w.put("resource", self.resource);
            w.put_some("version", (self.version != 0).then_some(self.version));
            self.extensions.write(w);
        })
    }
}

/// Answer to step 1; the refusal also answers a bad step 2, on B.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step1Reply<'a> {
    /// Go on with step 2.
    Accepted {
        /// The version that will be spoken.
        version: Version,
        /// To be shown in step 2; random, new for every step 1.
        token: Token,
        /// Extensions both know.
        extensions: Extensions,
    },
    /// No.
    Refused {
        /// Why, for the log.
        reason: Text<'a>,
        /// The refusing node is primary itself: try again for a while.
        wait: bool,
    },
}

impl<'a> Step1Reply<'a> {
    /// Reads the message.
    pub fn decode(entries: &'a [u8]) -> Result<Self, MessageError> {
        let [version, token, reason, wait, extensions] =
            pick(entries, ["version", "token", "errmsg", "wait", EXTENSIONS])?;
        if let Some(reason) = reason.optional()? {
            return Ok(Self::Refused {
                reason,
                wait: wait.is_present(),
            });
        }
        let version = version.optional()?.unwrap_or(0);
        if version > Version::MAX.to_byte() {
            return Err(MessageError::Value("version"));
        }
        Ok(Self::Accepted {
            version: Version::negotiate(version),
            token: read_token(&token)?,
            extensions: Extensions::read(&extensions)?,
        })
    }

    /// Writes the message. Refusals go out with our own maximum in the
    /// header, as base's do.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        match self {
            Self::Accepted {
                version,
                token,
                extensions,
            } => frame::write(buffer, *version, |w| {
                w.put("version", version.to_byte());
                w.put("token", token.0.as_slice());
                extensions.write(w);
            }),
            Self::Refused { reason, wait } => frame::write(buffer, Version::MAX, |w| {
                w.put("errmsg", *reason);
                w.put_some("wait", wait.then_some(1u8));
            }),
        }
    }
}

/// Step 2, primary to secondary: what I have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step2Request<'a> {
    /// Name of the resource.
    pub resource: Text<'a>,
    /// The token from step 1.
    pub token: Token,
    /// The primary has just drawn the resource's id.
    pub virgin: bool,
    /// The resource's id.
    pub resuid: ResUid,
    /// The primary's counters.
    pub counters: Counters,
    /// State of the primary's data; absent from base.
    pub generation: Option<Generation>,
    /// Whether the primary's component is in one piece; base does not know.
    pub consistency: Consistency,
    /// Bytes it may have changed since both were the same; absent from base.
    pub dirty: Option<u64>,
}

impl Step2Request<'_> {
    /// Writes the message.
    pub fn encode(&self, version: Version, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, version, |w| {
            w.put("resource", self.resource);
            w.put("token", self.token.0.as_slice());
            w.put_some("virgin", self.virgin.then_some(1i8));
            w.put("resuid", self.resuid.get());
            w.put("localcnt", self.counters.local);
            w.put("remotecnt", self.counters.remote);
            w.put_some(GENERATION, self.generation.map(Generation::get));
            write_consistency(self.consistency, w);
            w.put_some(DIRTY, self.dirty);
        })
    }
}

/// What a secondary says about itself in the answer to step 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// Bytes of the data area, at most `i64::MAX`.
    pub datasize: u64,
    /// Bytes of an extent, at most `i32::MAX`.
    pub extentsize: u32,
    /// The secondary's counters.
    pub counters: Counters,
    /// The secondary had no id for the resource.
    pub virgin: bool,
    /// State of the secondary's data; absent from base.
    pub generation: Option<Generation>,
    /// Whether the secondary's component is in one piece.
    pub consistency: Consistency,
    /// Longest READ or WRITE it takes, in bytes; [`BASE_LONGEST`] unless it
    /// says more.
    pub longest: u32,
    /// Bytes it may have changed since both were the same; absent from base.
    pub dirty: Option<u64>,
}

/// The dirty map behind the answer to step 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Map {
    /// Bytes of the map, 1 to [`MAX_MAP`].
    pub size: u32,
    /// How it travels.
    pub payload: payload::Header,
}

/// Answer to step 2, on A: who copies from whom, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step2Reply<'a> {
    /// Connected.
    Accepted {
        /// The secondary.
        node: Node,
        /// Whose data is copied.
        source: SyncSource,
        /// The map that follows; none if both are new.
        map: Option<Map>,
    },
    /// No.
    Refused {
        /// The secondary, as far as it said before it refused.
        node: Option<Node>,
        /// Why; [`SPLIT_BRAIN`] is one.
        reason: Text<'a>,
    },
}

const REPLY: [&str; 16] = [
    "datasize",
    "extentsize",
    "localcnt",
    "remotecnt",
    "virgin",
    GENERATION,
    CONSISTENT,
    LONGEST,
    DIRTY,
    "errmsg",
    "syncsrc",
    "mapsize",
    payload::NAMES[0],
    payload::NAMES[1],
    payload::NAMES[2],
    payload::NAMES[3],
];

impl<'a> Step2Reply<'a> {
    /// Reads the message.
    pub fn decode(entries: &'a [u8]) -> Result<Self, MessageError> {
        let [
            datasize,
            extentsize,
            local,
            remote,
            virgin,
            generation,
            consistent,
            longest,
            dirty,
            reason,
            source,
            mapsize,
            payload @ ..,
        ] = pick(entries, REPLY)?;
        let node = || {
            let longest = longest.optional()?.unwrap_or(BASE_LONGEST);
            if longest < BASE_LONGEST {
                return Err(MessageError::Value(LONGEST));
            }
            Ok(Node {
                datasize: u64::try_from(datasize.get::<i64>()?)
                    .map_err(|_| MessageError::Value("datasize"))?,
                extentsize: u32::try_from(extentsize.get::<i32>()?)
                    .map_err(|_| MessageError::Value("extentsize"))?,
                counters: Counters {
                    local: local.get()?,
                    remote: remote.get()?,
                },
                virgin: virgin.is_present(),
                generation: read_generation(&generation)?,
                consistency: read_consistency(&consistent)?,
                longest,
                dirty: dirty.optional()?,
            })
        };
        if let Some(reason) = reason.optional()? {
            return Ok(Self::Refused {
                node: node().ok(),
                reason,
            });
        }
        let payload = payload::Header::read(&payload)?;
        Ok(Self::Accepted {
            node: node()?,
            source: SyncSource::from_byte(source.get()?).ok_or(MessageError::Value("syncsrc"))?,
            map: read_map(mapsize.get()?, payload)?,
        })
    }

    /// Writes the message; the map's payload follows it.
    pub fn encode(&self, version: Version, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, version, |w| match self {
            Self::Accepted { node, source, map } => {
                write_node(node, w);
                w.put("syncsrc", source.to_byte());
                w.put("mapsize", map.map_or(0, |map| map.size));
                if let Some(map) = map {
                    map.payload.write(w);
                }
            }
            Self::Refused { node, reason } => {
                if let Some(node) = node {
                    write_node(node, w);
                }
                w.put("errmsg", *reason);
            }
        })
    }
}

fn write_node(node: &Node, w: &mut Writer<'_>) {
    w.put("datasize", node.datasize.cast_signed());
    w.put("extentsize", node.extentsize.cast_signed());
    w.put("localcnt", node.counters.local);
    w.put("remotecnt", node.counters.remote);
    w.put_some("virgin", node.virgin.then_some(1i8));
    w.put_some(GENERATION, node.generation.map(Generation::get));
    write_consistency(node.consistency, w);
    w.put_some(
        LONGEST,
        (node.longest > BASE_LONGEST).then_some(node.longest),
    );
    w.put_some(DIRTY, node.dirty);
}

fn read_map(size: u32, payload: payload::Header) -> Result<Option<Map>, MessageError> {
    if size > MAX_MAP {
        return Err(MessageError::Value("mapsize"));
    }
    if size == 0 {
        // Bytes nobody asked for would be taken for the next message.
        return match payload.size {
            0 => Ok(None),
            _ => Err(PayloadError::Length.into()),
        };
    }
    payload.check(size.into())?;
    Ok(Some(Map { size, payload }))
}

fn read_token(field: &Field<'_>) -> Result<Token, MessageError> {
    let token = field.get::<&[u8]>()?.try_into();
    token.map(Token).map_err(|_| MessageError::Value("token"))
}

pub(super) fn read_generation(field: &Field<'_>) -> Result<Option<Generation>, MessageError> {
    Ok(field.optional()?.and_then(Generation::new))
}

pub(super) fn read_consistency(field: &Field<'_>) -> Result<Consistency, MessageError> {
    Consistency::from_entry(field.optional()?).ok_or(MessageError::Value(CONSISTENT))
}

fn write_consistency(consistency: Consistency, w: &mut Writer<'_>) {
    // Nothing is said where base would say nothing either.
    w.put_some(
        CONSISTENT,
        (consistency == Consistency::Inconsistent).then_some(consistency.to_byte()),
    );
}

#[cfg(test)]
mod tests;
