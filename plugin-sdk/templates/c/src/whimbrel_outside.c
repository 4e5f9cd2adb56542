/* Files and HTTP: wasi:filesystem and wasi:http, called by their names in the canonical ABI. Texts and lists are address
 * and length; what the host hands over is malloc'ed. A plugin that calls none of it imports none of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "whimbrel.h"

#define IMPORT(module, name) __attribute__((import_module(module "@0.2.12"), import_name(name)))
#define PREOPENS "wasi:filesystem/preopens"
#define FILES "wasi:filesystem/types"
#define HTTP "wasi:http/types"

/* The most that is read of one file or answer. */
static const size_t MOST = 8 << 20;

typedef struct span {
    uint8_t *at;
    uint32_t len;
} span;

/* result<own, error>, where an error is told by its first byte. */
typedef struct owned {
    uint8_t failed;
    uint32_t value;
} owned;

/* Bytes that grow. */
typedef struct content {
    char *at;
    size_t len;
} content;

/* Takes a part over. */
static bool append(content *to, span part) {
    char *room = to->len + part.len > MOST ? NULL : realloc(to->at, to->len + part.len + 1);
    if (room) {
        if (part.len) memcpy(room + to->len, part.at, part.len);
        to->at = room;
        to->len += part.len;
        room[to->len] = 0;
    }
    if (part.len) free(part.at);
    return room != NULL;
}

static bool too_large(wb_error *error) { return wb_fail(error, WB_TOO_LARGE, "%zu", MOST); }

IMPORT(PREOPENS, "get-directories") void get_directories(span *list);
IMPORT(FILES, "[method]descriptor.open-at")
void open_at(uint32_t folder, uint32_t path_flags, const char *path, uint32_t len, uint32_t open, uint32_t flags, owned *to);
IMPORT(FILES, "[resource-drop]descriptor") void drop_descriptor(uint32_t descriptor);

/* result<tuple<list<u8>, bool>, error-code> */
typedef struct read_result {
    uint8_t failed;
    span part;
    uint8_t end;
} read_result;
IMPORT(FILES, "[method]descriptor.read") void read_at(uint32_t file, uint64_t len, uint64_t offset, read_result *to);

typedef struct directory {
    uint32_t descriptor;
    span name;
} directory;

static const char *file_error(uint8_t code) {
    /* By their number in error-code; the others are rare. */
    switch (code) {
    case 0: return "access denied by the system";
    case 6: return "too many files are open";
    case 14: return "it is a folder";
    case 20: return "it is not there";
    case 24: return "a part of the path is no folder";
    case 27: return "it is no file";
    case 31: return "not granted; the agent's log says which grant would allow it";
    default: return NULL;
    }
}

static bool file_failed(wb_error *error, const char *path, uint8_t code) {
    const char *why = file_error(code);
    if (why) return wb_fail(error, WB_UNAVAILABLE, "%s: %s", path, why);
    return wb_fail(error, WB_UNAVAILABLE, "%s: error %d of wasi:filesystem", path, code);
}

/* Whether the path lies in the folder; *inside is the rest of it. */
static bool holds(span folder, const char *path, const char **inside) {
    size_t len = folder.len;
    while (len && folder.at[len - 1] == '/') len--;
    if (strncmp(path, (const char *)folder.at, len) != 0 || path[len] != '/') return false;
    *inside = path + len + 1;
    return true;
}

