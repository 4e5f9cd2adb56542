/* Sends telemetry to a Whimbrel agent as lines of JSON: events, metrics, progress, spans, heartbeats.
 *
 * One file, C99 and POSIX; link with -lpthread. `#define WHIMBREL_IMPLEMENTATION` in one source file before including it.
 * Calls never fail, and wait for the agent at most 50 ms: the socket does not block, lines wait in a buffer of 1000 and go
 * out with later calls. When the buffer is full the oldest is dropped, counted, and told to the agent later. Call
 * whimbrel_flush at the end. Safe to use from several threads; a forked child gets a connection of its own.
 * Protocol: agent/docs/ldjson.md.
 *
 *     whimbrel *w = whimbrel_new("unix:/run/whimbrel/ldjson.sock", "shop");
 *     whimbrel_event(w, "order.paid", "info", "order 17 was paid for", "order", "17", NULL);
 *     whimbrel_metric(w, "queue.length", "gauge", 12, NULL);
 *     whimbrel_span s = whimbrel_span_start(w, "charge", NULL);
 *     whimbrel_span_end(w, &s, "ok", NULL);
 *     if (!whimbrel_flush(w, 2000)) fputs("not durable\n", stderr);
 *     whimbrel_free(w);
 */
#ifndef WHIMBREL_H
#define WHIMBREL_H

typedef struct whimbrel whimbrel;
/* Ids are hexadecimal; a span is handed on to what begins within it, or to a child in $TRACEPARENT. */
typedef struct { char trace_id[33], span_id[17], parent_id[17], name[128]; double start; } whimbrel_span;

whimbrel *whimbrel_new(const char *address, const char *source); /* "unix:/path" or "127.0.0.1:17000"; NULL: no memory */
/* Attributes are keys and texts in turn, ended by NULL. */
void whimbrel_event(whimbrel *w, const char *name, const char *severity, const char *message, ...);
void whimbrel_metric(whimbrel *w, const char *name, const char *kind, double value, ...);
void whimbrel_progress(whimbrel *w, const char *name, double current, double total, const char *message);
void whimbrel_resource(whimbrel *w, ...); /* what this source is; sent again with every connection */
void whimbrel_heartbeat(whimbrel *w, double interval_s);
whimbrel_span whimbrel_span_start(whimbrel *w, const char *name, const whimbrel_span *parent);
void whimbrel_span_end(whimbrel *w, whimbrel_span *span, const char *status, const char *message);
void whimbrel_traceparent(const whimbrel_span *span, char out[56]);
int whimbrel_flush(whimbrel *w, int timeout_ms); /* 1: everything sent so far is durable */
unsigned long whimbrel_sent(whimbrel *w), whimbrel_dropped(whimbrel *w);
void whimbrel_free(whimbrel *w); /* does not wait; flush before */

#ifdef WHIMBREL_IMPLEMENTATION
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WHIMBREL_BUFFER 1000
#define WHIMBREL_LINE 65536
#define WHIMBREL_CONNECT_MS 50
#define WHIMBREL_BACKOFF 0.1
#define WHIMBREL_LONGEST_BACKOFF 30.0

struct whimbrel {
    pthread_mutex_t lock;
    char address[108], source[128], *resource, root_trace[33], root_span[17];
    char *lines[WHIMBREL_BUFFER]; /* a ring */
    int first, count, fd;
    pid_t pid;
    size_t written; /* of the first line */
    char heard[512];
    size_t heard_len;
    unsigned long sent, dropped, untold, asked, acknowledged, random;
    double retry_at, backoff;
};

typedef struct { char *text; size_t len; int bad; } whimbrel_text;

