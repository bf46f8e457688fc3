//! Networks with outputs of every kind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::{Output, choose_output};
use crate::Pooling;
use crate::pool::Shape;
use crate::runtime::{Element, Port};

fn port(name: &str, shape: &[Option<usize>]) -> Port {
    Port { name: name.to_owned(), element: Element::Float32, shape: shape.to_vec() }
}

#[test]
fn the_usual_output_is_taken_and_a_named_one_before_it() {
    let outputs = [port("last_hidden_state", &[None, None, Some(4)]), port("pooler_output", &[None, Some(4)])];
    let usual = ["sentence_embedding", "last_hidden_state"];
    let chosen = choose_output(&outputs, None, &usual, Some(Pooling::Cls), None).unwrap();
    assert_eq!(chosen, Output { name: "last_hidden_state".to_owned(), shape: Shape::Tokens(Pooling::Cls), dims: 4 });
    let chosen = choose_output(&outputs, Some("pooler_output"), &usual, Some(Pooling::Cls), None).unwrap();
    assert_eq!(chosen, Output { name: "pooler_output".to_owned(), shape: Shape::Vector, dims: 4 });
    let only = [port("anything", &[None, Some(9), Some(1), Some(1)])];
    assert_eq!(choose_output(&only, None, &usual, None, None).unwrap().dims, 9);
}

#[test]
fn outputs_that_are_no_embeddings_are_refused_in_words() {
    let reason = |outputs: &[Port], named: Option<&str>, pooling| {
        choose_output(outputs, named, &["usual"], pooling, None).unwrap_err()
    };
    let loose = port("x", &[None, None]);
    assert!(reason(std::slice::from_ref(&loose), None, None).contains("no fixed number of dimensions"));
    assert_eq!(choose_output(&[loose], None, &[], None, Some(12)).unwrap().dims, 12);
    assert!(reason(&[port("x", &[None, None, Some(3)])], None, None).contains("1_Pooling/config.json"));
    assert!(
        reason(&[port("x", &[None, Some(3), Some(7), Some(7)])], None, None)
            .contains("cut the network after its pooling")
    );
    assert!(reason(&[port("a", &[None, Some(3)]), port("b", &[None, Some(3)])], None, None).contains("a, b"));
    assert!(reason(&[port("x", &[None, Some(3)])], Some("y"), None).contains("no output y"));
    assert!(reason(&[port("x", &[None, Some(0)])], None, None).contains("no dimensions"));
    let half = Port { element: Element::Other, ..port("x", &[None, Some(3)]) };
    assert!(reason(&[half], None, None).contains("float32"));
    let told = choose_output(&[port("x", &[None, Some(3)])], None, &[], None, Some(4)).unwrap_err();
    assert!(told.contains("3 dimensions, and lodedb.json says 4"), "{told}");
}

#[test]
fn what_was_not_declared_is_not_taken() {
    let output = Output { name: "x".to_owned(), shape: Shape::Vector, dims: 3 };
    let shape_of =
        |shape: &[i64], numbers: usize| output.rows(shape, &vec![0.0; numbers], 2, None).map(Iterator::count);
    assert_eq!(shape_of(&[2, 3], 6), Ok(2));
    assert!(shape_of(&[2, 4], 8).unwrap_err().contains("[2, 4]"));
    assert!(shape_of(&[1, 3], 3).is_err());
    assert!(shape_of(&[6], 6).is_err());
}
