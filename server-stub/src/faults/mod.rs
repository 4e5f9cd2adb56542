//! What the stub has been told to do wrong, and when. Pure: time and chance come from the caller.
//!
//! `/control` turns a request into a [`Rule`]; `receive` asks the [`Book`] at four points of a request's way.
//! All rules share the same conditions, so that any misbehaviour can be had for one signal, a while, a
//! number of requests, or a share of them.

mod book;
mod parse;
mod rule;

pub(crate) use book::{Book, Verdict};
pub(crate) use parse::{VERBS, parse_rule};
pub(crate) use rule::{AnswerBody, Facts, Refusal, Stage, Terminal};
