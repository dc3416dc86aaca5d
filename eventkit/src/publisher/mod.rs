//! Stub.
#![allow(missing_docs, missing_debug_implementations)]
#[derive(Clone)]
pub struct Publisher;
impl Publisher {
    pub async fn publish<E: crate::Event<Kind: crate::CrossesServices>>(
        &self,
        _event: &E,
    ) -> Result<(), crate::PublishError> {
        Ok(())
    }
    pub async fn publish_all(
        &self,
        _events: impl crate::IntoEvents,
    ) -> Result<(), crate::PublishError> {
        Ok(())
    }
}
pub struct PublisherBuilder;
pub struct Message;
