use eventkit::prelude::*;

#[derive(Event)]
pub enum Reservation {}

fn main() {}
