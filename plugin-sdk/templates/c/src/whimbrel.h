/* What a Whimbrel plugin in C is written with. `plugin.c` implements the three functions at the end; everything else
 * is called by it. Texts are UTF-8 and end with a zero byte; what is given to a function is copied. */
#ifndef WHIMBREL_H
#define WHIMBREL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cjson/cJSON.h"

/* A value of an attribute or of a log record's body: make one with wb_text, wb_int, wb_double, wb_bool. */
typedef struct wb_value {
    enum { WB_TEXT, WB_INT, WB_DOUBLE, WB_BOOL } kind;
    const char *text;
    int64_t integer;
    double number;
} wb_value;

typedef struct wb_attribute {
    const char *key;
    wb_value value;
} wb_attribute;

static inline wb_value wb_text(const char *text) { return (wb_value){.kind = WB_TEXT, .text = text}; }
static inline wb_value wb_int(int64_t number) { return (wb_value){.kind = WB_INT, .integer = number}; }
static inline wb_value wb_double(double number) { return (wb_value){.kind = WB_DOUBLE, .number = number}; }
static inline wb_value wb_bool(bool yes) { return (wb_value){.kind = WB_BOOL, .integer = yes}; }

/* What a metric is; units are UCUM: "By", "s", "1", "{request}". */
typedef struct wb_metric {
    const char *name;
    const char *unit;
    const char *description;
    enum { WB_GAUGE, WB_COUNTER, WB_UP_DOWN_COUNTER } kind;
    /* When a counter began, in nanoseconds since 1970; 0 for a gauge. */
    uint64_t start_ns;
} wb_metric;

/* OTLP's severities. */
enum { WB_SEVERITY_DEBUG = 5, WB_SEVERITY_INFO = 9, WB_SEVERITY_WARN = 13, WB_SEVERITY_ERROR = 17 };

/* Levels of the agent's own log. */
typedef enum { WB_TRACE, WB_DEBUG, WB_INFO, WB_WARN, WB_ERROR } wb_level;

/* Why something failed. The text is copied when the function returns. */
typedef struct wb_error {
    enum { WB_CONFIG, WB_DENIED, WB_UNAVAILABLE, WB_INVALID, WB_TOO_LARGE, WB_TRANSIENT, WB_PERMANENT } kind;
    char text[256];
} wb_error;

/* Fills an error in, printf-like, and returns false: `return wb_fail(error, WB_CONFIG, "port: %d", port);` */
bool wb_fail(wb_error *error, int kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What init is given. */
typedef struct wb_context {
    const char *instance;
    /* Never NULL: an object. */
    const cJSON *config;
    /* NULL where there is none. */
    const uint8_t *checkpoint;
    size_t checkpoint_len;
    uint32_t interval_ms;
} wb_context;

/* A field of the configuration, or what there is instead. False, and an error, where it is of another type. */
bool wb_config_text(const wb_context *context, const char *key, const char *otherwise, char *into, size_t size, wb_error *error);
bool wb_config_number(const wb_context *context, const char *key, double otherwise, double *into, wb_error *error);
bool wb_config_bool(const wb_context *context, const char *key, bool otherwise, bool *into, wb_error *error);

/* Nanoseconds since 1970; nanoseconds that never go back; unpredictable bytes. */
uint64_t wb_now(void);
uint64_t wb_monotonic(void);
void wb_random(uint8_t *into, size_t len);

/* A line of the agent's own log; keys and values of the fields come in pairs, NULL ends them. */
void wb_log(wb_level level, const char *message, ...) __attribute__((sentinel));

/* A secret of the configuration, which `grants: {secrets: [NAME]}` allows. Free it. */
bool wb_secret(const char *name, char **secret, wb_error *error);

/* The bytes of a file, at most 8 MiB, with a zero byte behind them; `grants: {read: [FOLDER]}` allows it. Free them. */
bool wb_read_file(const char *path, char **content, size_t *len, wb_error *error);

/* An answer to a request, whatever its status. Free the body, which has a zero byte behind it. */
typedef struct wb_response {
    int status;
    char *body;
    size_t len;
} wb_response;

/* Gets a URL; `grants: {http: ["http://HOST:PORT"]}` allows it. Redirects are answers like others, and not followed. */
bool wb_http_get(const char *url, wb_response *response, wb_error *error);

/* A point of a metric, now. It is pushed when collect returns, or by wb_push. */
void wb_point(const wb_metric *metric, const wb_attribute *attributes, size_t count, wb_value value);

/* A log record, seen now. */
void wb_record(int severity, const char *severity_text, wb_value body, const wb_attribute *attributes, size_t count);

/* Makes what was emitted durable, with a checkpoint if it is not NULL. Push at most about 1000 items at once. */
bool wb_push(const uint8_t *checkpoint, size_t len, wb_error *error);

/* To be implemented: called once at the start, once an interval (more: call again at once), once at the end. */
bool plugin_init(const wb_context *context, wb_error *error);
bool plugin_collect(uint32_t deadline_ms, bool *more, wb_error *error);
void plugin_shutdown(void);

#endif
