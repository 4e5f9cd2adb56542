//! The page around the fragments, and what its browser is told.

use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Look, live::Picture, text};

pub(crate) const STYLE: &str = include_str!("assets/page.css");
pub(crate) const ICON: &str = include_str!("assets/icon.svg");
pub(crate) const SCRIPT: &str = include_str!("assets/page.js");

/// Everything from here, nothing from elsewhere, nothing inline, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer of the page tells the browser.
pub(crate) fn with_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

impl Picture {
    /// The whole page, with the fragments as they are now.
    pub(crate) fn page(&self, look: &Look, demo: bool) -> String {
        let place = |id: &'static str| -> Markup {
            html! { div id=(id) data-live { (PreEscaped(self.fragment(id))) } }
        };
        let live = match look.link().split_once('?') {
            Some((_, query)) => format!("/live?{query}"),
            None => "/live".to_owned(),
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { @if demo { "Whimbrel demo" } @else { "whimbrel-stub" } }
                    link rel="icon" href="/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/page.css";
                    script src="/page.js" defer {}
                }
                body data-live-at=(live) {
                    a.skip href="#main" { "To the figures" }
                    header {
                        h1 { @if demo { "Whimbrel demo" } @else { "whimbrel-stub" } }
                        p id="link" role="status" { "a picture of this moment" }
                        div id="state" data-live class="facts" { (PreEscaped(self.fragment("state"))) }
                    }
                    main id="main" {
                        @if demo { (self.demo()) }
                        (place("silence"))
                        section aria-labelledby="host" {
                            h2 id="host" data-live { (PreEscaped(self.fragment("host"))) }
                            div.charts {
                                div id="charts" data-live { (PreEscaped(self.fragment("charts"))) }
                                (place("latency"))
                                (place("metric"))
                            }
                        }
                        section aria-labelledby="h-hosts" {
                            h2 id="h-hosts" { "Who sends" }
                            @if let Some(host) = &look.host {
                                p { "Shown: " b { (text::cut(host)) } ". " a href="/" { "Show all" } }
                            }
                            div.scroll tabindex="0" role="region" aria-label="Hosts" { (place("hosts")) }
                        }
                        section aria-labelledby="h-metrics" {
                            h2 id="h-metrics" { "Metrics" }
                            label.filter hidden { "Filter " input id="filter" type="search" placeholder="part of a name" autocomplete="off"; }
                            div.scroll.tall tabindex="0" role="region" aria-label="Metrics" { (place("metrics")) }
                        }
                        section aria-labelledby="h-logs" {
                            h2 id="h-logs" { "Logs" }
                            div.scroll tabindex="0" role="region" aria-label="Logs" { (place("logs")) }
                        }
                        section aria-labelledby="h-spans" {
                            h2 id="h-spans" { "Spans" }
                            div.scroll tabindex="0" role="region" aria-label="Spans" { (place("spans")) }
                        }
                        section aria-labelledby="h-requests" {
                            h2 id="h-requests" { "Requests" }
                            div.scroll tabindex="0" role="region" aria-label="Requests" { (place("requests")) }
                        }
                    }
                    footer {
                        p { "Times on the charts are the senders', in UTC. The same as JSON: "
                            @for path in ["stats", "metrics", "hosts", "logs", "spans", "requests"] {
                                a href={ "/api/" (path) } { "/api/" (path) } " "
                            }
                        }
                    }
                }
            }
        }
        .into_string()
    }

    fn demo(&self) -> Markup {
        let raw = |id: &str| PreEscaped(self.fragment(id).to_owned());
        html! {
            section.demo aria-labelledby="h-demo" {
                h2 id="h-demo" { "Try to lose something" }
                div id="demo-state" class="facts" data-live role="status" { (raw("demo-state")) }
                div id="demo-counts" class="tiles" data-live { (raw("demo-counts")) }
                p id="answer" role="alert" hidden {}
                div id="demo-buttons" class="buttons" data-live { (raw("demo-buttons")) }
                div.charts.two {
                    div id="demo-backlog" data-live { (raw("demo-backlog")) }
                    div {
                        h3 { "What happened" }
                        div.scroll.low tabindex="0" role="region" aria-label="What happened" {
                            div id="demo-events" data-live { (raw("demo-events")) }
                        }
                    }
                }
                h3 { "Plugins" }
                div.scroll tabindex="0" role="region" aria-label="Plugins" {
                    div id="demo-hostile" data-live { (raw("demo-hostile")) }
                }
                h3 { "One stored record" }
                form method="post" action="/demo/record" { button id="do-record" { "Show the newest" } }
                div id="demo-record" data-live { (raw("demo-record")) }
            }
        }
    }
}
