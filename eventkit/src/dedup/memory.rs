//! Stub.
/// Stub.
#[derive(Debug)]
pub struct MemoryDedup;
