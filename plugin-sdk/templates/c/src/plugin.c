/* Tells how old the minute is, as an example. */
#include <stdio.h>

#include "whimbrel.h"

static const wb_metric ELAPSED = {
    .name = "my_plugin.minute.elapsed",
    .unit = "s",
    .description = "Seconds since the minute began.",
    .kind = WB_GAUGE,
};

/* What stands under `config:` in whimbrel.yaml. */
static struct {
    char label[128];
    double warn_above;
} config;

bool plugin_init(const wb_context *context, wb_error *error) {
    if (!wb_config_text(context, "label", "hello", config.label, sizeof config.label, error)) return false;
    if (!wb_config_number(context, "warn_above", 50, &config.warn_above, error)) return false;
    if (!(config.warn_above >= 0 && config.warn_above <= 60)) {
        return wb_fail(error, WB_CONFIG, "warn_above: give a number from 0 to 60");
    }
    wb_log(WB_INFO, "started", "label", config.label, NULL);
    return true;
}

bool plugin_collect(uint32_t deadline_ms, bool *more, wb_error *error) {
    int64_t elapsed = (int64_t)(wb_now() / 1000000000 % 60);
    wb_attribute label = {"label", wb_text(config.label)};
    wb_point(&ELAPSED, &label, 1, wb_int(elapsed));
    if ((double)elapsed > config.warn_above) {
        wb_attribute age = {"elapsed", wb_int(elapsed)};
        wb_record(WB_SEVERITY_WARN, "WARN", wb_text("the minute is getting old"), &age, 1);
    }
    return true;
}

void plugin_shutdown(void) {}