static double whimbrel_clock(clockid_t clock) { struct timespec t; clock_gettime(clock, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static double whimbrel_chance(whimbrel *w) {
    w->random ^= w->random << 13; w->random ^= (w->random & 0xffffffff) >> 7; w->random ^= w->random << 17;
    return (w->random & 0xffffff) / (double)0x1000000;
}
static void whimbrel_put(whimbrel_text *t, const char *s, size_t n) {
    if (t->len + n > WHIMBREL_LINE) { t->bad = 1; return; }
    memcpy(t->text + t->len, s, n);
    t->len += n;
}
static void whimbrel_puts(whimbrel_text *t, const char *s) { whimbrel_put(t, s, strlen(s)); }
/* The length of the UTF-8 sequence at s, 0 where there is none. */
static int whimbrel_utf8(const unsigned char *s) {
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0, i;
    for (i = 1; i < n; i++) if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return n;
}
static void whimbrel_quote(whimbrel_text *t, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    char escape[8];
    whimbrel_puts(t, "\"");
    while (*s) {
        int n = whimbrel_utf8(s);
        if (n == 0) { whimbrel_puts(t, "\xef\xbf\xbd"); s++; continue; }
        if (*s < 0x20 || *s == '"' || *s == '\\') { sprintf(escape, "\\u%04x", *s); whimbrel_puts(t, escape); }
        else whimbrel_put(t, (const char *)s, n);
        s += n;
    }
    whimbrel_puts(t, "\"");
}
static void whimbrel_field(whimbrel_text *t, const char *key, const char *value) {
    if (!value || !*value) return;
    whimbrel_puts(t, ",\""); whimbrel_puts(t, key); whimbrel_puts(t, "\":"); whimbrel_quote(t, value);
}
/* Digits with a point, whatever the locale; what JSON has no numbers for is left out. */
static void whimbrel_number(whimbrel_text *t, const char *key, double value, const char *form) {
    char digits[64], *c;
    if (!isfinite(value)) return;
    snprintf(digits, sizeof digits, form, value);
    for (c = digits; *c; c++) if (*c == ',') *c = '.';
    whimbrel_puts(t, ",\""); whimbrel_puts(t, key); whimbrel_puts(t, "\":"); whimbrel_puts(t, digits);
}
static void whimbrel_attributes(whimbrel_text *t, va_list given) {
    const char *key = va_arg(given, const char *), *start = "";
    if (!key) return;
    whimbrel_puts(t, ",\"attributes\":{");
    for (; key; key = va_arg(given, const char *), start = ",") {
        const char *value = va_arg(given, const char *);
        if (!value) break;
        whimbrel_puts(t, start); whimbrel_quote(t, key); whimbrel_puts(t, ":"); whimbrel_quote(t, value);
    }
    whimbrel_puts(t, "}");
}
static whimbrel_text whimbrel_line(whimbrel *w, const char *type) {
    whimbrel_text t = {malloc(WHIMBREL_LINE + 1), 0, 0};
    if (!t.text) { t.bad = 1; t.len = WHIMBREL_LINE; return t; }
    whimbrel_puts(&t, "{\"type\":\""); whimbrel_puts(&t, type); whimbrel_puts(&t, "\"");
    whimbrel_field(&t, "source", w->source);
    whimbrel_number(&t, "timestamp", whimbrel_clock(CLOCK_REALTIME), "%.6f");
    return t;
}
static void whimbrel_hang_up(whimbrel *w) { if (w->fd >= 0) close(w->fd); w->fd = -1; w->written = w->heard_len = 0; }
static void whimbrel_lose(whimbrel *w) { /* the oldest */
    free(w->lines[w->first]);
    w->first = (w->first + 1) % WHIMBREL_BUFFER; w->count--; w->written = 0; w->dropped++; w->untold++;
}
/* The breaker: after a failure nothing is tried until `retry_at` (open), then one connection is (half-open). */
static void whimbrel_broken(whimbrel *w) {
    int half = w->written > 0;
    whimbrel_hang_up(w);
    if (half) whimbrel_lose(w);
    w->retry_at = whimbrel_clock(CLOCK_MONOTONIC) + w->backoff * (0.5 + whimbrel_chance(w) / 2);
    w->backoff = w->backoff * 2 > WHIMBREL_LONGEST_BACKOFF ? WHIMBREL_LONGEST_BACKOFF : w->backoff * 2;
}
static int whimbrel_try(int family, const struct sockaddr *to, socklen_t len) {
    int fd = socket(family, SOCK_STREAM, 0), error = 0;
    socklen_t size = sizeof error;
    struct pollfd wait = {fd, POLLOUT, 0};
    if (fd < 0) return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (connect(fd, to, len) == 0) return fd;
    if (errno == EINPROGRESS && poll(&wait, 1, WHIMBREL_CONNECT_MS) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && !error) return fd;
    close(fd);
    return -1;
}
static int whimbrel_connect(whimbrel *w) {
    if (!strncmp(w->address, "unix:", 5)) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        strncpy(to.sun_path, w->address + 5, sizeof to.sun_path - 1);
        return whimbrel_try(AF_UNIX, (struct sockaddr *)&to, sizeof to);
    }
    char host[108]; strcpy(host, w->address);
    char *port = strrchr(host, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found; /* names could take long */
    if (!port) return -1;
    *port++ = 0;
    if (getaddrinfo(strcmp(host, "localhost") ? host : "127.0.0.1", port, &hints, &found)) return -1;
    int fd = whimbrel_try(found->ai_family, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return fd;
}
static int whimbrel_write(whimbrel *w, const char *text, size_t len) { /* all, or broken: for the first lines of a connection */
    return send(w->fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}
static void whimbrel_pump(whimbrel *w) {
    if (w->fd < 0) {
        if (whimbrel_clock(CLOCK_MONOTONIC) < w->retry_at) return;
        if ((w->fd = whimbrel_connect(w)) < 0) { whimbrel_broken(w); return; }
        if (w->resource && !whimbrel_write(w, w->resource, strlen(w->resource))) { whimbrel_broken(w); return; }
    }
    if (w->untold && w->written == 0) {
        char tell[128];
        sprintf(tell, "{\"type\":\"metric\",\"name\":\"client.told\",\"value\":%lu,\"dropped\":%lu}\n", w->untold, w->untold);
        if (!whimbrel_write(w, tell, strlen(tell))) { whimbrel_broken(w); return; }
        w->untold = 0;
    }
    while (w->count) {
        char *line = w->lines[w->first];
        size_t len = strlen(line);
        ssize_t n = send(w->fd, line + w->written, len - w->written, MSG_NOSIGNAL);
        if (n < 0) { if (errno != EAGAIN && errno != EINTR) whimbrel_broken(w); break; }
        w->written += n;
        if (w->written < len) break;
        free(line);
        w->first = (w->first + 1) % WHIMBREL_BUFFER; w->count--; w->written = 0; w->sent++; w->backoff = WHIMBREL_BACKOFF;
    }
    while (w->fd >= 0) { /* answers: acknowledgements, errors */
        ssize_t n = recv(w->fd, w->heard + w->heard_len, sizeof w->heard - 1 - w->heard_len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) { whimbrel_broken(w); return; }
        if (n < 0) return;
        w->heard[w->heard_len += n] = 0;
        char *start = w->heard, *end;
        while ((end = strchr(start, '\n'))) {
            unsigned long number;
            *end = 0;
            if (sscanf(start, "{\"ack\":%lu", &number) == 1 && number > w->acknowledged) w->acknowledged = number;
            if (strstr(start, "\"type\":\"error\"")) w->dropped++;
            start = end + 1;
        }
        w->heard_len -= start - w->heard;
        memmove(w->heard, start, w->heard_len + 1);
        if (w->heard_len == sizeof w->heard - 1) w->heard_len = 0; /* the rest of an error that is too long to matter */
    }
}
/* A forked child leaves its parent's connection and lines alone. */
static void whimbrel_own(whimbrel *w) {
    if (w->pid == getpid()) return;
    pthread_mutex_init(&w->lock, NULL); /* another thread of the parent may have held it */
    while (w->count) { free(w->lines[w->first]); w->first = (w->first + 1) % WHIMBREL_BUFFER; w->count--; }
    whimbrel_hang_up(w);
    w->untold = w->asked = w->acknowledged = w->sent = w->dropped = 0;
    w->retry_at = 0; w->backoff = WHIMBREL_BACKOFF; w->pid = getpid();
    w->random ^= (unsigned long)w->pid << 20;
}
static void whimbrel_send(whimbrel *w, whimbrel_text t) {
    char *line;
    whimbrel_put(&t, "}", 1);
    line = t.bad ? NULL : realloc(t.text, t.len + 2);
    whimbrel_own(w);
    pthread_mutex_lock(&w->lock);
    if (!line) { free(t.text); w->dropped++; w->untold++; }
    else {
        strcpy(line + t.len, "\n");
        if (w->count == WHIMBREL_BUFFER) {
            if (w->written) whimbrel_broken(w); else whimbrel_lose(w);
        }
        w->lines[(w->first + w->count++) % WHIMBREL_BUFFER] = line;
        whimbrel_pump(w);
    }
    pthread_mutex_unlock(&w->lock);
}
whimbrel *whimbrel_new(const char *address, const char *source) {
    whimbrel *w = calloc(1, sizeof *w);
    const char *parent = getenv("TRACEPARENT");
    if (!w) return NULL;
    pthread_mutex_init(&w->lock, NULL);
    strncpy(w->address, address, sizeof w->address - 1);
    if (source) strncpy(w->source, source, sizeof w->source - 1);
    if (parent && strlen(parent) >= 55) { memcpy(w->root_trace, parent + 3, 32); memcpy(w->root_span, parent + 36, 16); }
    w->fd = -1; w->backoff = WHIMBREL_BACKOFF; w->pid = getpid();
    w->random = (unsigned long)(whimbrel_clock(CLOCK_REALTIME) * 1e6) ^ (unsigned long)getpid() << 20 ^ (unsigned long)w;
    return w;
}
void whimbrel_event(whimbrel *w, const char *name, const char *severity, const char *message, ...) {
    whimbrel_text t = whimbrel_line(w, "event");
    va_list more;
    whimbrel_field(&t, "name", name); whimbrel_field(&t, "severity", severity); whimbrel_field(&t, "message", message);
    whimbrel_field(&t, "trace_id", w->root_trace); whimbrel_field(&t, "span_id", w->root_span);
    va_start(more, message); whimbrel_attributes(&t, more); va_end(more);
    whimbrel_send(w, t);
}
void whimbrel_metric(whimbrel *w, const char *name, const char *kind, double value, ...) {
    whimbrel_text t = whimbrel_line(w, "metric");
    va_list more;
    whimbrel_field(&t, "name", name); whimbrel_field(&t, "kind", kind); whimbrel_number(&t, "value", value, "%.17g");
    va_start(more, value); whimbrel_attributes(&t, more); va_end(more);
    whimbrel_send(w, t);
}
void whimbrel_progress(whimbrel *w, const char *name, double current, double total, const char *message) {
    whimbrel_text t = whimbrel_line(w, "progress");
    whimbrel_field(&t, "name", name); whimbrel_number(&t, "current", current, "%.17g"); whimbrel_number(&t, "total", total, "%.17g");
    whimbrel_field(&t, "message", message);
    whimbrel_send(w, t);
}
void whimbrel_resource(whimbrel *w, ...) {
    whimbrel_text t = whimbrel_line(w, "resource");
    va_list more;
    va_start(more, w); whimbrel_attributes(&t, more); va_end(more);
    if (!t.bad) {
        pthread_mutex_lock(&w->lock);
        free(w->resource);
        if ((w->resource = malloc(t.len + 3))) { memcpy(w->resource, t.text, t.len); strcpy(w->resource + t.len, "}\n"); }
        pthread_mutex_unlock(&w->lock);
    }
    whimbrel_send(w, t);
}
void whimbrel_heartbeat(whimbrel *w, double interval_s) {
    whimbrel_text t = whimbrel_line(w, "heartbeat");
    whimbrel_number(&t, "interval", interval_s, "%.17g");
    whimbrel_send(w, t);
}
static void whimbrel_id(whimbrel *w, char *out, int bytes) {
    static const char digits[] = "0123456789abcdef";
    int i, fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    unsigned char random[16];
    if (fd < 0 || read(fd, random, bytes) != bytes) for (i = 0; i < bytes; i++) random[i] = (unsigned char)(256 * whimbrel_chance(w)) | 1;
    if (fd >= 0) close(fd);
    for (i = 0; i < bytes; i++) { out[2 * i] = digits[random[i] >> 4]; out[2 * i + 1] = digits[random[i] & 15]; }
    out[2 * bytes] = 0;
}
whimbrel_span whimbrel_span_start(whimbrel *w, const char *name, const whimbrel_span *parent) {
    whimbrel_span s;
    memset(&s, 0, sizeof s);
    pthread_mutex_lock(&w->lock);
    whimbrel_id(w, s.trace_id, 16); whimbrel_id(w, s.span_id, 8);
    pthread_mutex_unlock(&w->lock);
    if (parent) { strcpy(s.trace_id, parent->trace_id); strcpy(s.parent_id, parent->span_id); }
    else if (*w->root_trace) { strcpy(s.trace_id, w->root_trace); strcpy(s.parent_id, w->root_span); }
    strncpy(s.name, name, sizeof s.name - 1);
    s.start = whimbrel_clock(CLOCK_REALTIME);
    return s;
}
void whimbrel_span_end(whimbrel *w, whimbrel_span *s, const char *status, const char *message) {
    whimbrel_text t = whimbrel_line(w, "span");
    whimbrel_field(&t, "name", s->name); whimbrel_field(&t, "trace_id", s->trace_id); whimbrel_field(&t, "span_id", s->span_id);
    whimbrel_field(&t, "parent_id", s->parent_id); whimbrel_field(&t, "status", status); whimbrel_field(&t, "message", message);
    whimbrel_number(&t, "start", s->start, "%.6f"); whimbrel_number(&t, "end", whimbrel_clock(CLOCK_REALTIME), "%.6f");
    whimbrel_send(w, t);
}
void whimbrel_traceparent(const whimbrel_span *s, char out[56]) { sprintf(out, "00-%s-%s-01", s->trace_id, s->span_id); }
int whimbrel_flush(whimbrel *w, int timeout_ms) {
    double end = whimbrel_clock(CLOCK_MONOTONIC) + timeout_ms / 1e3;
    unsigned long mine;
    int durable;
    whimbrel_own(w);
    pthread_mutex_lock(&w->lock); mine = ++w->asked; pthread_mutex_unlock(&w->lock);
    whimbrel_text t = whimbrel_line(w, "metric");
    whimbrel_field(&t, "name", "client.flush"); whimbrel_puts(&t, ",\"value\":1"); whimbrel_number(&t, "ack", mine, "%.0f");
    whimbrel_send(w, t);
    for (;;) {
        struct timespec pause = {0, 2000000};
        pthread_mutex_lock(&w->lock);
        whimbrel_pump(w);
        durable = w->acknowledged >= mine;
        pthread_mutex_unlock(&w->lock);
        if (durable || whimbrel_clock(CLOCK_MONOTONIC) >= end) return durable;
        nanosleep(&pause, NULL);
    }
}
unsigned long whimbrel_sent(whimbrel *w) { return w->sent; }
unsigned long whimbrel_dropped(whimbrel *w) { return w->dropped; }
void whimbrel_free(whimbrel *w) {
    while (w->count) whimbrel_lose(w);
    whimbrel_hang_up(w);
    free(w->resource);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
#endif
#endif
