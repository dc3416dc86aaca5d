//! Stub.
use super::*;
/// Stub.
#[derive(Debug)]
pub struct MemoryDedup;
impl MemoryDedup {
    /// x
    pub fn new() -> Self {
        Self
    }
}
impl DedupStore for MemoryDedup {
    fn claim<'a>(&'a self, _: &'a DedupKey, _: u32, _: Duration) -> Answer<'a, Claim> {
        Box::pin(async { Ok(Claim::Claimed(Token::random())) })
    }
    fn renew<'a>(&'a self, _: &'a DedupKey, _: Token, _: Duration) -> Answer<'a, bool> {
        Box::pin(async { Ok(true) })
    }
    fn complete<'a>(&'a self, _: &'a DedupKey, _: Token, _: Duration) -> Answer<'a, bool> {
        Box::pin(async { Ok(true) })
    }
    fn bury<'a>(&'a self, _: &'a DedupKey, _: Token, _: u32, _: Duration) -> Answer<'a, bool> {
        Box::pin(async { Ok(true) })
    }
    fn release(&self, _: DedupKey, _: Token) {}
    fn check(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn describe(&self) -> String {
        "stub".into()
    }
}
