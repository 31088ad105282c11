//! The schema as `docs/json.md` promises it.

use super::*;
use hast_core::message::ControlCode;
use hast_core::metadata::{CreateOptions, Provider};
use hast_core::nv::Text;
use serde_json::{Value, json};
use std::path::PathBuf;

fn shown(resource: Resource) -> Value {
    let text = document(vec![resource]).unwrap();
    assert!(text.ends_with("}\n"));
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let resource = document["resources"][0].take();
    assert_eq!(document, json!({"resources": [null]}));
    resource
}

fn reply<'a>(worker: Option<WorkerStatus<'a>>, report: Option<&'a str>) -> ResourceReply<'a> {
    ResourceReply {
        name: "data".into(),
        role: Some("primary".into()),
        status: Some(StatusReply {
            provname: "data".into(),
            localpath: "/dev/da0".into(),
            remoteaddr: "tcp4://10.0.0.2".into(),
            sourceaddr: None,
            replication: "memsync".into(),
            checksum: "none".into(),
            compression: "hole".into(),
            workerpid: worker.map_or(0, |_| 1234),
            worker,
        }),
        report: report.map(Text::from),
        ..ResourceReply::default()
    }
}

fn counted() -> Status {
    Status {
        complete: true,
        dirty: 4096,
        extentsize: 2 << 20,
        keepdirty: 64,
        statistics: Statistics {
            reads: 1,
            ..Statistics::default()
        },
        queues: Queues {
            idle: 255,
            ..Queues::default()
        },
        report: status::Report {
            state: "synchronizing".into(),
            reason: "why".into(),
            since: 9,
            next: "what".into(),
            dirty_here: Some(4096),
            dirty_there: None,
            sync: Some(status::Sync {
                source: "primary".into(),
                left: 1,
                copied: 2,
                rate: 3,
                eta: None,
            }),
            last_error: Some(("lost".into(), 5)),
        },
    }
}

#[test]
fn ours_tells_everything() {
    let told = Told {
        status: counted(),
        daemon: Supervision {
            role: "primary".into(),
            final_role: "init".into(),
            workerpid: 1234,
            ready: true,
            restarts: 2,
            last_exit: Some(("was killed".into(), 60)),
            last_refusal: None,
        },
    };
    let report = serde_json::to_string(&told).unwrap();
    let worker = WorkerStatus {
        status: "complete".into(),
        ..WorkerStatus::default()
    };
    let resource = Resource::of_reply(&reply(Some(worker), Some(&report)));
    assert_eq!(
        shown(resource),
        json!({
            "name": "data",
            "role": "primary",
            "becoming": "init",
            "provname": "data",
            "localpath": "/dev/da0",
            "remoteaddr": "tcp4://10.0.0.2",
            "sourceaddr": null,
            "replication": "memsync",
            "checksum": "none",
            "compression": "hole",
            "status": "complete",
            "workerpid": 1234,
            "ready": true,
            "extentsize": 2_097_152,
            "keepdirty": 64,
            "dirty": 4096,
            "statistics": {
                "reads": 1, "writes": 0, "deletes": 0, "flushes": 0, "activemap_updates": 0,
                "read_errors": 0, "write_errors": 0, "delete_errors": 0, "flush_errors": 0,
            },
            "queues": {"idle": 255, "local": 0, "send": 0, "recv": 0, "done": 0},
            "report": {
                "state": "synchronizing",
                "reason": "why",
                "since": 9,
                "next": "what",
                "dirty_here": 4096,
                "dirty_there": null,
                "sync": {"source": "primary", "left": 1, "copied": 2, "rate": 3, "eta": null},
                "last_error": {"text": "lost", "ago": 5},
            },
            "restarts": 2,
            "last_exit": {"text": "was killed", "ago": 60},
            "last_refusal": null,
        })
    );
}

#[test]
fn base_s_numbers_are_there_and_the_rest_is_null() {
    let worker = WorkerStatus {
        status: "degraded".into(),
        dirty: 512,
        extentsize: 1024,
        keepdirty: 3,
        statistics: message::Statistics {
            writes: 7,
            done_queue: 8,
            ..message::Statistics::default()
        },
    };
    let resource = shown(Resource::of_reply(&reply(Some(worker), None)));
    assert_eq!(resource["status"], "degraded");
    assert_eq!(resource["workerpid"], 1234);
    assert_eq!(resource["dirty"], 512);
    assert_eq!(resource["statistics"]["writes"], 7);
    assert_eq!(resource["queues"]["done"], 8);
    for key in ["report", "ready", "restarts", "becoming", "last_exit"] {
        assert_eq!(resource.get(key), Some(&Value::Null), "{key}");
    }
    let resource = shown(Resource::of_reply(&reply(None, None)));
    for key in ["status", "workerpid", "extentsize", "statistics", "queues"] {
        assert_eq!(resource.get(key), Some(&Value::Null), "{key}");
    }
    // What cannot be understood is as good as nothing.
    let resource = shown(Resource::of_reply(&reply(None, Some("{"))));
    assert_eq!(resource["report"], Value::Null);
}

/// Our daemon tells of a secondary's worker, base's of none.
#[test]
fn without_a_worker_there_are_no_numbers() {
    let mut told = Told {
        status: counted(),
        daemon: Supervision {
            workerpid: 77,
            ..Supervision::default()
        },
    };
    let waiting = serde_json::to_string(&told).unwrap();
    let resource = shown(Resource::of_reply(&reply(None, Some(&waiting))));
    assert_eq!(resource["status"], Value::Null);
    assert_eq!(
        (&resource["workerpid"], &resource["dirty"]),
        (&json!(77), &json!(4096))
    );
    told.daemon.workerpid = 0;
    let none = serde_json::to_string(&told).unwrap();
    let resource = shown(Resource::of_reply(&reply(None, Some(&none))));
    assert_eq!(
        (&resource["workerpid"], &resource["dirty"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(resource["report"]["state"], "synchronizing");
}

#[test]
fn a_failure_has_nothing_but_a_name_and_a_reason() {
    let failed = ResourceReply {
        name: "nosuch".into(),
        error: Some(ControlCode::NO_RESOURCE),
        reason: Some("never heard".into()),
        ..ResourceReply::default()
    };
    assert_eq!(
        shown(Resource::of_reply(&failed)),
        json!({"name": "nosuch", "error": {"code": 1, "text": "never heard"}})
    );
}

#[test]
fn a_component_keeps_all_digits_of_its_ids() {
    let provider = Provider {
        mediasize: 16 << 20,
        sectorsize: 512,
    };
    let mut metadata = Metadata::create("data", provider, CreateOptions::default()).unwrap();
    metadata.resuid = ResUid::new(u64::MAX);
    metadata.generation = Generation::new(0xfeed);
    metadata.consistency = Consistency::Inconsistent;
    let block = Block::of(&PathBuf::from("/dev/da0"), &metadata);
    let resource = Resource::Component {
        name: "data".into(),
        metadata: block,
    };
    assert_eq!(
        shown(resource),
        json!({
            "name": "data",
            "metadata": {
                "localpath": "/dev/da0",
                "datasize": 16_772_608,
                "extentsize": 2_097_152,
                "keepdirty": 64,
                "localoff": 4608,
                "resuid": "18446744073709551615",
                "localcnt": 0,
                "remotecnt": 0,
                "prevrole": "init",
                "generation": "000000000000feed",
                "consistent": false,
                "discard": false,
            },
        })
    );
}
