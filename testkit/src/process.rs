//! Programs under test as processes that never outlive their test.
