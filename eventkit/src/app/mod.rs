//! Stub.
#![allow(missing_docs, missing_debug_implementations)]
pub struct App;
pub struct Running;
pub struct Settings;
pub struct StartFrom;
impl App {
    pub fn new(_: &str) -> Self {
        App
    }
    pub fn state<T: Clone + Send + Sync + 'static>(self, _: T) -> Self {
        self
    }
    pub fn handlers(self, _: Vec<crate::HandlerDefinition>) -> Self {
        self
    }
    pub async fn run(self) -> crate::Result<()> {
        Ok(())
    }
}
