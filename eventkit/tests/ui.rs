//! What the compiler tells a user about each mistake.
//!
//! `TRYBUILD=overwrite cargo test -p eventkit --test ui` writes the messages
//! anew; read every one that changed.

#[test]
fn mistakes_are_told_at_their_place_in_the_users_words() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
}
