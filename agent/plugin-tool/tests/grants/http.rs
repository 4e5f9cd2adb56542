//! Requests: whom they reach, and what an answer may cost.

use std::time::{Duration, Instant};

use serde_json::json;
use whimbrel_plugin_host::{DeniedGrowth, FaultKind, Grants, Reserved};

use crate::{reach::Reach, server::Server};

#[tokio::test]
async fn a_granted_origin_is_reached_and_no_other() {
    let (one, other) = (Server::start().await, Server::start().await);
    let granted = || Reach::http(&[&one.origin()]);
    granted().take(json!([{"get": one.url("/")}])).await.is(&["200 5 bytes hello"]);
    let grant = format!("grants: {{ http: [\"{}\"] }}", other.origin());
    granted().take(json!([{"get": other.url("/")}])).await.is_refused("HttpRequestDenied", &grant);
    let secure = format!("https://127.0.0.1:{}/", one.port);
    granted().take(json!([{"get": secure}])).await.is_refused("HttpRequestDenied", "https://127.0.0.1");
    Reach::default()
        .take(json!([{"get": one.url("/")}]))
        .await
        .is_refused("HttpRequestDenied", &one.origin());
    assert_eq!((one.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn what_is_denied_is_told_once() {
    let url = "http://10.0.0.1/";
    let came = Reach::default().take(json!([{"get": url}, {"get": url}, {"get": url}])).await;
    assert_eq!((came.steps.len(), came.denied.len()), (3, 1), "{came:?}");
}

#[tokio::test]
async fn a_redirect_widens_no_grant() {
    let (one, other) = (Server::start().await, Server::start().await);
    let granted = || Reach::http(&[&one.origin()]);
    let away = one.url(&format!("/?to={}", other.url("/")));
    granted().take(json!([{"follow": away}])).await.is_refused("HttpRequestDenied", &other.origin());
    let metadata = one.url("/?to=http://169.254.169.254/latest/meta-data/");
    let refused = granted().take(json!([{"follow": metadata}])).await;
    refused.is_refused("HttpRequestDenied", "http://169.254.169.254");
    assert_eq!(other.connections(), 0);
    granted()
        .take(json!([{"follow": one.url(&format!("/?to={}", one.url("/")))}]))
        .await
        .is(&["200 5 bytes hello"]);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_unless_the_grant_says_so() {
    let server = Server::start().await;
    let origin = format!("http://api.example.com:{}", server.port);
    let url = format!("{origin}/host");
    for (inside, told) in [
        ("127.0.0.1", "in 127.0.0.1\"] }"),
        ("169.254.169.254", "in 169.254.169.254\"] }"),
        ("::ffff:127.0.0.1", "in 127.0.0.1\"] }"),
        ("10.0.0.8", "in 10.0.0.8\"] }"),
        ("::1", "in ::1\"] }"),
    ] {
        let reach = Reach::http(&[&origin]).names(&[("api.example.com", &[&[inside]])]);
        reach.take(json!([{"get": url}])).await.is_refused("DestinationIpProhibited", told);
    }
    assert_eq!(server.connections(), 0);
    let grant = format!("{origin} in 127.0.0.0/8");
    let both: &[&str] = &["169.254.169.254", "127.0.0.1"];
    let came =
        Reach::http(&[&grant]).names(&[("api.example.com", &[both])]).take(json!([{"get": url}])).await;
    let said = format!("host: api.example.com:{}", server.port);
    assert_eq!(came.steps, [format!("200 {} bytes {said}", said.len())], "{came:?}");
    assert_eq!(came.denied.len(), 1, "the address that was left out: {came:?}");
}

#[tokio::test]
async fn a_name_that_changes_is_checked_each_time() {
    let server = Server::start().await;
    let grant = format!("http://api.example.com:{} in 127.0.0.1", server.port);
    let url = format!("http://api.example.com:{}/", server.port);
    let answers: &[&[&str]] = &[&["127.0.0.1"], &["127.0.0.2"]];
    let reach = Reach::http(&[&grant]).names(&[("api.example.com", answers)]);
    let came = reach.take(json!([{"get": url}, {"get": url}])).await;
    assert_eq!(came.steps[0], "200 5 bytes hello");
    assert!(came.steps[1].contains("DestinationIpProhibited"), "{came:?}");
}

#[tokio::test]
async fn a_name_that_is_none_is_an_error_of_names() {
    let reach = Reach::http(&["http://nowhere.example.com"]).names(&[]);
    let came = reach.take(json!([{"get": "http://nowhere.example.com/"}])).await;
    assert!(came.steps[0].contains("DnsError") && came.denied.is_empty(), "{came:?}");
}

#[tokio::test]
async fn no_grant_reaches_what_the_agent_listens_on() {
    let server = Server::start().await;
    let at = |listener: String| Reserved { listeners: vec![listener.parse().unwrap()], paths: Vec::new() };
    let (own, all) = (format!("127.0.0.1:{}", server.port), format!("0.0.0.0:{}", server.port));
    // Who connects to no address in particular comes to this machine.
    for (listener, to) in [(&own, &own), (&all, &own), (&own, &all)] {
        let origin = format!("http://{to}");
        let reach = Reach::http(&[&origin]).reserved(at(listener.clone()));
        reach
            .take(json!([{"get": origin}]))
            .await
            .is_refused("DestinationIpProhibited", "agent's own listener");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut() {
    let server = Server::start().await;
    let reach = || Reach::http(&[&server.origin()]);
    for (path, said) in [("/huge", "HttpResponseBodySize"), ("/endless", "response body size exceeds limit")]
    {
        let came = reach().take(json!([{"get": server.url(path)}])).await;
        assert!(came.steps[0].contains(said), "{path}: {came:?}");
        let told = format!("an answer of {} with more than 64 MiB", server.origin());
        assert!(came.denied.len() == 1 && came.denied[0].contains(&told), "{path}: {came:?}");
    }
    let came = reach().take(json!([{"get": server.url("/headers")}])).await;
    assert!(came.steps[0].starts_with("refused: "), "{came:?}");
}

#[tokio::test]
async fn a_deadline_holds_while_the_guest_waits_for_a_server() {
    let server = Server::start().await;
    for path in ["/drip", "/silent"] {
        let deadline = Duration::from_millis(300);
        let reach = Reach { deadline, ..Reach::http(&[&server.origin()]) };
        let since = Instant::now();
        let fault = reach.take(json!([{"get": server.url(path)}])).await.fault.expect(path);
        assert_eq!(fault.kind, FaultKind::Deadline, "{path}: {fault}");
        assert!(since.elapsed() >= deadline, "{path}");
    }
}

#[tokio::test]
async fn requests_under_way_have_a_bound() {
    let server = Server::start().await;
    let came = Reach::http(&[&server.origin()]).take(json!([{"requests": [server.url("/drip"), 40]}])).await;
    assert_eq!(came.short, Some(DeniedGrowth::Requests { limit: 16 }), "{came:?}");
    assert!(
        came.steps[0].starts_with("16 answers of 40") && came.steps[0].contains("ConnectionLimitReached"),
        "{came:?}"
    );
}

#[tokio::test]
async fn odd_targets_are_refused() {
    let server = Server::start().await;
    let port = server.port;
    for url in [
        format!("http://127.0.0.1:{port}@evil.example.com/"),
        format!("http://user@127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        "ftp://127.0.0.1/".to_owned(),
        "http:///".to_owned(),
    ] {
        let came = Reach::http(&[&server.origin()]).take(json!([{"get": url}])).await;
        assert!(came.steps[0].starts_with("refused: "), "{url}: {came:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_socket_of_the_agents_own_process_is_refused_and_an_ungranted_one_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own.sock");
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let hex: String = socket.to_str().unwrap().bytes().map(|byte| format!("{byte:02x}")).collect();
    let step = json!([{"get": format!("http+unix://{hex}/")}]);
    let grant = format!("grants: {{ unix: [\"{}\"] }}", socket.display());
    Reach::default().take(step.clone()).await.is_refused("HttpRequestDenied", &grant);
    let granted = Reach::granted(Grants { unix: vec![socket], ..Grants::default() });
    granted.take(step).await.is_refused("DestinationIpProhibited", "agent's own socket");
}
