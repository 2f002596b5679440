"""For users and tests: twins of the engines in memory, clocks, awaitable signals, conformance suites."""
