"""Microseconds a call: python3 bench.py ADDRESS"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
from whimbrel import Client

calls, longest = 20000, 0.0
w = Client(sys.argv[1] if len(sys.argv) > 1 else "unix:./ldjson.sock", source="bench")
start = time.perf_counter()
for number in range(calls):
    before = time.perf_counter()
    w.event("order.paid", "an order was paid for", shop="north")
    longest = max(longest, time.perf_counter() - before)
took = time.perf_counter() - start
print("python: %.1f us a call, the longest %.0f us; sent %d, dropped %d, durable: %s"
      % (took / calls * 1e6, longest * 1e6, w.sent, w.dropped, w.flush(2)))
