//! `hastctl dump`: what the metadata of components say.
//! Facts: spec/hast-disk.md section 4.

use super::human::size;
use super::{find, first, means_all};
use crate::component::{Component, ComponentError};
use crate::config::{Config, Resource};
use crate::log;
use ggate::gate::Access;
use hast_core::metadata::{Consistency, Metadata};
use hast_core::units::{Generation, ResUid};
use serde::Serialize;

/// Base's -1.
const FAILED: u8 = 255;

/// A component, for programs.
#[derive(Serialize)]
struct Dump {
    resource: String,
    datasize: u64,
    extentsize: u32,
    keepdirty: u32,
    localoff: u64,
    resuid: u64,
    localcnt: u64,
    remotecnt: u64,
    prevrole: &'static str,
    /// Not in components last written by base.
    generation: Option<String>,
    consistent: bool,
    discard: bool,
}

pub(super) fn run(config: &Config, names: &[String], json: bool) -> u8 {
    let (resources, mut status) = if means_all(names) {
        (config.resources.iter().collect(), 0)
    } else {
        find(config, names)
    };
    let mut dumps = Vec::new();
    for resource in resources {
        match read(resource) {
            Ok(metadata) if json => dumps.push(dump(resource, &metadata)),
            Ok(metadata) => print(resource, &metadata),
            Err(error) => {
                log::error!("[{}] {error}.", resource.name);
                status = first(status, FAILED);
            }
        }
    }
    if json {
        super::show::print_json(&dumps);
    }
    status
}

fn read(resource: &Resource) -> Result<Metadata, ComponentError> {
    let component = Component::open(&resource.local, Access::ReadOnly)?;
    Ok(component.read_metadata(&resource.name)?.0)
}

fn dump(resource: &Resource, metadata: &Metadata) -> Dump {
    Dump {
        resource: resource.name.clone(),
        datasize: metadata.datasize,
        extentsize: metadata.extentsize,
        keepdirty: metadata.keepdirty,
        localoff: metadata.localoff,
        resuid: metadata.resuid.map_or(0, ResUid::get),
        localcnt: metadata.counters.local,
        remotecnt: metadata.counters.remote,
        prevrole: metadata.prevrole.name(),
        generation: metadata.generation.as_ref().map(Generation::to_string),
        consistent: metadata.consistency == Consistency::Consistent,
        discard: metadata.discard,
    }
}

/// As base prints it.
fn print(resource: &Resource, metadata: &Metadata) {
    println!("resource: {}", resource.name);
    let datasize = metadata.datasize;
    println!("    datasize: {datasize} ({})", size(datasize));
    let extentsize = metadata.extentsize;
    println!("    extentsize: {extentsize} ({})", size(extentsize.into()));
    println!("    keepdirty: {}", metadata.keepdirty);
    println!("    localoff: {}", metadata.localoff);
    println!("    resuid: {}", metadata.resuid.map_or(0, ResUid::get));
    println!("    localcnt: {}", metadata.counters.local);
    println!("    remotecnt: {}", metadata.counters.remote);
    println!("    prevrole: {}", metadata.prevrole.name());
}
