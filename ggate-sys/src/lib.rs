//! The raw ABI of `/dev/ggctl`.