/* Opens by the granted folder that holds it most closely. */
static bool open_file(const char *path, uint32_t *file, wb_error *error) {
    span list;
    get_directories(&list);
    directory *folders = (directory *)list.at;
    uint32_t folder = 0;
    const char *inside = NULL;
    for (uint32_t i = 0; i < list.len; i++) {
        const char *rest;
        bool closer = holds(folders[i].name, path, &rest) && (!inside || rest > inside);
        if (closer && inside) drop_descriptor(folder);
        if (closer) {
            folder = folders[i].descriptor;
            inside = rest;
        } else {
            drop_descriptor(folders[i].descriptor);
        }
        if (folders[i].name.len) free(folders[i].name.at);
    }
    if (list.len) free(list.at);
    if (!inside) return wb_fail(error, WB_DENIED, "%s: no granted folder holds it; grants: {read: [FOLDER]}", path);
    enum { FOLLOW_LINKS = 1, FOR_READING = 1 };
    owned opened;
    open_at(folder, FOLLOW_LINKS, inside, strlen(inside), 0, FOR_READING, &opened);
    drop_descriptor(folder);
    if (opened.failed) return file_failed(error, path, (uint8_t)opened.value);
    *file = opened.value;
    return true;
}

bool wb_read_file(const char *path, char **into, size_t *len, wb_error *error) {
    uint32_t file;
    if (!open_file(path, &file, error)) return false;
    content whole = {NULL, 0};
    bool done = true;
    for (bool end = false; done && !end;) {
        read_result got;
        read_at(file, 1 << 16, whole.len, &got);
        if (got.failed) {
            done = file_failed(error, path, *(uint8_t *)&got.part);
        } else {
            end = got.end;
            done = append(&whole, got.part) || too_large(error);
        }
    }
    drop_descriptor(file);
    if (!done) {
        free(whole.at);
        return false;
    }
    *into = whole.at;
    if (len) *len = whole.len;
    return true;
}

IMPORT(HTTP, "[constructor]fields") uint32_t new_fields(void);
IMPORT(HTTP, "[constructor]outgoing-request") uint32_t new_request(uint32_t fields);
IMPORT(HTTP, "[resource-drop]outgoing-request") void drop_request(uint32_t request);
IMPORT(HTTP, "[method]outgoing-request.set-scheme")
uint32_t set_scheme(uint32_t request, uint32_t some, uint32_t scheme, const char *other, uint32_t len);
IMPORT(HTTP, "[method]outgoing-request.set-authority")
uint32_t set_authority(uint32_t request, uint32_t some, const char *authority, uint32_t len);
IMPORT(HTTP, "[method]outgoing-request.set-path-with-query")
uint32_t set_path(uint32_t request, uint32_t some, const char *path, uint32_t len);

/* result<own<future-incoming-response>, error-code>: at 8, because an error-code holds 64 bits. */
typedef struct sent {
    uint64_t failed;
    uint64_t value;
    uint64_t rest[4];
} sent;
IMPORT("wasi:http/outgoing-handler", "handle")
void http_handle(uint32_t request, uint32_t some, uint32_t options, sent *to);

IMPORT(HTTP, "[method]future-incoming-response.subscribe") uint32_t subscribe(uint32_t future);
IMPORT(HTTP, "[resource-drop]future-incoming-response") void drop_future(uint32_t future);
IMPORT("wasi:io/poll", "[method]pollable.block") void block(uint32_t pollable);
IMPORT("wasi:io/poll", "[resource-drop]pollable") void drop_pollable(uint32_t pollable);

/* option<result<result<own<incoming-response>, error-code>>> */
typedef struct came {
    uint64_t some;
    uint64_t taken;
    uint64_t failed;
    uint64_t value;
    uint64_t rest[4];
} came;
IMPORT(HTTP, "[method]future-incoming-response.get") void get_response(uint32_t future, came *to);

IMPORT(HTTP, "[method]incoming-response.status") uint32_t response_status(uint32_t response);
IMPORT(HTTP, "[method]incoming-response.consume") void consume(uint32_t response, owned *to);
IMPORT(HTTP, "[resource-drop]incoming-response") void drop_response(uint32_t response);
IMPORT(HTTP, "[method]incoming-body.stream") void body_stream(uint32_t body, owned *to);
IMPORT(HTTP, "[resource-drop]incoming-body") void drop_body(uint32_t body);

