/* Microseconds a call: cc -O2 -o bench bench.c -I../c -lpthread -lm && ./bench ADDRESS */
#define _GNU_SOURCE
#define WHIMBREL_IMPLEMENTATION
#include "whimbrel.h"
int main(int count, char **given) {
    int i, calls = 20000;
    double start, took, longest = 0;
    whimbrel *w = whimbrel_new(count > 1 ? given[1] : "unix:./ldjson.sock", "bench");
    start = whimbrel_clock(CLOCK_MONOTONIC);
    for (i = 0; i < calls; i++) {
        double before = whimbrel_clock(CLOCK_MONOTONIC), one;
        whimbrel_event(w, "order.paid", "info", "an order was paid for", "shop", "north", NULL);
        one = whimbrel_clock(CLOCK_MONOTONIC) - before;
        if (one > longest) longest = one;
    }
    took = whimbrel_clock(CLOCK_MONOTONIC) - start;
    printf("c: %.1f us a call, the longest %.0f us; sent %lu, dropped %lu, durable: %d\n", took / calls * 1e6, longest * 1e6,
           whimbrel_sent(w), whimbrel_dropped(w), whimbrel_flush(w, 2000));
    whimbrel_free(w);
    return 0;
}
