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

/// Whatever was there, with a map of more than one write.
#[test]
fn a_new_component_has_an_empty_map_and_untouched_data() {
    for (size, extentsize) in [(SIZE, None), (300 << 20, Some(512))] {
        let file = file(size);
        let component = open(&file);
        let options = CreateOptions {
            extentsize,
            ..CreateOptions::default()
        };
        let metadata = Metadata::create("data", component.provider(), options).unwrap();
        let data = usize::try_from(metadata.localoff).unwrap();
        let ones = vec![0xff; data + 512];
        file.as_file().write_all_at(&ones, 0).unwrap();
        component.initialise(&metadata).unwrap();
        let (read, extents) = component.read_metadata("data").unwrap();
        assert_eq!(read, metadata);
        assert!(component.read_map(extents).unwrap().iter().all(|b| *b == 0));
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(bytes[512..data].iter().all(|b| *b == 0));
        assert!(bytes[data..data + 512] == ones[data..], "data was touched");
    }
}

#[test]
fn what_contradicts_itself_can_be_looked_at() {
    let file = file(SIZE);
    let metadata = create(&open(&file), "data");
    file.as_file().set_len(SIZE / 2).unwrap();
    let component = open(&file);
    assert_eq!(component.peek_metadata("data").unwrap(), metadata);
    let error = component.read_metadata("data").unwrap_err();
    assert!(
        matches!(error.problem(), Problem::Impossible(..)),
        "{error}"
    );
    assert!(component.peek_metadata("other").is_err());
}

/// Without it, create refuses what it is advised for.
#[test]
fn damaged_metadata_are_given_up_by_force_only() {
    let advice = spoilt(100, b"x").advice().unwrap();
    assert!(advice.contains("hastctl create --force data"), "{advice}");
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
    let (metadata, _) = reader.read_metadata("data").unwrap();
    let failed = |step| Problem::Io(step, Errno::EBADF);
    let error = reader.write_metadata(&metadata).unwrap_err();
    assert_eq!(error.problem(), &failed(Step::WriteMetadata));
    let error = reader.initialise(&metadata).unwrap_err();
    assert_eq!(error.problem(), &failed(Step::EraseMetadata));
    assert!(
        error
            .to_string()
            .contains(": cannot erase the old metadata: ")
    );
}
