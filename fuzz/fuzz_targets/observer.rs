//! Any request and any answer of the Observer API: filters and what a terminal shows never panic, and what is written
//! as JSON is one line that a recording's reader takes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_flows::Seens;
use portcullis_flows::read::{open, pieces};
use portcullis_hubble::filter::Filters;
use portcullis_hubble::pb::observer::get_flows_response::ResponseTypes;
use portcullis_hubble::pb::observer::{GetFlowsRequest, GetFlowsResponse};
use portcullis_hubble::text::{Form, line};
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let Some((at, rest)) = bytes.split_first() else { return };
    let (ask, answer) = rest.split_at(usize::from(*at).min(rest.len()));
    let filters = GetFlowsRequest::decode(ask).ok().map(|r| Filters::new(&r.whitelist, &r.blacklist));
    let Ok(answer) = GetFlowsResponse::decode(answer) else { return };
    if let (Some(Ok(filters)), Some(ResponseTypes::Flow(flow))) = (filters, &answer.response_types) {
        let _ = filters.matches(flow);
    }
    for form in [Form::Compact, Form::Dict, Form::Table] {
        let _ = line(&answer, form);
    }
    let json = line(&answer, Form::Json);
    assert!(!json.contains('\n'));
    let mut seens = Seens::default();
    if let Ok(from) = open(json.as_bytes()) {
        let _ = pieces(from, |piece| seens.add(piece));
    }
    assert_eq!(seens.pieces, 1);
});
