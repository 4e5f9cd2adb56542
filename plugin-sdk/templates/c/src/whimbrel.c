/* Between plugin.c and the bindings of the contract (build/bindings/collector.h, made by `whimbrel plugin build`). */
#include "whimbrel.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector.h"

typedef collector_string_t string;
typedef whimbrel_plugin_types_attribute_t attribute;
typedef whimbrel_plugin_types_list_attribute_t attribute_list;
typedef whimbrel_plugin_types_value_t value;
typedef whimbrel_plugin_types_metric_t metric;
typedef whimbrel_plugin_types_log_record_t record;

/* What waits to be pushed. */
static metric *metrics;
static size_t metric_count, metric_room;
static record *records;
static size_t record_count, record_room;

static void *must(void *memory) {
    if (!memory) abort(); /* The limit of the memory: the host says so. */
    return memory;
}

static string borrowed(const char *text) {
    return (string){.ptr = (uint8_t *)text, .len = text ? strlen(text) : 0};
}

static string copied(const char *text) {
    string copy = borrowed(text);
    uint8_t *bytes = must(malloc(copy.len + 1));
    if (copy.len) memcpy(bytes, text, copy.len);
    copy.ptr = bytes;
    return copy;
}

static char *as_text(const string *from) {
    char *text = must(malloc(from->len + 1));
    if (from->len) memcpy(text, from->ptr, from->len);
    text[from->len] = 0;
    return text;
}

static value value_of(wb_value from) {
    value to = {0};
    switch (from.kind) {
    case WB_TEXT:
        to.tag = WHIMBREL_PLUGIN_TYPES_VALUE_TEXT;
        to.val.text = copied(from.text);
        break;
    case WB_INT:
        to.tag = WHIMBREL_PLUGIN_TYPES_VALUE_INT;
        to.val.int_ = from.integer;
        break;
    case WB_DOUBLE:
        to.tag = WHIMBREL_PLUGIN_TYPES_VALUE_DOUBLE;
        to.val.double_ = from.number;
        break;
    case WB_BOOL:
        to.tag = WHIMBREL_PLUGIN_TYPES_VALUE_BOOLEAN;
        to.val.boolean = from.integer != 0;
        break;
    }
    return to;
}

static attribute_list attributes_of(const wb_attribute *from, size_t count) {
    attribute_list to = {.ptr = NULL, .len = count};
    if (!count) return to;
    to.ptr = must(calloc(count, sizeof *to.ptr));
    for (size_t i = 0; i < count; i++) {
        to.ptr[i] = (attribute){.key = copied(from[i].key), .value = value_of(from[i].value)};
    }
    return to;
}

static void free_value(value *of) {
    if (of->tag == WHIMBREL_PLUGIN_TYPES_VALUE_TEXT) free(of->val.text.ptr);
}

static void free_attributes(attribute_list *list) {
    for (size_t i = 0; i < list->len; i++) {
        free(list->ptr[i].key.ptr);
        free_value(&list->ptr[i].value);
    }
    free(list->ptr);
}

static void *grown(void *array, size_t count, size_t *room, size_t size) {
    if (count < *room) return array;
    *room = *room ? *room * 2 : 16;
    return must(realloc(array, *room * size));
}

static whimbrel_plugin_types_list_point_t *points_of(metric *of) {
    return of->data.tag == WHIMBREL_PLUGIN_TYPES_DATA_GAUGE ? &of->data.val.gauge : &of->data.val.sum.points;
}

static void forget(void) {
    for (size_t i = 0; i < metric_count; i++) {
        whimbrel_plugin_types_list_point_t *points = points_of(&metrics[i]);
        for (size_t j = 0; j < points->len; j++) free_attributes(&points->ptr[j].attributes);
        free(points->ptr);
        free(metrics[i].name.ptr);
        free(metrics[i].unit.ptr);
        free(metrics[i].description.ptr);
    }
    metric_count = 0;
    for (size_t i = 0; i < record_count; i++) {
        free(records[i].severity_text.ptr);
        free_value(&records[i].body);
        free_attributes(&records[i].attributes);
    }
    record_count = 0;
}

