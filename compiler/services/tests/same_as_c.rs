//! The look-up of `bpf/include/service_image.h`, compiled for this machine, gives the answers of the reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::FileId;
use portcullis_services::{From, Image, NodeContext, Numbers, Outcome, Services, Settings, compile, resolve};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

const HARNESS: &str = r#"
#include "service_image.h"
#define BUFFER (1 << 22)
extern long read(int, void *, unsigned long);
extern int printf(const char *, ...);
static __u8 image[BUFFER] __attribute__((aligned(64)));

static void all(void *to, unsigned long size)
{
	for (unsigned long at = 0; at < size;) {
		long n = read(0, (char *)to + at, size - at);
		if (n <= 0)
			return;
		at += n;
	}
}

int main(void)
{
	__u32 count, hash, outside;
	struct service_key key;

	all(image, BUFFER);
	all(&count, 4);
	for (__u32 i = 0; i < count; i++) {
		const struct service_frontend *f;
		const struct service_backend *b;

		all(&key, sizeof(key));
		all(&hash, 4);
		all(&outside, 4);
		f = service_frontend_of(image, BUFFER - 1, &key);
		b = f ? service_choose(image, BUFFER - 1, f, outside, hash) : NULL;
		printf("%u %u %u\n", service_hash(&key, hash), f ? f->service : 0, b ? b->id : 0);
		if (b && service_backend_by_id(image, BUFFER - 1, b->id) != b)
			printf("by id\n");
		if (f && f->flags & FRONTEND_SOURCE_RANGES && !service_range_holds(image, BUFFER - 1, f->ranges_first, key.address))
			printf("range\n");
	}
	return 0;
}
"#;

fn world(services: u32) -> String {
    let mut out = String::new();
    for n in 0..services {
        let (a, b) = (n / 250, n % 250 + 1);
        let _ = write!(
            out,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{type: LoadBalancer, clusterIPs: [10.96.{a}.{b}, 'fd00::{n:x}'], ports: [{{port: 80, nodePort: {np}}}], loadBalancerSourceRanges: [203.0.{a}.0/22, '2001:db8:{a:x}::/45']}}\nstatus: {{loadBalancer: {{ingress: [{{ip: 203.0.{a}.{b}}}]}}}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{n}-1, labels: {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.0.{a}.{b}]}}, {{addresses: [10.1.{a}.{b}]}}, {{addresses: [10.2.{a}.{b}]}}]\n",
            np = 30000 + n
        );
    }
    out
}

#[test]
fn the_c_header_gives_the_answers_of_the_reader() {
    let clang = ["clang-19", "clang"].into_iter().find(|c| Command::new(c).arg("--version").output().is_ok());
    let Some(clang) = clang else {
        assert!(std::env::var_os("CI").is_none(), "clang is needed");
        println!("nothing was compared: there is no clang");
        return;
    };
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("service_image.c"), folder.join("service_image"));
    std::fs::write(&source, HARNESS).unwrap();
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bpf/include");
    let made = Command::new(clang)
        .args([
            "-O1",
            "-fno-builtin",
            "-Wno-unknown-pragmas",
            "-fsanitize=address,undefined",
            "-I",
            include,
            "-o",
        ])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let parsed = portcullis_front::parse(FileId(0), "t.yaml", &world(700));
    let node = NodeContext {
        name: "n".into(),
        zone: None,
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
    };
    let resolved = resolve(&Services::of(&parsed.objects), &node);
    let settings = Settings { maglev: true, maglev_size: 251 };
    let image = compile(&resolved, &Numbers::default(), &settings).unwrap().image;
    let read = Image::parse(&image).unwrap();
    let client: IpAddr = "203.0.0.1".parse().unwrap();

    let (mut asked, mut want, mut count) = (Vec::new(), String::new(), 0u32);
    for f in &resolved.frontends {
        for port in [f.address.1, 7] {
            for (n, outside) in [(0u32, 0u32), (0x9000_0001, 1), (u32::MAX, 0)] {
                let to = (f.address.0, port, f.address.2);
                let key = portcullis_services::table::key(to);
                asked.extend(key.to_bytes());
                asked.extend(n.to_le_bytes());
                asked.extend(outside.to_le_bytes());
                count += 1;
                let from = if outside == 0 { From::Inside } else { From::Outside };
                let frontend = read.frontend(&key).unwrap();
                // Cluster addresses are denied before anything is chosen; the choice below is the same list.
                let backend = match read.lookup(to, from, client, n).unwrap() {
                    Outcome::Backend { backend, .. } => backend.id,
                    Outcome::Drop(_) => match read.lookup(to, From::Inside, client, n).unwrap() {
                        Outcome::Backend { backend, .. } => backend.id,
                        _ => 0,
                    },
                    _ => 0,
                };
                let hash = portcullis_abi::services::hash(&key, n);
                let _ = writeln!(want, "{hash} {} {backend}", frontend.map_or(0, |f| f.service));
            }
        }
    }
    let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut padded = image.clone();
    padded.resize(1 << 22, 0);
    let writer = std::thread::spawn(move || {
        input.write_all(&padded).unwrap();
        input.write_all(&count.to_le_bytes()).unwrap();
        input.write_all(&asked).unwrap();
    });
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let got = String::from_utf8(out.stdout).unwrap();
    for (n, (g, w)) in got.lines().zip(want.lines()).enumerate() {
        assert_eq!(g, w, "question {n}");
    }
    assert_eq!(got.lines().count(), want.lines().count());
    assert!(count > 10_000);
}
