//! What lies on disk.

use crate::replay::Summary;
use crate::{assert_same_entries, decoded, list, name, text};
use hast_core::bitmap::Bitmap;
use hast_core::metadata::{BLOCK_LENGTH, Consistency, Metadata, Provider};
use hast_core::nv::Entries;
use std::fs;
use std::io;
use std::path::Path;

/// Replays the first 8192 bytes of each component of a scenario.
pub(crate) fn replay(scenario: &Path, sum: &mut Summary) -> io::Result<()> {
    let files = list(scenario);
    for path in files
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "bin"))
    {
        let bytes = fs::read(path)?;
        let (block, map) = bytes.split_first_chunk::<BLOCK_LENGTH>().unwrap();
        let metadata = check_metadata(path, block);
        check_map(path, &metadata, &map[..512]);
        sum.files += 1;
        sum.blocks += 1;
    }
    Ok(())
}

fn check_metadata(path: &Path, block: &[u8; BLOCK_LENGTH]) -> Metadata {
    let shown: Vec<String> = Entries::new(block)
        .map(|entry| text::entry(&entry.unwrap()))
        .collect();
    let decoded = decoded(path);
    let said: Vec<&str> = decoded.lines().take_while(|l| l.contains(':')).collect();
    assert_eq!(shown, said[..shown.len()], "{}", path.display());

    let metadata = Metadata::decode(block).unwrap();
    assert_eq!(metadata.generation, None);
    assert_eq!(metadata.consistency, Consistency::Consistent);
    let provider = Provider {
        mediasize: metadata.localoff + metadata.datasize,
        sectorsize: 512,
    };
    metadata.validate(provider).unwrap();

    // Base's entries come first and as base writes them, then ours, and base
    // finds nothing it would not find in its own block.
    let used = used(block);
    let mut ours = [0xaa; BLOCK_LENGTH];
    metadata.encode(&mut ours).unwrap();
    assert_same_entries(&ours[..used], &block[..used], name(path));
    assert_eq!(Metadata::decode(&ours).unwrap(), metadata);
    let added = Entries::new(&ours[used..]).map(|e| e.unwrap().name().to_vec());
    assert!(added.eq([b"hg_consistent".to_vec(), b"hg_crc32".to_vec()]));
    metadata
}

/// Bytes the entries take.
fn used(block: &[u8]) -> usize {
    Entries::new(block)
        .map(|entry| {
            let entry = entry.unwrap();
            let name = (entry.name().len() + 1).next_multiple_of(8);
            6 + name + entry.data().len().next_multiple_of(8)
        })
        .sum()
}

fn check_map(path: &Path, metadata: &Metadata, map: &[u8]) {
    let extents = metadata.datasize.div_ceil(metadata.extentsize.into());
    let bitmap = Bitmap::from_map(extents, map);
    let mut ours = [0xaa; 512];
    bitmap.write_map(0, &mut ours);
    assert_eq!(ours, map, "{}", path.display());
    let nonzero = (0usize..).zip(ours).filter(|(_, byte)| *byte != 0);
    let ours: Vec<String> = nonzero.map(|(n, byte)| format!("{n}:{byte:02x}")).collect();
    let decoded = decoded(path);
    let line = decoded.lines().find(|l| l.starts_with("activemap nonzero"));
    let (_, said) = line.unwrap().split_once(": ").unwrap();
    assert_eq!(ours.join(" "), said.trim(), "{}", path.display());
}