void wb_point(const wb_metric *of, const wb_attribute *attributes, size_t count, wb_value number) {
    whimbrel_plugin_types_point_t point = {
        .attributes = attributes_of(attributes, count),
        .start_ns = of->start_ns,
        .value = {.tag = WHIMBREL_PLUGIN_TYPES_NUMBER_INT, .val = {.int_ = number.integer}},
    };
    if (number.kind == WB_DOUBLE) {
        point.value.tag = WHIMBREL_PLUGIN_TYPES_NUMBER_DOUBLE;
        point.value.val.double_ = number.number;
    }
    string name = borrowed(of->name);
    metric *last = metric_count ? &metrics[metric_count - 1] : NULL;
    if (!last || last->name.len != name.len || memcmp(last->name.ptr, name.ptr, name.len) != 0) {
        metrics = grown(metrics, metric_count, &metric_room, sizeof *metrics);
        last = &metrics[metric_count++];
        *last = (metric){.name = copied(of->name), .unit = copied(of->unit), .description = copied(of->description)};
        if (of->kind != WB_GAUGE) {
            last->data.tag = WHIMBREL_PLUGIN_TYPES_DATA_SUM;
            last->data.val.sum.temporality = WHIMBREL_PLUGIN_TYPES_TEMPORALITY_CUMULATIVE;
            last->data.val.sum.monotonic = of->kind == WB_COUNTER;
        }
    }
    whimbrel_plugin_types_list_point_t *points = points_of(last);
    /* Room doubles at each power of two. */
    if ((points->len & (points->len - 1)) == 0) {
        points->ptr = must(realloc(points->ptr, (points->len ? points->len * 2 : 1) * sizeof *points->ptr));
    }
    points->ptr[points->len++] = point;
}

void wb_record(int severity, const char *severity_text, wb_value body, const wb_attribute *attributes, size_t count) {
    records = grown(records, record_count, &record_room, sizeof *records);
    records[record_count++] = (record){
        .severity = (uint8_t)severity,
        .severity_text = copied(severity_text),
        .body = value_of(body),
        .attributes = attributes_of(attributes, count),
    };
}

static bool failed(wb_error *error, const whimbrel_plugin_types_error_t *from) {
    error->kind = from->tag;
    if (from->tag == WHIMBREL_PLUGIN_TYPES_ERROR_TOO_LARGE) {
        snprintf(error->text, sizeof error->text, "at most %llu bytes", (unsigned long long)from->val.too_large);
    } else {
        snprintf(error->text, sizeof error->text, "%.*s", (int)from->val.config.len, (const char *)from->val.config.ptr);
    }
    whimbrel_plugin_types_error_free((whimbrel_plugin_types_error_t *)from);
    return false;
}

static bool push(whimbrel_plugin_types_batch_t *batch, collector_list_u8_t *checkpoint, wb_error *error) {
    whimbrel_plugin_types_error_t refused;
    return whimbrel_plugin_emit_push(batch, checkpoint, &refused) || failed(error, &refused);
}

bool wb_push(const uint8_t *checkpoint, size_t len, wb_error *error) {
    whimbrel_plugin_types_option_scope_t scope = {
        .is_some = true,
        .val = {.name = borrowed(PLUGIN_NAME), .version = borrowed(PLUGIN_VERSION)},
    };
    collector_list_u8_t position = {.ptr = (uint8_t *)checkpoint, .len = len};
    collector_list_u8_t *with = checkpoint ? &position : NULL;
    bool done = true;
    if (metric_count) {
        whimbrel_plugin_types_resource_metrics_t group = {.scope = scope, .metrics = {.ptr = metrics, .len = metric_count}};
        whimbrel_plugin_types_batch_t batch = {.tag = WHIMBREL_PLUGIN_TYPES_BATCH_METRICS};
        batch.val.metrics.ptr = &group;
        batch.val.metrics.len = 1;
        done = push(&batch, record_count ? NULL : with, error);
    }
    /* The checkpoint goes with the last batch; alone, it goes with an empty one. */
    if (done && (record_count || (with && !metric_count))) {
        whimbrel_plugin_types_resource_logs_t group = {.scope = scope, .records = {.ptr = records, .len = record_count}};
        whimbrel_plugin_types_batch_t batch = {.tag = WHIMBREL_PLUGIN_TYPES_BATCH_LOGS};
        batch.val.logs.ptr = &group;
        batch.val.logs.len = record_count ? 1 : 0;
        done = push(&batch, with, error);
    }
    forget();
    return done;
}

bool wb_fail(wb_error *error, int kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error->kind = kind;
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return false;
}

static const cJSON *field(const wb_context *context, const char *key) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(context->config, key);
    return cJSON_IsNull(found) ? NULL : found;
}

bool wb_config_text(const wb_context *context, const char *key, const char *otherwise, char *into, size_t size, wb_error *error) {
    const cJSON *found = field(context, key);
    if (found && !cJSON_IsString(found)) return wb_fail(error, WB_CONFIG, "%s: give a text", key);
    const char *text = found ? found->valuestring : otherwise;
    if (strlen(text) >= size) return wb_fail(error, WB_CONFIG, "%s: give at most %zu bytes", key, size - 1);
    strcpy(into, text);
    return true;
}