/* result<list<u8>, stream-error>; an error has its case and a handle where a list has address and length. */
typedef struct stream_result {
    uint8_t failed;
    span part;
} stream_result;
IMPORT("wasi:io/streams", "[method]input-stream.blocking-read")
void blocking_read(uint32_t stream, uint64_t len, stream_result *to);
IMPORT("wasi:io/streams", "[resource-drop]input-stream") void drop_stream(uint32_t stream);
IMPORT("wasi:io/error", "[resource-drop]error") void drop_error(uint32_t error);

static bool http_failed(wb_error *error, const char *url, uint8_t code) {
    /* By their number in error-code. */
    static const char *const WORDS[] = {
        "DNS timeout", "DNS error", "destination not found", "destination unavailable", "destination address prohibited",
        "destination address unroutable", "connection refused", "connection terminated", "connection timeout",
        "connection read timeout", "connection write timeout", "connection limit reached", "TLS protocol error",
        "TLS certificate error", "TLS alert received", "not granted; the agent's log says which grant would allow it",
    };
    if (code < sizeof WORDS / sizeof *WORDS) return wb_fail(error, WB_UNAVAILABLE, "%s: %s", url, WORDS[code]);
    return wb_fail(error, WB_UNAVAILABLE, "%s: error %d of wasi:http", url, code);
}

static bool read_body(const char *url, uint32_t response, content *whole, wb_error *error) {
    owned body, stream;
    consume(response, &body);
    if (body.failed) return wb_fail(error, WB_UNAVAILABLE, "%s: the answer has no body", url);
    body_stream(body.value, &stream);
    bool done = !stream.failed || wb_fail(error, WB_UNAVAILABLE, "%s: the answer has no body", url);
    /* An empty body is a text, too. */
    done = done && append(whole, (span){NULL, 0});
    while (done) {
        enum { CLOSED = 1 };
        stream_result got;
        blocking_read(stream.value, 1 << 16, &got);
        if (!got.failed) {
            done = append(whole, got.part) || too_large(error);
        } else if (*(uint8_t *)&got.part == CLOSED) {
            break;
        } else {
            drop_error(got.part.len);
            done = wb_fail(error, WB_UNAVAILABLE, "%s: the answer broke off", url);
        }
    }
    if (!stream.failed) drop_stream(stream.value);
    drop_body(body.value);
    return done;
}

bool wb_http_get(const char *url, wb_response *response, wb_error *error) {
    bool secure = strncmp(url, "https://", 8) == 0;
    if (!secure && strncmp(url, "http://", 7) != 0) {
        return wb_fail(error, WB_INVALID, "%s: give http://HOST:PORT/PATH", url);
    }
    const char *authority = url + (secure ? 8 : 7);
    size_t authority_len = strcspn(authority, "/");
    const char *path = authority[authority_len] ? authority + authority_len : "/";
    uint32_t request = new_request(new_fields());
    if (set_scheme(request, 1, secure, NULL, 0) || set_authority(request, 1, authority, authority_len) ||
        set_path(request, 1, path, strlen(path))) {
        drop_request(request);
        return wb_fail(error, WB_INVALID, "%s: no URL that can be asked for", url);
    }
    sent begun;
    http_handle(request, 0, 0, &begun);
    if ((uint8_t)begun.failed) return http_failed(error, url, (uint8_t)begun.value);
    uint32_t future = (uint32_t)begun.value, ready = subscribe(future);
    block(ready);
    drop_pollable(ready);
    came answer;
    get_response(future, &answer);
    drop_future(future);
    if (!(uint8_t)answer.some || (uint8_t)answer.taken) return wb_fail(error, WB_UNAVAILABLE, "%s: no answer", url);
    if ((uint8_t)answer.failed) return http_failed(error, url, (uint8_t)answer.value);
    uint32_t from = (uint32_t)answer.value;
    content body = {NULL, 0};
    bool done = read_body(url, from, &body, error);
    if (done) {
        *response = (wb_response){.status = (int)response_status(from), .body = body.at, .len = body.len};
    } else {
        free(body.at);
    }
    drop_response(from);
    return done;
}
