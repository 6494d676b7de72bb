//! Causeway: the data plane of a multi-cluster service mesh, and a control plane for one machine.
//!
//! Two lines explain the crate; each word is a step, and a module.
//!
//! ```text
//! OUTBOUND   accept ─▶ intercept ─▶ discover ─▶ detect ─▶ route ─▶ balance ─▶ connect ─▶ relay
//! INBOUND    accept ─▶ intercept ─▶ identify ─▶ detect ─▶ authorize ─▶ forward ─▶ relay
//! ```
//!
//! The embedded control plane ([`control`]) and the path meet over gRPC alone.

// Tests and fuzz targets share files, in which this crate has its name.
#[cfg(test)]
extern crate self as causeway;

pub mod config;
pub mod error;
pub mod drain;
pub mod backoff;
pub mod model;
pub mod api;
pub mod net;
pub mod detect;
pub mod tls;
pub mod message;
pub mod telemetry;
pub mod controller;
pub mod identity;
pub mod balance;
pub mod authorize;
pub mod limit;
pub mod connect;
pub mod discover;
pub mod outbound;
pub mod inbound;
pub mod admin;
pub mod app;
pub mod redirect;
pub mod control;
pub mod demo;
pub mod viz;
pub mod cli;
