//! Everything a power cut of both nodes at this moment could leave on their
//! disks, and whether that can be recovered from.
//!
//! The metadata and the map are one sector each, so that all they can be is
//! soon listed. For each combination the nodes meet, in either role: every
//! extent in which their data may differ must then be copied, and from a node
//! that has everything that was flushed. Of two histories none is overwritten.
//! And a node that may call itself consistent is of one state.

use crate::disk::SECTOR;
use crate::node::{DATA, DATA_SECTORS, EXTENT, META, Node, provider, to_usize};
use crate::operator::name;
use crate::world::{Cast, World};
use hast_core::bitmap::Bitmap;
use hast_core::decision::{self, Action, Decision, MapSent, OnImpossible, decide};
use hast_core::metadata::{BLOCK_LENGTH, Consistency, Metadata};
use hast_core::role::SyncSource;
use hast_core::units::{ExtentIndex, ResUid};

/// Metadata and map of a node as they may be found.
struct Image {
    node: usize,
    is_base: bool,
    metadata: Metadata,
    map: Bitmap,
}

pub(crate) fn check(world: &World) -> Result<(), String> {
    let [a, b] = &world.nodes;
    let differ = differing(a, b);
    let may_lose = sources(world);
    let (a, b) = (images(a, 0)?, images(b, 1)?);
    for a in &a {
        for b in &b {
            meet([a, b], &differ, &may_lose)?;
            if world.cast == Cast::Ours {
                meet([b, a], &differ, &may_lose)?;
            }
        }
    }
    for (n, images) in [a, b].iter().enumerate() {
        let consistent = |image: &Image| image.metadata.consistency == Consistency::Consistent;
        if images.iter().any(consistent) {
            world.check_one_state(n)?;
        }
    }
    Ok(())
}

fn images(node: &Node, n: usize) -> Result<Vec<Image>, String> {
    let mut images = Vec::new();
    for metadata in node.disk.versions(0) {
        let mut block = [0; BLOCK_LENGTH];
        block[..SECTOR].copy_from_slice(metadata);
        let metadata = Metadata::decode(&block);
        let metadata = metadata.map_err(|e| format!("{} may find: {e}", name(n)))?;
        let extents = metadata.validate(provider());
        let extents = extents.map_err(|e| format!("{} may find: {e}", name(n)))?;
        for map in node.disk.versions(META / SECTOR) {
            images.push(Image {
                node: n,
                is_base: node.make.is_base,
                metadata: metadata.clone(),
                map: Bitmap::from_map(extents.count(), map),
            });
        }
    }
    Ok(images)
}

/// Per extent: the nodes may have different data.
fn differing(a: &Node, b: &Node) -> Vec<bool> {
    let per_extent = to_usize(EXTENT.into()) / SECTOR;
    let differs = |sector: usize| {
        let at = DATA / SECTOR + sector;
        let (a, b) = (a.disk.versions(at), b.disk.versions(at));
        a.iter().any(|a| b.iter().any(|b| a != b))
    };
    let sectors: Vec<_> = (0..DATA_SECTORS).map(differs).collect();
    let extents = sectors.chunks(per_extent);
    extents.map(|sectors| sectors.contains(&true)).collect()
}

/// Per node: why nothing may be copied from it, if so.
fn sources(world: &World) -> [Option<String>; 2] {
    let truth = match &world.rival {
        Some(rival) if rival.given_up.is_some() => return [None, None],
        Some(rival) if rival.wrote == [true; 2] => {
            let both = "both nodes have data that the other lacks";
            return [Some(both.into()), Some(both.into())];
        }
        Some(rival) if rival.wrote[rival.node] => &rival.checker,
        _ => &world.history,
    };
    let mut truth = truth.clone();
    truth.crashed();
    let now = truth.now();
    [0, 1].map(|n| {
        let values = world.nodes[n].possible_values();
        let mut sectors = values.iter().enumerate();
        let bad = sectors.find_map(|(sector, values)| {
            let value = values.iter().find(|v| !truth.may_read(sector, **v, now));
            value.map(|value| (sector, *value))
        });
        bad.map(|(sector, value)| {
            let history = truth.describe(sector);
            format!("it may have {value} in sector {sector}; writes: {history}")
        })
    })
}

fn meet(
    [primary, secondary]: [&Image; 2],
    differ: &[bool],
    may_lose: &[Option<String>; 2],
) -> Result<(), String> {
    // Without an id it has never met anybody: it draws one and is virgin.
    let Some(resuid) = primary.metadata.resuid else {
        return Ok(());
    };
    let Decision { rule, action } = decided(primary, secondary, resuid);
    let Action::Sync { map, source, .. } = action else {
        return Ok(());
    };
    let stale = primary.metadata.consistency == Consistency::Inconsistent;
    if stale && source == SyncSource::Primary {
        // Base does not know, and our primary refuses.
        return Ok(());
    }
    let source = match source {
        SyncSource::Primary => primary.node,
        SyncSource::Secondary => secondary.node,
    };
    let rule = rule.name();
    if let Some(why) = &may_lose[source] {
        let source = name(source);
        return Err(format!(
            "after a power cut {source} may be copied from ({rule}), but {why}"
        ));
    }
    let copied = |extent: ExtentIndex| match map {
        MapSent::Full => true,
        MapSent::Own | MapSent::None => {
            primary.map.contains(extent) || secondary.map.contains(extent)
        }
    };
    let mut extents = (0..).map(ExtentIndex).zip(differ);
    match extents.find(|(extent, differs)| **differs && !copied(*extent)) {
        None => Ok(()),
        Some((extent, _)) => Err(format!(
            "after a power cut extent {extent} may differ and not be copied ({rule})"
        )),
    }
}

fn decided(primary: &Image, secondary: &Image, resuid: ResUid) -> Decision {
    let p = decision::Primary {
        virgin: false,
        resuid,
        counters: primary.metadata.counters,
        generation: primary.metadata.generation,
        consistency: if secondary.is_base {
            Consistency::Consistent
        } else {
            primary.metadata.consistency
        },
    };
    let s = decision::Secondary {
        resuid: secondary.metadata.resuid,
        counters: secondary.metadata.counters,
        generation: secondary.metadata.generation,
        consistency: secondary.metadata.consistency,
        discard: secondary.metadata.discard,
    };
    decide(&p, &s, OnImpossible::Stop)
}