bool wb_config_number(const wb_context *context, const char *key, double otherwise, double *into, wb_error *error) {
    const cJSON *found = field(context, key);
    if (found && !cJSON_IsNumber(found)) return wb_fail(error, WB_CONFIG, "%s: give a number", key);
    *into = found ? found->valuedouble : otherwise;
    return true;
}

bool wb_config_bool(const wb_context *context, const char *key, bool otherwise, bool *into, wb_error *error) {
    const cJSON *found = field(context, key);
    if (found && !cJSON_IsBool(found)) return wb_fail(error, WB_CONFIG, "%s: give true or false", key);
    *into = found ? cJSON_IsTrue(found) : otherwise;
    return true;
}

uint64_t wb_now(void) { return whimbrel_plugin_clock_now_ns(); }

uint64_t wb_monotonic(void) { return whimbrel_plugin_clock_monotonic_ns(); }

void wb_random(uint8_t *into, size_t len) {
    while (len) {
        collector_list_u8_t bytes;
        whimbrel_plugin_clock_random(len < 65536 ? (uint32_t)len : 65536, &bytes);
        memcpy(into, bytes.ptr, bytes.len);
        into += bytes.len;
        len -= bytes.len;
        collector_list_u8_free(&bytes);
    }
}

void wb_log(wb_level level, const char *message, ...) {
    collector_tuple2_string_string_t pairs[16];
    collector_list_tuple2_string_string_t fields = {.ptr = pairs, .len = 0};
    va_list arguments;
    va_start(arguments, message);
    while (fields.len < sizeof pairs / sizeof *pairs) {
        const char *key = va_arg(arguments, const char *);
        if (!key) break;
        const char *text = va_arg(arguments, const char *);
        pairs[fields.len++] = (collector_tuple2_string_string_t){.f0 = borrowed(key), .f1 = borrowed(text)};
    }
    va_end(arguments);
    string line = borrowed(message);
    whimbrel_plugin_log_write((whimbrel_plugin_log_level_t)level, &line, &fields);
}

bool wb_secret(const char *name, char **secret, wb_error *error) {
    string wanted = borrowed(name), found;
    whimbrel_plugin_types_error_t refused;
    if (!whimbrel_plugin_secrets_reveal(&wanted, &found, &refused)) return failed(error, &refused);
    *secret = as_text(&found);
    free(found.ptr);
    return true;
}

/* To the contract's error; its text must be the host's to free. */
static void refuse(whimbrel_plugin_types_error_t *to, const wb_error *from) {
    to->tag = (uint8_t)from->kind;
    if (from->kind == WB_TOO_LARGE) {
        to->val.too_large = strtoull(from->text, NULL, 10);
    } else {
        to->val.config = copied(from->text);
    }
}

bool exports_whimbrel_plugin_lifecycle_init(exports_whimbrel_plugin_lifecycle_context_t *ctx, exports_whimbrel_plugin_lifecycle_error_t *err) {
    wb_error error = {.kind = WB_PERMANENT, .text = "init failed, and does not say why"};
    cJSON *config = cJSON_ParseWithLength((const char *)ctx->config.ptr, ctx->config.len);
    bool done = cJSON_IsObject(config) || wb_fail(&error, WB_CONFIG, "the configuration is no JSON object");
    if (done) {
        char *instance = as_text(&ctx->instance);
        wb_context context = {
            .instance = instance,
            .config = config,
            .checkpoint = ctx->checkpoint.is_some ? ctx->checkpoint.val.ptr : NULL,
            .checkpoint_len = ctx->checkpoint.is_some ? ctx->checkpoint.val.len : 0,
            .interval_ms = ctx->interval_ms,
        };
        done = plugin_init(&context, &error);
        free(instance);
    }
    cJSON_Delete(config);
    exports_whimbrel_plugin_lifecycle_context_free(ctx);
    if (!done) refuse(err, &error);
    return done;
}

bool exports_whimbrel_plugin_collect_collect(uint32_t deadline_ms, bool *more, exports_whimbrel_plugin_collect_error_t *err) {
    wb_error error = {.kind = WB_TRANSIENT, .text = "collect failed, and does not say why"};
    *more = false;
    bool done = plugin_collect(deadline_ms, more, &error) && wb_push(NULL, 0, &error);
    if (!done) {
        forget();
        refuse(err, &error);
    }
    return done;
}

void exports_whimbrel_plugin_lifecycle_shutdown(uint32_t deadline_ms) { plugin_shutdown(); }
