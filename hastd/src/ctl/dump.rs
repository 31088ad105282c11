//! `hastctl dump`: what the metadata of components say.
//! Facts: spec/hast-disk.md section 4.

use super::failure::Failure;
use super::human::{sentence, size};
use super::output::print;
use super::{find_or_all, first, json, means_all};
use crate::component::{Component, ComponentError};
use crate::config::{Config, Resource};
use crate::log;
use ggate::gate::Access;
use hast_core::metadata::Metadata;
use hast_core::units::ResUid;

/// Base's -1.
const FAILED: u8 = 255;

pub(super) fn run(config: &Config, names: &[String], as_json: bool) -> Result<u8, Failure> {
    let (resources, mut status) = find_or_all(config, names);
    let mut documents = if means_all(names) {
        Vec::new()
    } else {
        json::unknown(config, names)
    };
    for resource in resources {
        let metadata = peek(resource);
        match &metadata {
            Ok(metadata) if as_json => {
                documents.push(json::Resource::of_component(resource, metadata));
            }
            Ok(metadata) => print(&text(resource, metadata))?,
            Err(error) => {
                let why = sentence(error);
                log::error!("[{}] Unable to read metadata: {why}", resource.name);
                status = first(status, FAILED);
                documents.push(json::Resource::of_failure(resource, -1, error));
            }
        }
    }
    if as_json {
        json::print_resources(documents)?;
    }
    Ok(status)
}

/// Shows also what cannot be used, as base does, but says so.
fn peek(resource: &Resource) -> Result<Metadata, ComponentError> {
    let component = Component::open(&resource.local, Access::ReadOnly)?;
    let metadata = component.peek_metadata(&resource.name)?;
    if let Err(error) = component.read_metadata(&resource.name) {
        log::warning!("[{}] {}", resource.name, sentence(&error));
    }
    Ok(metadata)
}

/// As base prints it.
fn text(resource: &Resource, metadata: &Metadata) -> String {
    let Metadata {
        datasize,
        extentsize,
        keepdirty,
        localoff,
        counters,
        prevrole,
        ..
    } = metadata;
    let (name, resuid) = (&resource.name, metadata.resuid.map_or(0, ResUid::get));
    let data = size(*datasize);
    let extent = size((*extentsize).into());
    let (localcnt, remotecnt) = (counters.local, counters.remote);
    format!(
        "resource: {name}
    datasize: {datasize} ({data})
    extentsize: {extentsize} ({extent})
    keepdirty: {keepdirty}
    localoff: {localoff}
    resuid: {resuid}
    localcnt: {localcnt}
    remotecnt: {remotecnt}
    prevrole: {prevrole}
"
    )
}
