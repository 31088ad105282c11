use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const EXTENT: u64 = 2 << 20;

fn map(keepdirty: u32) -> ActiveMap {
    let extents = Extents::new(67_104_256, 2 << 20).unwrap();
    ActiveMap::load(extents, 512, keepdirty, &[0; 512])
}

fn block(extent: u64) -> ByteRange {
    ByteRange::new(extent * EXTENT, 4096).unwrap()
}

fn store(map: &mut ActiveMap) -> bool {
    let flush = map.has_changed();
    map.begin_store(|_| {});
    map.store_done(true);
    flush
}

fn image(map: &ActiveMap) -> [u8; 4] {
    let mut bytes = [0; 4];
    map.image().write_map(0, &mut bytes);
    bytes
}

fn flush(map: &mut ActiveMap) {
    assert!(map.flush_started());
    map.flush_finished(true);
}

/// spec/vectors-hast.md section 9, computed by base. Ours differs on purpose
/// in what ends: base clears bits when writes end, we after a flush, and an
/// extent that leaves the list is not written out for that alone.
#[test]
fn a_sequence_of_writes_ends_in_the_image_of_base() {
    let mut map = map(3);
    let starts = [
        (0, true, [0x01, 0, 0, 0], 1),
        (9, true, [0x01, 0x02, 0, 0], 2),
        (31, true, [0x01, 0x02, 0, 0x80], 3),
        (5, true, [0x21, 0x02, 0, 0x80], 4),
        (9, false, [0x21, 0x02, 0, 0x80], 4),
        (7, true, [0xa1, 0x02, 0, 0x80], 5),
    ];
    for (extent, stores, expected, dirty) in starts {
        map.write_started(block(extent));
        assert_eq!(store(&mut map), stores, "start {extent}");
        assert!(map.is_durable(block(extent)));
        assert_eq!(image(&map), expected, "start {extent}");
        assert_eq!(map.dirty_bytes(), dirty * EXTENT);
    }
    let ends = [(0, 4), (9, 4), (31, 3), (5, 2), (9, 1), (7, 0)];
    for (extent, dirty) in ends {
        map.write_finished(block(extent), Finished::OnBoth);
        assert_eq!(map.dirty_bytes(), dirty * EXTENT, "done {extent}");
    }
    assert_eq!(image(&map), [0xa1, 0x02, 0, 0x80], "nothing was flushed");
    flush(&mut map);
    assert_eq!(image(&map), [0xa0, 0x02, 0, 0]);
    let peer = Bitmap::from_map(32, &[0, 2, 0, 0x80, 0, 0, 0, 0]);
    map.merge(&peer);
    assert_eq!(image(&map), [0xa0, 0x02, 0, 0x80]);
    assert_eq!(map.dirty_bytes(), 2 * EXTENT);
    assert_eq!(map.next_to_sync(ExtentIndex(0)), Some(ExtentIndex(9)));
    assert_eq!(map.next_to_sync(ExtentIndex(10)), Some(ExtentIndex(31)));
}

/// K1: base forgot writes that were in flight when the connection broke, and
/// writes the secondary refused.
#[test]
fn a_write_that_failed_somewhere_is_not_forgotten() {
    let mut map = map(0);
    map.write_started(block(1));
    store(&mut map);
    map.write_finished(block(1), Finished::MayDiffer);
    flush(&mut map);
    assert!(map.may_differ(block(1)) && map.is_durable(block(1)));
    assert_eq!(map.dirty_bytes(), EXTENT);
}

/// A confirmed write may still be in the peer's cache when it loses power.
#[test]
fn what_the_peer_had_not_flushed_is_synchronised_when_it_comes_back() {
    let mut map = map(0);
    for extent in [1, 2, 3] {
        map.write_started(block(extent));
        map.write_finished(block(extent), Finished::OnBoth);
        if extent == 1 {
            flush(&mut map);
        }
        if extent == 2 {
            assert!(map.flush_started());
        }
    }
    map.cache_lost();
    map.flush_finished(false);
    let differ = [1, 2, 3].map(|extent| map.may_differ(block(extent)));
    assert_eq!(differ, [false, true, true]);
}

/// The bit of a write that ends during a flush is not covered by it.
#[test]
fn a_flush_covers_only_what_came_before_it() {
    let mut map = map(0);
    map.write_started(block(1));
    map.write_started(block(2));
    map.write_finished(block(1), Finished::OnBoth);
    assert!(map.flush_started());
    assert!(!map.flush_started(), "a second one does not count");
    map.write_finished(block(2), Finished::OnBoth);
    map.flush_finished(true);
    assert_eq!(image(&map), [1 << 2, 0, 0, 0]);
    flush(&mut map);
    assert_eq!(image(&map), [0; 4]);
    assert!(!map.wants_flush());
}

/// A write that fails on one side while its extent is being copied.
#[test]
fn copying_that_was_overtaken_is_done_again() {
    let mut map = map(0);
    map.must_sync(block(1));
    map.sync_started(ExtentIndex(1));
    map.write_started(block(1));
    map.write_finished(block(1), Finished::MayDiffer);
    assert!(!map.sync_finished(ExtentIndex(1)));
    assert_eq!(map.sync_left(), 1);
    map.sync_started(ExtentIndex(1));
    assert!(map.sync_finished(ExtentIndex(1)));
    assert_eq!((map.sync_left(), map.dirty_bytes()), (0, 0));
    assert_eq!(image(&map), [1 << 1, 0, 0, 0], "until it is flushed");
    flush(&mut map);
    assert_eq!(image(&map), [0; 4]);
}

