//! Stub.
/// Stub.
#[derive(Debug)]
pub struct RedisDedup;
