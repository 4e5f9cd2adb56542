/* Tells how long ago a job last succeeded, by the file that it leaves. */
#include <stdlib.h>

#include "whimbrel.h"

static const wb_metric AGE = {
    .name = "job.last_run.age",
    .unit = "s",
    .description = "Time since the job last succeeded.",
    .kind = WB_GAUGE,
};

static struct {
    char path[1024];
    char job[128];
    double warn_above;
} config;

bool plugin_init(const wb_context *context, wb_error *error) {
    if (!wb_config_text(context, "path", "", config.path, sizeof config.path, error)) return false;
    if (!wb_config_text(context, "job", "job", config.job, sizeof config.job, error)) return false;
    if (!wb_config_number(context, "warn_above", 0, &config.warn_above, error)) return false;
    if (config.path[0] != '/') return wb_fail(error, WB_CONFIG, "path: name the file, from / on");
    return true;
}

bool plugin_collect(uint32_t deadline_ms, bool *more, wb_error *error) {
    char *text;
    if (!wb_read_file(config.path, &text, NULL, error)) return false;
    char *end;
    unsigned long long then = strtoull(text, &end, 10);
    bool is_time = end != text && (*end == 0 || *end == '\n' || *end == '.');
    free(text);
    if (!is_time) return wb_fail(error, WB_TRANSIENT, "%s: no time in seconds", config.path);

    int64_t age = (int64_t)(wb_now() / 1000000000) - (int64_t)then;
    wb_attribute job = {"job", wb_text(config.job)};
    wb_point(&AGE, &job, 1, wb_int(age));
    if (config.warn_above > 0 && (double)age > config.warn_above) {
        wb_attribute told[] = {job, {"age", wb_int(age)}};
        wb_record(WB_SEVERITY_WARN, "WARN", wb_text("the job has not succeeded for long"), told, 2);
    }
    return true;
}

void plugin_shutdown(void) {}
