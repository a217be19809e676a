"""Measures delivery side by side with peers on one machine; see docs/benchmarks.md."""
