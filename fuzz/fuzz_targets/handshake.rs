//! The handshake, which anybody can begin: both sides' messages, and what is
//! decided by them.
#![no_main]

use hast_core::bitmap::MAX_MAP;
use hast_core::decision::{OnImpossible, Primary, Secondary, decide, errmsg};
use hast_core::frame::HEADER;
use hast_core::message::{Opening, Step1Reply, Step2Reply};
use hast_core::metadata::Consistency;
use hast_core::units::{Counters, ResUid, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|entries: &[u8]| {
    let mut buffer = vec![0; entries.len() + 256];
    if let Ok(opening) = Opening::decode(entries) {
        let length = match opening {
            Opening::Step1(step1) => step1.encode(&mut buffer),
            Opening::Step2(step2) => {
                let primary = Primary {
                    virgin: step2.virgin,
                    resuid: step2.resuid,
                    counters: step2.counters,
                    generation: step2.generation,
                    consistency: step2.consistency,
                };
                let secondary = Secondary {
                    resuid: ResUid::new(1),
                    counters: Counters {
                        local: 1,
                        remote: 2,
                    },
                    generation: None,
                    consistency: Consistency::Consistent,
                    discard: false,
                };
                let decision = decide(&primary, &secondary, OnImpossible::Stop);
                assert!(!errmsg(decision.rule, &primary, &secondary).is_empty());
                step2.encode(Version::V2, &mut buffer)
            }
        };
        assert_eq!(
            Opening::decode(&buffer[HEADER..length.unwrap()]),
            Ok(opening)
        );
    }
    if let Ok(reply) = Step1Reply::decode(entries) {
        let length = reply.encode(&mut buffer).unwrap();
        assert_eq!(Step1Reply::decode(&buffer[HEADER..length]), Ok(reply));
    }
    if let Ok(reply) = Step2Reply::decode(entries) {
        if let Step2Reply::Accepted { map: Some(map), .. } = reply {
            assert!(map.size <= MAX_MAP && map.payload.check(map.size.into()).is_ok());
        }
        let length = reply.encode(Version::V2, &mut buffer).unwrap();
        assert_eq!(Step2Reply::decode(&buffer[HEADER..length]), Ok(reply));
    }
});
