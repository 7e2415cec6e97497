//! Any bytes as a service image, and a sound one with bytes overwritten: nothing may panic, and an image that
//! passes its check answers every question.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_diag::FileId;
use portcullis_services::{From, Image, NodeContext, Numbers, Resolved, Services, Settings, compile, resolve};
use std::sync::LazyLock;

const WORLD: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, loadBalancerSourceRanges: [198.51.100.0/24], ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1], nodeName: n}, {addresses: [10.0.0.2]}]
";

static SOUND: LazyLock<(Resolved, Vec<u8>)> = LazyLock::new(|| {
    let parsed = portcullis_front::parse(FileId(0), "w.yaml", WORLD);
    let addresses = "192.0.2.1".parse().into_iter().collect();
    let node = NodeContext { name: "n".into(), zone: None, addresses };
    let resolved = resolve(&Services::of(&parsed.objects), &node);
    let settings = Settings { maglev: true, maglev_size: 251 };
    let image = compile(&resolved, &Numbers::default(), &settings).map(|c| c.image).unwrap_or_default();
    (resolved, image)
});

fuzz_target!(|data: &[u8]| {
    ask(data);
    // Each three bytes: where, and what instead.
    let mut damaged = SOUND.1.clone();
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % damaged.len();
        damaged[at] = change[2];
    }
    ask(&damaged);
});

fn ask(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else { return };
    let sound = image.check().is_ok();
    for f in &SOUND.0.frontends {
        for (from, hash) in [(From::Inside, 0), (From::Outside, u32::MAX)] {
            let answer = image.lookup(f.address, from, [198, 51, 100, 1].into(), hash);
            assert!(answer.is_ok() || !sound);
        }
    }
    for f in image.frontends().take(64) {
        let choices = image.choices(&f, From::Inside);
        assert!(choices.is_ok() || !sound);
    }
    let _ = image.backend_by_id(1);
}