#[test]
fn after_a_restart_everything_dirty_is_synchronised() {
    let extents = Extents::new(67_104_256, 2 << 20).unwrap();
    let mut bytes = [0; 512];
    bytes[0] = 0x81;
    // Bits of extents that do not exist: 32 and up.
    bytes[4] = 0xff;
    let map = ActiveMap::load(extents, 512, 64, &bytes);
    assert_eq!((map.sync_left(), map.dirty_bytes()), (2, 2 * EXTENT));
    assert!(map.is_durable(block(0)) && !map.is_durable(block(1)));
}

#[derive(Clone, Debug)]
enum Step {
    Start(u64, u64),
    Finish(prop::sample::Index, bool),
    MustSync(u64),
    SyncStart(u64),
    SyncFinish(u64),
    FlushStart,
    FlushFinish(bool),
    CacheLost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..10, 1u64..3).prop_map(|(first, n)| Step::Start(first, n)),
        5 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(i, b)| Step::Finish(i, b)),
        1 => (0u64..10).prop_map(Step::MustSync),
        2 => (0u64..10).prop_map(Step::SyncStart),
        2 => (0u64..10).prop_map(Step::SyncFinish),
        3 => Just(Step::FlushStart),
        3 => any::<bool>().prop_map(Step::FlushFinish),
        1 => Just(Step::CacheLost),
    ]
}

/// Every reason kept apart, by the time things happened.
#[derive(Default)]
struct Model {
    clock: u64,
    pending: Vec<(u64, u64)>,
    sync: BTreeMap<u64, bool>,
    /// When the extent was last confirmed by both.
    confirmed: BTreeMap<u64, u64>,
    /// When the last flush began that both confirmed, and the one under way.
    flushed: u64,
    flushing: Option<u64>,
    kept: Vec<u64>,
}

impl Model {
    fn is_dirty(&self, extent: u64) -> bool {
        self.sync.contains_key(&extent)
            || self
                .pending
                .iter()
                .any(|(a, n)| (*a..a + n).contains(&extent))
    }

    fn on_disk(&self, extent: u64) -> bool {
        let confirmed = self.confirmed.get(&extent);
        self.is_dirty(extent)
            || confirmed.is_some_and(|time| *time > self.flushed)
            || self.kept.contains(&extent)
    }

    fn keep(&mut self, extent: u64, limit: usize) {
        self.kept.retain(|e| *e != extent);
        self.kept.insert(0, extent);
        self.kept.truncate(limit);
    }
}

proptest! {
    #[test]
    fn the_map_is_dirty_for_exactly_the_reasons_there_are(
        limit in 0usize..4,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let extents = Extents::new(12 * 512, 512).unwrap();
        let mut map = ActiveMap::load(extents, 512, u32::try_from(limit).unwrap(), &[0; 512]);
        let mut model = Model::default();
        let range = |first: u64, n: u64| ByteRange::new(first * 512, n * 512).unwrap();
        for step in steps {
            model.clock += 1;
            match step {
                Step::Start(first, n) => {
                    map.write_started(range(first, n));
                    model.pending.push((first, n));
                    for extent in first..first + n {
                        model.keep(extent, limit);
                    }
                }
                Step::Finish(at, fine) if !model.pending.is_empty() => {
                    let (first, n) = model.pending.remove(at.index(model.pending.len()));
                    let how = if fine { Finished::OnBoth } else { Finished::MayDiffer };
                    map.write_finished(range(first, n), how);
                    for extent in first..first + n {
                        model.confirmed.insert(extent, model.clock);
                        if !fine {
                            model.sync.insert(extent, false);
                        }
                    }
                }
                Step::MustSync(extent) => {
                    map.must_sync(range(extent, 1));
                    model.sync.insert(extent, false);
                }
                Step::SyncStart(extent) => {
                    if let Some(copying) = model.sync.get_mut(&extent) {
                        *copying = true;
                        map.sync_started(ExtentIndex(extent));
                    }
                }
                Step::SyncFinish(extent) => {
                    let fine = model.sync.get(&extent) == Some(&true);
                    prop_assert_eq!(map.sync_finished(ExtentIndex(extent)), fine);
                    if fine {
                        model.sync.remove(&extent);
                        model.confirmed.insert(extent, model.clock);
                    }
                }
                Step::FlushStart => {
                    let counts = model.flushing.is_none();
                    prop_assert_eq!(map.flush_started(), counts);
                    model.flushing.get_or_insert(model.clock);
                }
                Step::FlushFinish(confirmed) => {
                    if let Some(began) = model.flushing.take() {
                        map.flush_finished(confirmed);
                        if confirmed {
                            model.flushed = began;
                        }
                    }
                }
                Step::CacheLost => {
                    // The shell reports a flush under way as failed.
                    map.cache_lost();
                    if model.flushing.take().is_some() {
                        map.flush_finished(false);
                    }
                    for copying in model.sync.values_mut() {
                        *copying = false;
                    }
                    for (extent, time) in &model.confirmed {
                        if *time > model.flushed {
                            model.sync.insert(*extent, false);
                        }
                    }
                }
                Step::Finish(..) => {}
            }
            let dirty = (0..12).filter(|e| model.is_dirty(*e)).count();
            prop_assert_eq!(map.dirty_bytes(), crate::length(dirty) * 512);
            for extent in 0..12 {
                prop_assert_eq!(
                    map.image().contains(ExtentIndex(extent)), model.on_disk(extent),
                    "extent {}", extent
                );
            }
        }
    }
}
