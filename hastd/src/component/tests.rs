use super::*;
use hast_core::metadata::CreateOptions;
use std::os::unix::fs::FileExt as _;
use tempfile::NamedTempFile;

const SIZE: u64 = 64 << 20;

fn file(size: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

fn open(file: &NamedTempFile) -> Component {
    Component::open(file.path(), Access::ReadWrite).unwrap()
}

fn create(component: &Component, name: &str) -> Metadata {
    let options = CreateOptions::default();
    let metadata = Metadata::create(name, component.provider(), options).unwrap();
    component.write_metadata(&metadata).unwrap();
    metadata
}

/// A component of resource `data`, with bytes over its metadata.
fn spoilt(offset: u64, bytes: &[u8]) -> Problem {
    let file = file(SIZE);
    create(&open(&file), "data");
    file.as_file().write_all_at(bytes, offset).unwrap();
    let before = std::fs::read(file.path()).unwrap();
    let error = open(&file).read_metadata("data").unwrap_err();
    assert!(before == std::fs::read(file.path()).unwrap(), "overwritten");
    let text = error.to_string();
    assert!(
        text.starts_with(&file.path().display().to_string()),
        "{text}"
    );
    error.problem().clone()
}

#[test]
fn what_was_written_is_read() {
    let file = file(SIZE);
    let component = open(&file);
    let metadata = create(&component, "data");
    let (read, extents) = component.read_metadata("data").unwrap();
    assert_eq!((read, extents.count()), (metadata, 32));
    let reader = Component::open(file.path(), Access::ReadOnly).unwrap();
    assert!(reader.read_metadata("data").is_ok());
    assert_eq!(reader.path(), file.path());
    assert_eq!(reader.identity(), component.identity());
}

#[test]
fn a_zeroed_map_ends_where_the_data_begins() {
    let file = file(SIZE);
    let component = open(&file);
    create(&component, "data");
    let (_, extents) = component.read_metadata("data").unwrap();
    file.as_file().write_all_at(&[0xff; 8192], BLOCK).unwrap();
    assert_eq!(component.read_map(extents).unwrap(), [0xff; 512]);
    component.zero_map(extents).unwrap();
    assert_eq!(component.read_map(extents).unwrap(), [0; 512]);
    let data = component.read_metadata("data").unwrap().0.localoff;
    let mut byte = [0];
    file.as_file().read_exact_at(&mut byte, data).unwrap();
    assert_eq!(byte, [0xff]);
}

#[test]
fn a_map_longer_than_one_write_is_zeroed_whole() {
    let file = file(300 << 20);
    let component = open(&file);
    let options = CreateOptions {
        extentsize: Some(512),
        ..CreateOptions::default()
    };
    let metadata = Metadata::create("data", component.provider(), options).unwrap();
    component.write_metadata(&metadata).unwrap();
    let (_, extents) = component.read_metadata("data").unwrap();
    assert!(extents.map_size(512) > ZEROS.len() as u64);
    let ones = vec![0xff; usize::try_from(metadata.localoff - BLOCK + 512).unwrap()];
    file.as_file().write_all_at(&ones, BLOCK).unwrap();
    component.zero_map(extents).unwrap();
    assert!(component.read_map(extents).unwrap().iter().all(|b| *b == 0));
    let mut byte = [0];
    file.as_file()
        .read_exact_at(&mut byte, metadata.localoff)
        .unwrap();
    assert_eq!(byte, [0xff]);
}

/// One message for each, which says what to do.
#[test]
fn what_cannot_be_used_is_told_apart() {
    assert_eq!(
        spoilt(0, &[0; 4096]),
        Problem::NotInitialised("data".into())
    );
    assert_eq!(spoilt(0, &[0x5a; 4096]), Problem::NoMetadata("data".into()));
    let torn = spoilt(100, &[0x5a; 100]);
    assert!(matches!(torn, Problem::Damaged(..)), "{torn}");
    let checksum = spoilt(40, &[1]);
    assert!(
        matches!(checksum, Problem::Damaged(_, MetadataError::Checksum)),
        "{checksum}"
    );
    let short = file(4095);
    let error = open(&short).read_metadata("data").unwrap_err();
    assert_eq!(error.problem(), &Problem::TooShort);
}

#[test]
fn a_component_of_another_resource_is_named() {
    let file = file(SIZE);
    create(&open(&file), "other");
    let error = open(&file).read_metadata("data").unwrap_err();
    assert_eq!(
        error.problem(),
        &Problem::Foreign("data".into(), "other".into())
    );
}

/// K2 and K16: numbers on disk are not to be trusted.
#[test]
fn metadata_beyond_the_end_are_refused_both_ways() {
    let file = file(SIZE);
    let component = open(&file);
    let metadata = create(&component, "data");
    file.as_file().set_len(SIZE / 2).unwrap();
    let smaller = open(&file);
    let impossible = Problem::Impossible("data".into(), MetadataError::BeyondProvider);
    let read = smaller.read_metadata("data").unwrap_err();
    assert_eq!(read.problem(), &impossible);
    let written = smaller.write_metadata(&metadata).unwrap_err();
    assert_eq!(written.problem(), &impossible);
}

#[test]
fn only_one_holds_the_lock() {
    let file = file(SIZE);
    let mut first = open(&file);
    assert_eq!(first.lock().unwrap(), Lock::Held);
    let mut second = open(&file);
    let error = second.lock().unwrap_err();
    assert_eq!(error.problem(), &Problem::Locked);
    assert!(error.to_string().contains("is hastd serving it?"));
    drop(first);
    assert_eq!(second.lock().unwrap(), Lock::Held);
}

#[test]
fn what_is_no_component_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("missing")] {
        let error = Component::open(path, Access::ReadOnly).unwrap_err();
        assert!(matches!(error.problem(), Problem::Open(_)), "{error}");
    }
}

#[test]
fn failures_name_the_step() {
    let file = file(SIZE);
    create(&open(&file), "data");
    let reader = Component::open(file.path(), Access::ReadOnly).unwrap();
    let (metadata, extents) = reader.read_metadata("data").unwrap();
    let failed = |step| Problem::Io(step, Errno::EBADF);
    let error = reader.write_metadata(&metadata).unwrap_err();
    assert_eq!(error.problem(), &failed(Step::WriteMetadata));
    let error = reader.zero_map(extents).unwrap_err();
    assert_eq!(error.problem(), &failed(Step::WriteMap));
    assert!(error.to_string().contains(": cannot write the dirty map: "));
}
